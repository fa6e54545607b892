"""Malformed folders of models, adapters and classifiers: each must load, or be refused in one line.

A loaded model's answers must be finite, and a changed weight must change its identity. What a
flipped bit does to a weight without making it infinite cannot be seen in the file; the identity
shows it.
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ethosteer.errors import InputError
from ethosteer.models.adapters import find_adapter, load_bank, read_adapter
from ethosteer.models.base import SharedBase
from ethosteer.models.classifiers import load_classifier
from ethosteer.models.identity import folder_fingerprint, read_shape
from ethosteer.models.loading import load_base, load_stop_ids
from ethosteer.models.text import Template
from ethosteer.records import LabelledText
from ethosteer.settings import BaseSettings

ODD_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 3, 10**30, 1e308, float("nan"), float("inf"), "", "abc", "7",
    "\ud800", "\x00", "a" * 5000, [], [None], [-1], ["q_proj"], {}, {"a": 1}, [[[]]],
)  # fmt: skip
"""Values that a key of a JSON config is set to."""
TEMPLATES = (
    "{% for %}", "{{ messages[0] }", "{{ 1 / 0 }}", "{{ messages.x.y }}", "{% include 'x' %}", "",
    "{{ raise_exception('no') }}", "{{ messages[9].content }}", "{{ ''.__class__.__mro__ }}",
)  # fmt: skip
TEXTS = ("It is far.", "They are vile.", "")
"""Texts that a classifier rates."""
KEPT, REFUSED = "runs", "refused in one line"


@dataclass(frozen=True, slots=True)
class Folders:
    """Whole folders to be spoiled: a base, a policy's PEFT adapter on it, a classifier of texts."""

    model: Path
    adapter: Path
    classifier: Path


def attack(
    seed: int, count: int, scratch: Path, folders: Folders, base: SharedBase
) -> list[tuple[str, str]]:
    """Load ``count`` malformed copies of each of ``folders`` in turn.

    Returns (what was done, outcome): "runs", "refused in one line", or what went wrong.
    """
    draw = random.Random(seed)
    uses = (
        (folders.adapter, _use_adapter),
        (folders.model, _use_model),
        (folders.classifier, _use_classifier),
    )
    outcomes = []
    for index in range(count):
        source, use = uses[index % len(uses)]
        folder = scratch / f"malformed-{index}"
        shutil.copytree(source, folder)
        done = _spoil(folder, draw)
        outcomes.append((f"{source.name}: {done}", outcome(partial(use, folder, base))))
        shutil.rmtree(folder)
    return outcomes


def outcome(use: Callable[[], str | None]) -> str:
    """Return how the use of a malformed folder ended; ``use`` returns a fault it saw, or None."""
    try:
        fault = use()
    except InputError as error:
        return REFUSED if "\n" not in str(error) else "an error of several lines"
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        return f"traceback: {type(error).__name__}: {str(error)[:200]}"
    return fault or KEPT


@torch.no_grad()
def _use_model(folder: Path, _: SharedBase) -> str | None:
    settings = BaseSettings(model=str(folder), device="cpu")
    folder_fingerprint(folder)
    read_shape(settings)
    load_stop_ids(settings)
    base = load_base(settings)
    if not base.logits(base.hidden(torch.tensor([[5, 6, 7]]))).isfinite().all():
        return "logits that are not finite"
    Template("guanaco", base.tokenizer).prompt_ids([("human", "Is it far?")])
    if base.tokenizer.chat_template:
        Template("chat", base.tokenizer).row([("human", "Is it far?")], "It is.")
    return None


@torch.no_grad()
def _use_adapter(folder: Path, base: SharedBase) -> str | None:
    bank = load_bank(base, {"x": find_adapter(str(folder))})
    tensors, _ = read_adapter(folder)
    if not all(a.isfinite().all() and b.isfinite().all() for a, b in tensors.values()):
        return "weights that are not finite"
    with bank.applied():
        hidden = base.hidden(torch.tensor([[5, 6, 7]]))
    return None if hidden.isfinite().all() else "hidden states that are not finite"


