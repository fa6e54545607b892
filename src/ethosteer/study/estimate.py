"""Estimates of a study's memory, time and disk space before it starts, from plain formulas.

The work of a stage is counted in tokens (``costs``) and turned into floating-point operations. On
this machine time is that work over the rate of matrix products, measured now, times EFFICIENCY; on
a named device it is a roofline's (``durations``). For a base in float32 on a processor, and on a
named device, none of this imports torch.
"""

from __future__ import annotations

import math
import shutil
import time
from dataclasses import dataclass

import numpy as np

from ethosteer.data.sources import Origin
from ethosteer.models.fast.budget import machine_memory
from ethosteer.models.geometry import base_parameters
from ethosteer.models.identity import read_quantisation, read_shape
from ethosteer.settings import ModelShape, StudySettings
from ethosteer.study.costs import stage_costs
from ethosteer.study.devices import device
from ethosteer.study.durations import Roofline
from ethosteer.study.footprint import (
    WEIGHT_BYTES,
    Footprint,
    Machine,
    StageMemory,
    stage_disk,
)
from ethosteer.study.remedies import changed, fits, remedies
from ethosteer.study.text_sizes import Texts, read_texts

EFFICIENCY = 0.35
"""Fraction of the matrix-product rate that the stages are assumed to reach."""


@dataclass(frozen=True, slots=True)
class StageEstimate:
    """One stage's work (FLOP), time (seconds) and disk (bytes)."""

    stage: str
    flop: float
    seconds: float
    disk: float


@dataclass(frozen=True, slots=True)
class StudyEstimate:
    """A study's needs on one device, which ``device`` describes and has ``capacity`` bytes.

    ``remedies`` are overrides by which the study fits where it does not; ``price`` is that of an
    hour; ``notes`` state what was assumed.
    """

    name: str
    parameters: float
    memory: tuple[StageMemory, ...]
    stages: tuple[StageEstimate, ...]
    device: str
    capacity: float
    remedies: tuple[str, ...]
    price: float | None
    notes: tuple[str, ...]

    @property
    def seconds(self) -> float:
        """The time of all stages."""
        return sum(stage.seconds for stage in self.stages)

    @property
    def cost(self) -> float:
        """The price of all stages; 0 where no price is given."""
        return self.seconds / 3600 * (self.price or 0.0)

    @property
    def largest(self) -> StageMemory:
        """The memory of the stage that needs most."""
        return max(self.memory, key=lambda stage: stage.peak)

    @property
    def fits(self) -> bool:
        """Whether the device's memory is enough, with passes of single texts if need be."""
        return fits(self.memory, self.capacity)


def estimate(
    settings: StudySettings, origin: Origin, on: str | None = None, price: float | None = None
) -> StudyEstimate:
    """Estimate a study's needs on this machine, or on the device called ``on`` (devices.py).

    Raises InputError where the device is unknown, or the base's shape or a data file cannot be
    read.
    """
    named = None if on is None else device(on)
    notes: list[str] = []
    shape = settings.base.shape or read_shape(settings.base)
    stored = read_quantisation(settings.base)
    if stored is not None:
        settings = changed(settings, {"base.quantise": stored})
    texts = read_texts(settings, origin, notes)
    flop = _stage_flop(settings, texts, shape)
    if named is None:
        kind, rate = matrix_product_rate(settings)
        label = f"this machine ({kind}, {rate / 1e9:,.0f} GFLOP/s matrix product)"
        machine = Machine(on_gpu=kind.startswith("cuda"), memory=_memory(kind))
        footprint = Footprint(settings, shape, texts, machine)
        seconds = {stage: work / (rate * EFFICIENCY) for stage, work in flop.items()}
    else:
        label = f"{named.name} ({named.title})"
        footprint = Footprint(settings, shape, texts, Machine(on_gpu=True, memory=named.memory))
        seconds = Roofline(footprint, named).stages()
    notes += _quantisation_notes(settings.base.quantise, is_timed=named is not None)
    if settings.base.shape is not None:
        weights = base_parameters(shape) / 1e9
        notes.insert(0, f"the base is as base.shape says: {weights:,.1f} billion weights")
    if footprint.has_cramped_server:
        notes.append(
            f"rollout.memory gives vLLM's server {footprint.server / 1e9:,.0f} GB, and the base "
            f"alone takes {footprint.weights / 1e9:,.0f}: raise it"
        )
    disk = stage_disk(settings, shape, texts)
    return StudyEstimate(
        name=settings.name,
        parameters=base_parameters(shape),
        memory=footprint.stages,
        stages=tuple(
            StageEstimate(stage, flop[stage], seconds[stage], disk.get(stage, 0.0))
            for stage in flop
        ),
        device=label,
        capacity=footprint.machine.memory,
        remedies=remedies(footprint, is_stored_quantised=stored is not None),
        price=price,
        notes=tuple(dict.fromkeys(notes)),
    )


def _memory(kind: str) -> float:
    """Return the bytes of this machine's memory, or of its GPU; infinity where it is unknown."""
    if not kind.startswith("cuda"):
        return machine_memory() or math.inf
    import torch  # as in ``matrix_product_rate``

    return float(torch.cuda.mem_get_info(kind)[1])


def estimated_work(settings: StudySettings, origin: Origin) -> dict[str, float]:
    """Return each stage's floating-point operations over EFFICIENCY, for all arms and seeds.

    Divided by a machine's rate of matrix products it is the estimated time.
    """
    shape = settings.base.shape or read_shape(settings.base)
    flop = _stage_flop(settings, read_texts(settings, origin, []), shape)
    return {stage: work / EFFICIENCY for stage, work in flop.items()}


def _stage_flop(settings: StudySettings, texts: Texts, shape: ModelShape) -> dict[str, float]:
    """Return the floating-point operations of each stage, for all arms and seeds."""
    parameters, checkpointing = base_parameters(shape), settings.base.gradient_checkpointing
    return {
        stage: cost.flop(parameters, checkpointing=checkpointing)
        for stage, cost in stage_costs(settings, texts).items()
    }


def _quantisation_notes(method: str | None, *, is_timed: bool) -> list[str]:
    """Say what is not counted of a base whose weights are quantised by ``method``.

    ``is_timed`` is whether the time of unpacking them is counted, as on a named device.
    """
    if method is None:
        return []
    if method not in WEIGHT_BYTES:
        return [f"memory is that of full weights, since weights in {method} are of unknown size"]
    return [] if is_timed else ["unpacking quantised weights takes time that is not counted"]


def matrix_product_rate(settings: StudySettings) -> tuple[str, float]:
    """Measure large matrix products in the base's number format: (device, FLOP/s).

    On the processor where torch finds no GPU. Raises InputError for another device that is not
    usable.
    """
    device = settings.base.device
    if device == "auto":
        device = "cuda" if shutil.which("nvidia-smi") else "cpu"
    if device == "cpu" and settings.base.dtype == "float32":
        return device, _processor_rate()
    import torch  # only here, so that most studies are planned without it

    from ethosteer.bench import machine
    from ethosteer.models.loading import choose_device

    if device.startswith("cuda") and not torch.cuda.is_available():
        device = "cpu"
    dtype = getattr(torch, settings.base.dtype)
    chosen = torch.device(device) if device == "cpu" else choose_device(device)
    return device, machine.matrix_product_rate(chosen, dtype)


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
