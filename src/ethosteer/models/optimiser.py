"""What all training shares: one optimiser per arm, resumable checkpoints, seeds."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from ethosteer.settings import OptimiserSettings


def derived_seed(*purpose: object) -> int:
    """Return a seed of 56 bits derived from a purpose, such as (seed, "prompts", step).

    What arms share must have a purpose without the arm's name: the same prompts and noise for all
    arms make their differences paired.
    """
    digest = sha256(json.dumps(purpose).encode()).digest()
    return int.from_bytes(digest[:7], "big")


def generator(*purpose: object) -> torch.Generator:
    """Return a CPU generator seeded by ``derived_seed(*purpose)``."""
    return torch.Generator().manual_seed(derived_seed(*purpose))


@dataclass(frozen=True, slots=True)
class ArmOptimiser:
    """AdamW, schedule and gradient-norm clip of one arm, independent of every other arm."""

    parameters: list[nn.Parameter]
    adamw: AdamW
    schedule: LambdaLR
    max_grad_norm: float

    @classmethod
    def build(
        cls, parameters: Sequence[nn.Parameter], settings: OptimiserSettings, steps: int
    ) -> ArmOptimiser:
        """Make the optimiser of a run of ``steps`` steps: linear warm-up and, if set, decay."""
        adamw = AdamW(
            parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=False
        )
        warmup = settings.warmup * steps

        def factor(step: int) -> float:
            rise = min(1.0, (step + 1) / (warmup + 1))
            return rise * max(0.0, (steps - step) / steps) if settings.decay else rise

        return cls(list(parameters), adamw, LambdaLR(adamw, factor), settings.max_grad_norm)

    def step(self) -> bool:
        """Take one step with the accumulated gradients and clear them.

        Returns False, and leaves the parameters alone, where a gradient is not finite.
        """
        norm = nn.utils.clip_grad_norm_(self.parameters, self.max_grad_norm)
        finite = bool(torch.isfinite(norm))
        if not finite:
            self.adamw.zero_grad()  # AdamW skips parameters without a gradient
        self.adamw.step()
        self.adamw.zero_grad()
        self.schedule.step()
        return finite

    def copy_parameters(self) -> list[Tensor]:
        """Copy the arm's parameters as they are now."""
        return [parameter.detach().clone() for parameter in self.parameters]

    @torch.no_grad()
    def set_parameters(self, values: Sequence[Tensor]) -> None:
        """Set the arm's parameters to those that ``copy_parameters`` returned."""
        for parameter, value in zip(self.parameters, values, strict=True):
            parameter.copy_(value)

    def tensors(self) -> dict[str, Tensor]:
        """Return parameters and moments by name, for a checkpoint."""
        out = {f"parameter.{i}": p.detach() for i, p in enumerate(self.parameters)}
        for i, state in self.adamw.state_dict()["state"].items():
            out |= {f"state.{i}.{name}": torch.as_tensor(value) for name, value in state.items()}
        return out

    @torch.no_grad()
    def restore(self, tensors: dict[str, Tensor], steps_done: int) -> None:
        """Continue from what ``tensors`` returned after ``steps_done`` steps."""
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            kind, index, *rest = name.split(".")
            if kind == "parameter":
                self.parameters[int(index)].copy_(value)
            else:
                state.setdefault(int(index), {})[rest[0]] = value
        self.adamw.load_state_dict({**self.adamw.state_dict(), "state": state})
        self.schedule.load_state_dict({**self.schedule.state_dict(), "last_epoch": steps_done})
        # a schedule sets the learning rate when it steps, not when its state is loaded
        (rate,), (factor,) = self.schedule.base_lrs, self.schedule.lr_lambdas
        self.adamw.param_groups[0]["lr"] = rate * factor(steps_done)


CHECKPOINT_SECONDS = 120.0
"""The work that an interruption may cost, where a step takes less."""


class CheckpointSchedule:
    """When to store a checkpoint: every ``steps`` steps, and ``CHECKPOINT_SECONDS`` after the last.

    Steps take milliseconds with a small base and minutes with a large one.
    """

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.last = time.monotonic()

    def is_due(self, done: int) -> bool:
        """Whether to store one now, after ``done`` steps; if so, the time counts from now."""
        now = time.monotonic()
        due = done % self.steps == 0 or now - self.last >= CHECKPOINT_SECONDS
        if due:
            self.last = now
        return due


@dataclass(frozen=True, slots=True)
class StoredState:
    """What a checkpoint holds beside the optimisers: JSON facts, and tensors by name."""

    facts: dict[str, object]
    extra: dict[str, Tensor]


def save_checkpoint(
    folder: Path,
    optimisers: Sequence[ArmOptimiser],
    facts: dict[str, object],
    extra: Mapping[str, Tensor] | None = None,
) -> None:
    """Write optimisers, JSON ``facts`` and ``extra`` tensors as one safetensors file, atomically.

    The name of an ``extra`` tensor must start with a letter: an optimiser's start with its index.
    """
    tensors = {
        f"{arm}.{name}": tensor.contiguous()
        for arm, optimiser in enumerate(optimisers)
        for name, tensor in optimiser.tensors().items()
    }
    # clones, since safetensors refuses tensors that share memory
    tensors |= {name: tensor.clone() for name, tensor in (extra or {}).items()}
    unfinished = folder / "checkpoint.part"
    save_file(tensors, unfinished, metadata={"facts": json.dumps(facts)})
    unfinished.replace(folder / "checkpoint.safetensors")


def load_checkpoint(
    folder: Path, optimisers: Sequence[ArmOptimiser], steps_done: str
) -> StoredState | None:
    """Restore the optimisers from ``folder``; None where there is no checkpoint.

    ``steps_done`` names the fact that counts each optimiser's steps.
    """
    path = folder / "checkpoint.safetensors"
    if not path.is_file():
        return None
    with safe_open(path, framework="pt") as file:
        facts: dict[str, object] = json.loads(file.metadata()["facts"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
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
