"""Dropout masks that depend on what a token reads, never on how rows are batched.

A token's mask at a layer is a hash of a seed, of the row's tokens up to this one, and of the layer.
So it does not depend on the order of rows, on passes, packing or padding, or on the device, and it
is the same when a pass is repeated. Rows with a common prefix share its masks, as a prefix tree
runs it once; arms that read the same text share its masks (common random numbers).
"""

from __future__ import annotations

import torch
from torch import Tensor

GOLDEN = 0x9E3779B97F4A7C15 - (1 << 64)
"""SplitMix64's increment, 2^64 over the golden ratio, as a signed number."""
MULTIPLIERS = (0xBF58476D1CE4E5B9 - (1 << 64), 0x94D049BB133111EB - (1 << 64))
LANES = 4
"""Random numbers of 16 bits in a word of 64."""


def mix(words: Tensor) -> Tensor:
    """Scramble 64-bit words, each by itself: SplitMix64's finaliser (Steele, Lea & Flood 2014).

    Products wrap around at 64 bits on every device.
    """
    # a shift to the right keeps the sign, whose copies must go for the map to be one to one
    words = (words ^ (words >> 30 & (1 << 34) - 1)) * MULTIPLIERS[0]
    words = (words ^ (words >> 27 & (1 << 37) - 1)) * MULTIPLIERS[1]
    return words ^ (words >> 31 & (1 << 33) - 1)


def token_hashes(tokens: Tensor, positions: Tensor, seed: int) -> Tensor:
    """Hash every token at its position; the sum over a prefix identifies the prefix.

    Sums are one ``cumsum`` over a row, and a branch of a tree can be subtracted after its end.
    """
    return mix((positions << 32) + tokens + seed)


def keep_mask(prefixes: Tensor, layer: int, features: int, rate: float) -> Tensor:
    """Return which inputs of a layer are kept: prefix hashes ``[...]`` -> bool ``[..., features]``.

    Every token has its own SplitMix64 stream at every layer. The rate is met to 1 in 65,536.
    """
    states = mix(prefixes + layer).unsqueeze(-1)
    counter = torch.arange(1, -(-features // LANES) + 1, device=prefixes.device)
    lanes = mix(states + counter * GOLDEN).view(torch.int16)[..., :features]
    # lanes are uniform over -32,768 .. 32,767, so the lowest share of ``rate`` is dropped
    return lanes >= round(rate * 65_536) - 32_768