def _use_classifier(folder: Path, _: SharedBase) -> str | None:
    held_out = [LabelledText(text, bool(index)) for index, text in enumerate(TEXTS[:2])]
    rates = load_classifier(str(folder), "1", held_out).positive(TEXTS)
    return None if ((rates >= 0) & (rates <= 1)).all() else "rates that are no probabilities"


def _spoil(folder: Path, draw: random.Random) -> str:
    """Spoil one file of a folder in a way drawn at random; return what was done."""
    path = draw.choice(sorted(folder.iterdir()))
    ways = [_truncate, _flip, _delete, _swap, *([_odd_json] * 4 if path.suffix == ".json" else [])]
    if path.suffix == ".safetensors":
        ways += [_flip_header, _drop_tensors]
    if path.name == "tokenizer_config.json":
        ways.append(_odd_template)
    return draw.choice(ways)(path, draw)


def _truncate(path: Path, draw: random.Random) -> str:
    data = path.read_bytes()
    size = draw.randrange(len(data) + 1)
    path.write_bytes(data[:size])
    return f"{path.name} cut to {size} bytes"


def _flip(path: Path, draw: random.Random) -> str:
    data = bytearray(path.read_bytes())
    positions = [draw.randrange(len(data)) for _ in range(draw.choice((1, 1, 8)))]
    for position in positions:
        data[position] ^= 1 << draw.randrange(8)
    path.write_bytes(bytes(data))
    return f"{path.name} with bits flipped at {positions}"


def _flip_header(path: Path, draw: random.Random) -> str:
    data = bytearray(path.read_bytes())
    position = draw.randrange(min(len(data), 2000))
    data[position] ^= 1 << draw.randrange(8)
    path.write_bytes(bytes(data))
    return f"{path.name} with a bit flipped in its header, at {position}"


def _drop_tensors(path: Path, draw: random.Random) -> str:
    """Drop, rename, reshape or spoil some tensors of a well-formed file."""
    from safetensors.torch import load_file, save_file

    tensors = load_file(path)
    names = draw.sample(sorted(tensors), k=min(len(tensors), draw.choice((1, 2, 5))))
    change = draw.choice(("drop", "rename", "reshape", "nan", "integers"))
    for name in names:
        tensor = tensors.pop(name)
        if change == "rename":
            tensors[f"other.{name}"] = tensor
        elif change == "reshape":
            tensors[name] = tensor.flatten()[: tensor.numel() // 2].clone()
        elif change == "nan":
            tensors[name] = torch.full_like(tensor, float("nan"))
        elif change == "integers":
            tensors[name] = tensor.to(torch.int64)
    save_file(tensors, path, metadata={"format": "pt"})
    return f"{path.name}: {change} of {names}"


def _delete(path: Path, draw: random.Random) -> str:
    path.unlink()
    if draw.random() < 0.2:
        path.mkdir()
        return f"{path.name} replaced by a folder"
    return f"{path.name} deleted"


def _swap(path: Path, draw: random.Random) -> str:
    other = draw.choice(sorted(path.parent.iterdir()))
    first, second = path.read_bytes(), other.read_bytes()
    path.write_bytes(second)
    other.write_bytes(first)
    return f"{path.name} and {other.name} swapped"


def _odd_json(path: Path, draw: random.Random) -> str:
    """Set one key, at any depth, to an odd value; or leave it out."""
    table = json.loads(path.read_text("utf-8"))
    parent, keys = table, []
    while True:
        key = draw.choice(_keys(parent))
        keys.append(str(key))
        if not (_keys(parent[key]) and draw.random() < 0.6):
            break
        parent = parent[key]
    value = draw.choice(ODD_VALUES)
    if isinstance(parent, dict) and draw.random() < 0.15:
        del parent[key]
        done = "left out"
    else:
        parent[key] = value
        done = f"= {str(value)[:20]!r}"
    path.write_text(json.dumps(table), encoding="utf-8")
    return f"{path.name}: {'.'.join(keys)} {done}"


def _keys(value: object) -> Sequence[Any]:
    if isinstance(value, dict):
        return list(value)
    return range(len(value)) if isinstance(value, list) else ()


def _odd_template(path: Path, draw: random.Random) -> str:
    template = draw.choice(TEMPLATES)
    table = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps({**table, "chat_template": template}), encoding="utf-8")
    return f"{path.name}: chat_template = {template!r}"
