"""GPUs that a study can be planned for: their published memory, bandwidth and arithmetic."""

from __future__ import annotations

from dataclasses import dataclass

from ethosteer.errors import InputError

GB, TERA = 1e9, 1e12
LAUNCH = 1.5e-6
"""Seconds from one kernel of a CUDA graph to the next, on any of these cards."""


@dataclass(frozen=True, slots=True)
class Device:
    """One GPU.

    ``memory`` in bytes and ``bandwidth`` in bytes a second, with 10^9 bytes a GB as their makers
    count; ``flops`` are FLOP/s of dense matrix products in bfloat16 with fp32 sums, and
    ``single_flops`` those in float32, which torch leaves to the plain cores. ``launch`` is the
    seconds from one kernel of a CUDA graph to the next.
    """

    name: str
    title: str
    memory: float
    bandwidth: float
    flops: float
    single_flops: float
    launch: float = LAUNCH


# From NVIDIA's data sheets (H100, H200, A100, L40S, L4, RTX A6000) and white papers (GA102, Ada,
# Blackwell RTX). Where these give FLOP/s with 2:4 sparsity alone, half of it is dense. With ECC an
# L40S has 47.7 GB of its 48.
DEVICES = {
    device.name: device
    for device in (
        Device("h100-80", "NVIDIA H100 SXM", 80 * GB, 3350 * GB, 989 * TERA, 67 * TERA),
        Device("h200-141", "NVIDIA H200 SXM", 141 * GB, 4800 * GB, 989 * TERA, 67 * TERA),
        Device("a100-40", "NVIDIA A100", 40 * GB, 1555 * GB, 312 * TERA, 19.5 * TERA),
        Device("a100-80", "NVIDIA A100 SXM", 80 * GB, 2039 * GB, 312 * TERA, 19.5 * TERA),
        Device("l40s-48", "NVIDIA L40S", 47.7 * GB, 864 * GB, 362 * TERA, 91.6 * TERA),
        Device("a6000-48", "NVIDIA RTX A6000", 48 * GB, 768 * GB, 155 * TERA, 38.7 * TERA),
        Device("l4-24", "NVIDIA L4", 24 * GB, 300 * GB, 121 * TERA, 30.3 * TERA),
        Device(
            "rtx5090-32", "NVIDIA GeForce RTX 5090", 32 * GB, 1792 * GB, 209 * TERA, 104.8 * TERA
        ),
        Device(
            "rtx4090-24", "NVIDIA GeForce RTX 4090", 24 * GB, 1008 * GB, 165 * TERA, 82.6 * TERA
        ),
        Device("rtx3090-24", "NVIDIA GeForce RTX 3090", 24 * GB, 936 * GB, 71 * TERA, 35.6 * TERA),
    )
}


def device(name: str) -> Device:
    """Return the device called ``name``; InputError, which names the known ones, for another."""
    if name not in DEVICES:
        raise InputError(f"--on {name}: unknown device; known are {', '.join(DEVICES)}")
    return DEVICES[name]
