"""Study files with one setting changed, and what may come of it."""

from __future__ import annotations

import random
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import BaseModel

from attacks.mutations import TOML_VALUES, spoil
from ethosteer import catalog
from ethosteer.settings import ArmSettings, BenchmarkSettings, StudySettings
from ethosteer.study.load import load_study

VALID = {
    "name": '"small"',
    "question": '"Which?"',
    "seeds": "[0, 1]",
    "data.origin": '"sample"',
    "data.conversations": '"sample"',
    "arms.virtue.pairs_per_group": "2",
    "arms.careful.dataset": '"harmless"',
    "benchmarks.toxigen.limit": "20",
    "benchmarks.wsc273": "{}",
    "compare.margin": "0.05",
}
NAMES = (
    "nul", "x" * 90, "base", "a.b", "'a/b'", "'a b'", "''", "'\u00e9'", "'\\u2028'", "prompts", "1",
)  # fmt: skip
"""Names of arms and benchmarks."""


@dataclass(frozen=True, slots=True)
class Change:
    """A changed study file: what was done, and the key that was changed ("" where it is none)."""

    how: str
    content: bytes
    key: str


def text(**changes: str) -> str:
    """Return a valid study file; ``changes`` replace values by their dotted keys."""
    return "".join(f"{key} = {value}\n" for key, value in {**VALID, **changes}.items())


def changed(noise: random.Random) -> Change:
    """Return a study file with a changed setting, or a spoiled one."""
    if noise.random() < 0.15:
        spoiled = spoil("study.csv", text(), noise)
        return Change(spoiled.how, spoiled.content, "")
    key, value = setting(noise)
    # as surrogates cannot be written, a byte that is not UTF-8 takes their place
    return Change(f"a setting of {key.partition('.')[0]}", text(**{key: value}).encode(), key)


def setting(noise: random.Random) -> tuple[str, str]:
    """Return the dotted key of a setting, perhaps of none, and an odd value."""
    value = noise.choice(TOML_VALUES)
    if noise.random() < 0.1:
        return f"{noise.choice(('arms', 'benchmarks'))}.{noise.choice(NAMES)}.limit", value
    key = noise.choice(keys())
    return (key + noise.choice(("x", ".x", "")) if noise.random() < 0.1 else key), value


@cache
def keys() -> tuple[str, ...]:
    """Return the dotted keys of all settings."""
    return tuple(_keys(catalog.study_settings(), ""))


def _keys(kind: type[BaseModel], before: str) -> Iterator[str]:
    for name, field in kind.model_fields.items():
        key = before + name
        if name == "arms":
            yield from _keys(ArmSettings, "arms.virtue.")
        elif name == "benchmarks":
            yield from _keys(BenchmarkSettings, "benchmarks.toxigen.")
        elif isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _keys(field.annotation, f"{key}.")
        else:
            yield key


def fault(path: Path, overrides: tuple[str, ...], key: str) -> str | None:
    """Load a study; say what differs from the valid one beside ``key``, and whether it is kept."""
    settings = load_study(str(path), overrides)
    written = tomli_w.dumps(settings.model_dump(mode="json", exclude_none=True))
    written.encode()
    again = type(settings).model_validate(_tuples(tomllib.loads(written)))
    if again != settings:
        return "the study file that a run keeps reads otherwise"
    if not key:
        return None
    before, after = _flat(valid().model_dump()), _flat(settings.model_dump())
    for name in before.keys() | after.keys():
        if before.get(name) != after.get(name) and not _explained(name, key):
            return f"{name} is {after.get(name)!r} and was {before.get(name)!r}"
    return None


def _explained(name: str, key: str) -> bool:
    """Return whether a change of ``key`` may change the setting called ``name``."""
    if key == "finetune.enabled" and name == "compare.control":
        return True
    # a new arm or benchmark has all settings of one
    depth = 2 if key.startswith(("arms", "benchmarks")) else None
    return name.startswith(".".join(key.split(".")[:depth]))


@cache
def valid() -> StudySettings:
    """Return the unchanged study."""
    return catalog.study_settings().model_validate(_tuples(tomllib.loads(text())))


def _flat(value: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, entry in value.items():
        key = f"{before}{name}"
        flat |= _flat(entry, f"{key}.") if isinstance(entry, Mapping) else {key: entry}
    return flat


def _tuples(value: Any) -> Any:  # noqa: ANN401 (any TOML value)
    if isinstance(value, dict):
        return {key: _tuples(entry) for key, entry in value.items()}
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
