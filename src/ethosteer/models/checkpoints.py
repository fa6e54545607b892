"""Checkpoints of training: written whole, verified when they are read, the last two kept."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ethosteer import interruption, processes
from ethosteer.files import file_hash, publish, remove, writing
from ethosteer.models.optimiser import ArmOptimiser
from ethosteer.models.sharding import main_first
from ethosteer.progress import Terminal

CHECKPOINT_SECONDS = 120.0
"""The work that an interruption may cost, where a step takes less."""
KEPT = 2
"""Checkpoints of one training run: a damaged one is replaced by the one before."""
UNVERIFIED = "checkpoint.safetensors"
"""The name that versions before 0.2.0 gave to their only checkpoint."""


class CheckpointSchedule:
    """When to store a checkpoint: every ``steps`` steps, and ``CHECKPOINT_SECONDS`` after the last.

    Steps take milliseconds with a small base and minutes with a large one. A checkpoint is also due
    where a signal has asked the run to stop.
    """

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.last = time.monotonic()
        self.is_stopping = False

    def is_due(self, done: int) -> bool:
        """Whether to store one now, after ``done`` steps; if so, the time counts from now."""
        now = time.monotonic()
        self.is_stopping = interruption.is_requested()
        due = done % self.steps == 0 or now - self.last >= CHECKPOINT_SECONDS or self.is_stopping
        if due:
            self.last = now
        return due

    def stop_if_requested(self) -> None:
        """Raise Interrupted where a signal had come when ``is_due`` was asked last.

        One that came later stops the next step: of this one no checkpoint may be stored.
        """
        if self.is_stopping:
            interruption.stop_if_requested()


@dataclass(frozen=True, slots=True)
class StoredState:
    """What a checkpoint holds beside the optimisers: JSON facts, and tensors by name."""

    facts: dict[str, object]
    extra: dict[str, Tensor]


def save_checkpoint(
    folder: Path,
    optimisers: Sequence[ArmOptimiser],
    facts: Mapping[str, object],
    extra: Mapping[str, Tensor] | None = None,
) -> None:
    """Write optimisers, JSON ``facts`` and ``extra`` tensors as one safetensors file.

    ``facts["done"]`` counts the steps that are done. The file is named by it and by its hash. The
    name of an ``extra`` tensor must start with a letter: an optimiser's start with its index.
    Optimisers are whole in every process, so the main one writes them, for any number to read.
    """
    if not processes.is_main():
        return
    tensors = {
        f"{arm}.{name}": tensor.contiguous()
        for arm, optimiser in enumerate(optimisers)
        for name, tensor in optimiser.tensors().items()
    }
    # clones, since safetensors refuses tensors that share memory
    tensors |= {name: tensor.clone() for name, tensor in (extra or {}).items()}
    # a name of its own: a worker that was taken for dead may still be writing here
    temporary = folder / f".{secrets.token_hex(4)}.part"
    with writing(folder):
        try:
            save_file(tensors, temporary, metadata={"facts": json.dumps(facts)})
            name = f"{facts['done']:08}-{file_hash(temporary)}.safetensors"
            publish(temporary, folder / name)
        finally:
            remove(temporary)
    for path in stored_checkpoints(folder)[KEPT:]:
        path.unlink(missing_ok=True)  # that worker may have removed it


def load_checkpoint(
    folder: Path, optimisers: Sequence[ArmOptimiser], steps_done: str
) -> StoredState | None:
    """Restore the optimisers from the last checkpoint in ``folder``; None where there is none.

    A damaged checkpoint is removed with a line on the terminal, and the one before is read.
    ``steps_done`` names the fact that counts each optimiser's steps.
    """
    with main_first():  # which removes what is damaged
        return _load_checkpoint(folder, optimisers, steps_done)


def _load_checkpoint(
    folder: Path, optimisers: Sequence[ArmOptimiser], steps_done: str
) -> StoredState | None:
    for path in stored_checkpoints(folder):
        try:
            read = _read(path)
        except FileNotFoundError:  # removed by a worker that was taken for dead
            continue
        if read is None:
            Terminal().say(f"{path}: is damaged, so training goes on from before it")
            path.unlink(missing_ok=True)
            continue
        facts, tensors = read
        for arm, optimiser in enumerate(optimisers):
            prefix = f"{arm}."
            optimiser.restore(
                {
                    name.removeprefix(prefix): tensor
                    for name, tensor in tensors.items()
                    if name.startswith(prefix)
                },
                int(str(facts[steps_done])),
            )
        extra = {name: tensor for name, tensor in tensors.items() if not name[0].isdigit()}
        return StoredState(facts, extra)
    return None


def stored_checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoints in ``folder``, the last first; links are none."""
    named = sorted(folder.glob("[0-9]*-*.safetensors"), reverse=True)
    paths = (*named, folder / UNVERIFIED)
    return [path for path in paths if path.is_file() and not path.is_symlink()]


def _read(path: Path) -> tuple[dict[str, object], dict[str, Tensor]] | None:
    """Return the facts and the tensors of a checkpoint; None where it is damaged."""
    _, _, digest = path.stem.partition("-")
    if digest and file_hash(path) != digest:
        return None
    try:
        with safe_open(path, framework="pt") as file:
            facts: dict[str, object] = json.loads(file.metadata()["facts"])
            return facts, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, KeyError, TypeError):
        if digest:
            raise  # it is what was written
        return None
