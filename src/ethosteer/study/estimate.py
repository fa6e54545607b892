"""Estimates of a study's memory, time and disk space before it starts, from plain formulas.

The work of a stage is counted in tokens (``costs``) and turned into floating-point operations. Time
is that work over the machine's rate of matrix products, measured now, times EFFICIENCY. For a base
in float32 on a processor none of this imports torch.
"""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass

import numpy as np

from ethosteer.data.sources import Origin
from ethosteer.models.identity import read_shape
from ethosteer.settings import StudySettings
from ethosteer.study.costs import stage_costs
from ethosteer.study.footprint import base_parameters, memory, stage_disk
from ethosteer.study.text_sizes import read_texts

EFFICIENCY = 0.35
"""Fraction of the matrix-product rate that the stages are assumed to reach."""


@dataclass(frozen=True, slots=True)
class StageEstimate:
    """One stage's work (FLOP), time (seconds on this machine) and disk (bytes)."""

    stage: str
    flop: float
    seconds: float
    disk: float


@dataclass(frozen=True, slots=True)
class StudyEstimate:
    """A study's needs. Memory in bytes; ``notes`` state what was assumed."""

    name: str
    parameters: float
    memory: dict[str, float]
    stages: tuple[StageEstimate, ...]
    flops: float
    device: str
    notes: tuple[str, ...]


def estimate(settings: StudySettings, origin: Origin) -> StudyEstimate:
    """Estimate a study's needs on this machine."""
    notes: list[str] = []
    shape = settings.base.shape or read_shape(settings.base)
    parameters = base_parameters(shape)
    device, rate = matrix_product_rate(settings)
    texts = read_texts(settings, origin, notes)
    costs = stage_costs(settings, texts)
    flop = {stage: cost.flop(parameters) for stage, cost in costs.items()}
    disk = stage_disk(settings, shape, texts)
    return StudyEstimate(
        name=settings.name,
        parameters=parameters,
        memory=memory(settings, shape, on_gpu=device != "cpu"),
        stages=tuple(
            StageEstimate(stage, work, work / (rate * EFFICIENCY), disk.get(stage, 0.0))
            for stage, work in flop.items()
        ),
        flops=rate,
        device=device,
        notes=tuple(dict.fromkeys(notes)),
    )


def estimated_work(settings: StudySettings, origin: Origin) -> dict[str, float]:
    """Return each stage's floating-point operations over EFFICIENCY, for all arms and seeds.

    Divided by a machine's rate of matrix products it is the estimated time.
    """
    parameters = base_parameters(settings.base.shape or read_shape(settings.base))
    costs = stage_costs(settings, read_texts(settings, origin, []))
    return {stage: cost.flop(parameters) / EFFICIENCY for stage, cost in costs.items()}


def matrix_product_rate(settings: StudySettings) -> tuple[str, float]:
    """Measure large matrix products in the base's number format: (device, FLOP/s)."""
    device = settings.base.device
    if device == "auto":
        device = "cuda" if shutil.which("nvidia-smi") else "cpu"
    if device == "cpu" and settings.base.dtype == "float32":
        return device, _processor_rate()
    import torch  # only here, so that most studies are planned without it

    from ethosteer.bench import machine

    if device.startswith("cuda") and not torch.cuda.is_available():
        device = "cpu"
    dtype = getattr(torch, settings.base.dtype)
    return device, machine.matrix_product_rate(torch.device(device), dtype)


def _processor_rate() -> float:
    """Measure large float32 matrix products by NumPy, in FLOP/s: the best of eight."""
    size = 1536
    a = np.random.default_rng(0).standard_normal((size, size), dtype=np.float32)
    best = 0.0
    for _ in range(8):
        started = time.perf_counter()
        a @ a
        best = max(best, 2 * size**3 / (time.perf_counter() - started))
    return best
