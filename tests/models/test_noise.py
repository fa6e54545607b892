"""The noise of sampling: Gumbel distributed, independent, and the same whatever runs beside it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from ethosteer.models.noise import gumbel, uniforms

VOCABULARY = 4001
"""Odd, so that the last word is half used."""


def seeds(count: int, seed: int = 0) -> Tensor:
    return torch.randint(2**62, (count,), generator=torch.Generator().manual_seed(seed))


def column(index: int) -> Tensor:
    return torch.tensor([index])


def test_numbers_are_the_halves_of_splitmix64():
    # the published generator's first numbers from the seed 1234567; the first is the state of
    # column 0, from which a stream begins
    first = 6457827717110365317
    states = [(first + counter * 0x9E3779B97F4A7C15) % 2**64 for counter in (1, 2)]

    def finalise(word: int) -> int:
        word = (word ^ (word >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        word = (word ^ (word >> 27)) * 0x94D049BB133111EB % 2**64
        return word ^ (word >> 31)

    words = [finalise(state) for state in states]
    halves = [half for word in words for half in (word % 2**32, word >> 32)]
    expected = [((half % 2**31) + 0.5) / 2**31 for half in halves][:3]
    found = uniforms(torch.tensor([1234567]), column(0), 3)[0].tolist()
    assert found == pytest.approx(expected, rel=2e-7)


def test_noise_is_standard_gumbel():
    noise = gumbel(seeds(250), column(3), VOCABULARY).double().numpy()
    assert np.isfinite(noise).all()
    # a million numbers: the statistic of Kolmogorov and Smirnov is below 1.95 / sqrt(n) at 0.1 %
    statistic = stats.kstest(noise.ravel(), stats.gumbel_r.cdf).statistic
    assert statistic < 1.95 / np.sqrt(noise.size)
    # the upper tail decides what is sampled: counts above high quantiles are as expected
    for tail in (1e-3, 1e-4, 1e-5):
        above = int((noise > stats.gumbel_r.isf(tail)).sum())
        assert stats.binomtest(above, noise.size, tail).pvalue > 1e-4


@pytest.mark.parametrize("rows", [64, 1])
def test_noise_is_the_same_in_every_batch(rows):
    prompts = seeds(64)
    together = gumbel(prompts, column(7), VOCABULARY)
    order = torch.randperm(64, generator=torch.Generator().manual_seed(1))
    assert torch.equal(gumbel(prompts[order], column(7), VOCABULARY), together[order])
    assert torch.equal(gumbel(prompts[:rows], column(7), VOCABULARY), together[:rows])
    # a larger vocabulary has the same noise for the entries of a smaller one
    assert torch.equal(gumbel(prompts, column(7), 1000), together[:, :1000])


def test_noise_of_neighbours_is_uncorrelated():
    prompts = torch.arange(100, 160)  # seeds that are neighbours too
    columns = range(60)
    noise = torch.stack([gumbel(prompts, column(c), 512) for c in columns]).double()
    noise = (noise - noise.mean()) / noise.std()  # [columns, prompts, entries]
    pairs = {
        "columns": (noise[1:], noise[:-1]),
        "prompts": (noise[:, 1:], noise[:, :-1]),
        "entries": (noise[..., 1:], noise[..., :-1]),
        "entries of a word": (noise[..., 2:], noise[..., :-2]),
        "a prompt's next column": (noise[1:, 1:], noise[:-1, :-1]),
        "a prompt's last column": (noise[1:, :-1], noise[:-1, 1:]),
    }
    for name, (first, second) in pairs.items():
        correlation = float((first * second).mean()) * first.numel() ** 0.5
        assert abs(correlation) < 4.5, name


def test_every_prompt_and_column_has_noise_of_its_own():
    numbers = torch.cat([uniforms(seeds(200), column(c), 2).flatten() for c in range(50)])
    # float32 has some 2^24 numbers in (0, 1), of which 20,000 draws take about 12 twice
    assert len(numbers.unique()) > len(numbers) - 60


def test_draws_follow_the_softmax():
    logits = torch.tensor([2.0, 0.0, -1.0, -6.0, 1.0])
    drawn = torch.cat(
        [(logits + gumbel(seeds(50_000, c), column(c), 5)).argmax(dim=1) for c in range(4)]
    )
    counts = torch.bincount(drawn, minlength=5).numpy()
    expected = logits.softmax(0).double().numpy() * len(drawn)
    assert stats.chisquare(counts, expected * counts.sum() / expected.sum()).pvalue > 1e-4


def test_the_largest_number_stays_below_1_and_the_noise_finite(monkeypatch):
    from ethosteer.models import noise

    extremes = torch.tensor([[0x7FFF_FFFF_8000_0000, 0x7FFF_FFFF, -1]])
    monkeypatch.setattr(noise, "mix", lambda words: extremes if words.dim() == 2 else words)
    numbers = uniforms(seeds(1), column(0), 6)
    assert float(numbers.min()) > 0 and float(numbers.max()) < 1
    assert gumbel(seeds(1), column(0), 6).isfinite().all()
