"""Which settings would make a study fit on a device, tried in the formula of its memory."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from ethosteer.settings import StudySettings
from ethosteer.study.footprint import Footprint, StageMemory

Changes = Mapping[str, object]
"""Values by setting, ``table.key``."""


def fits(memory: Sequence[StageMemory], capacity: float) -> bool:
    """Return whether every stage fits in ``capacity`` bytes: a run halves passes that do not."""
    return all(stage.least <= capacity for stage in memory)


def remedies(footprint: Footprint, *, is_stored_quantised: bool = False) -> tuple[str, ...]:
    """Return the options of the first change that makes a study fit.

    None where it fits as it is, or where no change that is tried does. A base that
    ``is_stored_quantised`` cannot be quantised in another way.
    """
    if fits(footprint.stages, footprint.machine.memory):
        return ()
    for changes in candidates(footprint.settings):
        if is_stored_quantised and "base.quantise" in changes:
            continue
        tried = replace(footprint, settings=changed(footprint.settings, changes))
        if fits(tried.stages, tried.machine.memory) and not tried.has_cramped_server:
            return tuple(f"--set {key}={option(value)}" for key, value in changes.items())
    return ()


def candidates(settings: StudySettings) -> Iterator[Changes]:
    """Yield changes to try, those first that change results least.

    A smaller server that the study starts changes no result and little time, checkpointing no
    result, the number format little; answers without the server are others, quantisation changes
    more, and shorter texts are another study.
    """
    is_single = settings.base.dtype == "float32"
    precision: dict[str, object] = {"base.dtype": "bfloat16"} if is_single else {}
    checkpointing: dict[str, object] = {"base.gradient_checkpointing": True}
    without: dict[str, object] = {}
    if settings.rollout.starts_server:
        without = {"rollout.engine": "ethosteer"}
    quantised: dict[str, object] = {"base.quantise": "nf4"} | without
    if settings.base.autocast:
        quantised["base.autocast"] = False
    steer = settings.steer
    shorter: dict[str, object] = {
        "data.max_tokens": settings.data.max_tokens // 2,
        "data.max_prompt_tokens": settings.data.max_prompt_tokens // 2,
        "steer.max_new_tokens": max(steer.min_new_tokens, steer.max_new_tokens // 2),
    }
    if settings.rollout.starts_server:
        for tenths in range(math.ceil(10 * settings.rollout.memory) - 1, 0, -1):
            yield {"rollout.memory": tenths / 10}
    yield checkpointing
    if precision:
        yield precision
        yield precision | checkpointing
    if without:
        yield precision | without
        yield precision | checkpointing | without
    yield precision | quantised
    yield precision | quantised | checkpointing
    yield precision | quantised | checkpointing | shorter


def changed(settings: StudySettings, changes: Changes) -> StudySettings:
    """Return settings with other values of some of them."""
    for key, value in changes.items():
        table, name = key.split(".")
        group = getattr(settings, table).model_copy(update={name: value})
        settings = settings.model_copy(update={table: group})
    return settings


def option(value: object) -> str:
    """Write a value as ``--set`` reads it."""
    return str(value).lower() if isinstance(value, bool) else str(value)
