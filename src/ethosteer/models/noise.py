"""The noise of sampling: a hash of the prompt's seed, the token's column and the vocabulary entry.

It is made on the device that samples, from integers alone, so that a seed means the same on every
device. It does not depend on the batch a prompt is in, so arms that answer the same prompts share
it (common random numbers).
"""

from __future__ import annotations

import torch
from torch import Tensor

from ethosteer.models.dropout import GOLDEN, mix

LANES = 2
"""Random numbers of 32 bits in a word of 64."""


def uniforms(seeds: Tensor, column: Tensor, vocabulary: int) -> Tensor:
    """Return numbers uniform over (0, 1): seeds ``[prompts]`` -> ``[prompts, vocabulary]``.

    Each seed and column (``[1]``, integers both) has its own SplitMix64 stream. Numbers are
    multiples of 2^-31 (plus half of it), with float32's relative precision near 0.
    """
    states = mix(seeds + (column + 1) * GOLDEN).unsqueeze(1)
    counter = torch.arange(1, -(-vocabulary // LANES) + 1, device=seeds.device)
    lanes = mix(states + counter * GOLDEN).view(torch.int32)[:, :vocabulary]
    # the largest round up to 1, which has no logarithm of its complement
    return ((lanes & 0x7FFF_FFFF).float() + 0.5).mul_(2.0**-31).clamp_(max=1 - 2.0**-24)


def gumbel(seeds: Tensor, column: Tensor, vocabulary: int) -> Tensor:
    """Return standard Gumbel noise of every vocabulary entry, ``[prompts, vocabulary]``.

    The argmax of logits plus this noise is a draw from their softmax (Gumbel 1954).
    """
    exponential = uniforms(seeds, column, vocabulary).neg_().log1p_().neg_()
    # an entry's noise is large where its number is near 0, where numbers are finest
    return exponential.log_().neg_()
