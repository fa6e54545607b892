"""Simulate collections of preferences, whose truth is known.

    python scripts/simulate_collection.py choice          # which choice of pairs learns fastest
    python scripts/simulate_collection.py choice --fixed  # reward models are never renewed
    python scripts/simulate_collection.py coverage        # do Bradley-Terry intervals cover?

``choice``: annotators follow a linear reward over features of answers, with logistic noise, and
answer at random in some cases. Pairs are chosen by ``collect.choice``; the reward models are
logistic Bradley-Terry models of bootstrap samples of the judgements. After every few judgements a
reward model of all judgements is tested on held-out pairs.

``coverage``: strengths of sources vary normally by prompt and by annotator. The true strength is
Davidson's model of the average over all prompts and annotators, which is what a ranking estimates.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from random import Random
from typing import get_args

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.statistics.preferences import drawn

from ethosteer.collect.choice import choose
from ethosteer.collect.records import (
    Answer,
    Choice,
    CollectionSettings,
    History,
    Pair,
    Preference,
    Shown,
)
from ethosteer.statistics.bradley_terry import Comparisons, strength_errors
from ethosteer.statistics.davidson import fit_davidson
from ethosteer.statistics.metrics import Floats

# --- which pair next

FEATURES = 20
POOL = 1_000
HELD_OUT = 2_000
ANNOTATORS = 5
LAPSES = 0.05
"""The share of judgements that are given at random."""
FIRST = 50
"""Judgements of random pairs, from which the first reward models are made."""
STEP = 10
JUDGEMENTS = 600
ROW = 5
"""So many steps between the rows of the table."""
ENSEMBLE = 5
RIDGE = 1.0
TARGETS = (0.85, 0.90, 0.93)


@dataclass(frozen=True)
class World:
    """A taste over features, and pairs as differences of features ``[pairs, features]``.

    ``noise [pairs, 3]`` decides the judgements of the pool, so that a pair is judged alike whenever
    and for whatever reason it is shown.
    """

    taste: Floats
    pool: Floats
    held_out: Floats
    noise: Floats

    @classmethod
    def drawn(cls, generator: np.random.Generator) -> World:
        """Features of decreasing spread, as principal components have; a taste over all of them."""
        scales = 1 / np.sqrt(1 + np.arange(FEATURES))
        pairs = generator.normal(0, scales * 2**0.5, (POOL + HELD_OUT, FEATURES))
        taste = generator.normal(0, 1.5, FEATURES)
        return cls(taste, pairs[:POOL], pairs[POOL:], generator.random((POOL, 3)))

    def judge(self, pair: int) -> Preference:
        """Judge a pair of the pool: logistic noise, and lapses."""
        by_taste, lapse, by_chance = self.noise[pair]
        first = by_taste < _logistic(self.pool[pair] @ self.taste)
        if lapse < LAPSES:
            first = by_chance < 0.5
        return 1 if first else -1

    def accuracy(self, weights: Floats) -> float:
        """Return how often a reward model prefers the answer of a held-out pair that is better."""
        agree = np.sign(self.held_out @ weights) == np.sign(self.held_out @ self.taste)
        return float(agree.mean())


def _logistic(x: Floats | float) -> Floats:
    return np.asarray(1 / (1 + np.exp(-np.asarray(x))))


def reward_model(differences: Floats, outcomes: Floats) -> Floats:
    """Fit a Bradley-Terry reward with a normal prior: the weights ``[features]``."""
    weights = np.zeros(FEATURES)
    for _ in range(25):  # Newton's method on a concave function
        p = _logistic(differences @ weights)
        gradient = differences.T @ ((outcomes > 0) - p) - RIDGE * weights
        curvature = (differences.T * (p * (1 - p))) @ differences + RIDGE * np.eye(FEATURES)
        change = np.linalg.solve(curvature, gradient)
        weights = weights + change
        if np.abs(change).max() < 1e-8:
            break
    return weights


def with_margins(
    pairs: Sequence[Pair],
    world: World,
    judged: Sequence[int],
    outcomes: Sequence[Preference],
    generator: np.random.Generator,
) -> list[Pair]:
    """Return the pool with margins by an ensemble of reward models, of bootstrap samples."""
    differences, signs = world.pool[list(judged)], np.array(outcomes, dtype=float)
    samples = [generator.integers(0, len(judged), len(judged)) for _ in range(ENSEMBLE)]
    models = np.stack([reward_model(differences[rows], signs[rows]) for rows in samples])
    margins = world.pool @ models.T
    return [
        replace(pair, margins=tuple(map(float, row)))
        for pair, row in zip(pairs, margins, strict=True)
    ]


def curve(choice: Choice, seed: int, *, renewed: bool) -> list[float]:
    """Return the held-out accuracy after ``FIRST`` judgements and every ``STEP`` more."""
    world = World.drawn(np.random.default_rng(seed))
    generator = np.random.default_rng([seed, 1])
    pairs = [
        Pair(str(n), (("human", str(n)),), Answer("a", ""), Answer("b", ""), str(n))
        for n in range(POOL)
    ]
    settings = CollectionSettings(choice=choice, repeat_share=0, gold_share=0, seed=seed)
    shown: list[tuple[Shown, ...]] = [() for _ in range(ANNOTATORS)]
    judged: list[int] = []
    outcomes: list[Preference] = []
    accuracies = []
    rng = Random(seed)
    while True:
        annotator = len(judged) % ANNOTATORS
        history = History(shown[annotator], {str(pair): 1 for pair in judged})
        # without margins the first pairs are random, whatever the choice
        following = choose(pairs, history, settings, rng)
        assert following is not None
        pair, selection = following
        judged.append(int(pair.key))
        outcomes.append(world.judge(int(pair.key)))
        shown[annotator] += (Shown(pair.key, selection, True, True, outcomes[-1]),)
        if len(judged) >= FIRST and (len(judged) - FIRST) % STEP == 0:
            weights = reward_model(world.pool[judged], np.array(outcomes, dtype=float))
            accuracies.append(world.accuracy(weights))
            if len(judged) >= JUDGEMENTS:
                return accuracies
            if renewed or len(judged) == FIRST:
                pairs = with_margins(pairs, world, judged, outcomes, generator)


def needed(accuracies: Floats, target: float) -> float:
    """Return the judgements at which a curve first reaches ``target``; inf where it never does."""
    reached = np.flatnonzero(accuracies >= target)
    return float(FIRST + STEP * reached[0]) if len(reached) else float("inf")


def compare_choices(seeds: int, *, renewed: bool) -> Iterator[str]:
    """Yield the lines of two tables: accuracy by judgements, and judgements by accuracy."""
    choices: tuple[Choice, ...] = get_args(Choice)
    curves = {
        choice: np.array([curve(choice, seed, renewed=renewed) for seed in range(seeds)])
        for choice in choices
    }
    yield f"held-out accuracy, mean over {seeds} seeds (difference from random, standard error)"
    yield f"{'judgements':>12}" + "".join(f"{choice:>26}" for choice in choices)
    for index in range(0, curves["random"].shape[1], ROW):
        cells = []
        for choice in choices:
            mean = curves[choice][:, index].mean()
            gain = curves[choice][:, index] - curves["random"][:, index]
            error = gain.std(ddof=1) / seeds**0.5
            beside = "" if choice == "random" else f" ({gain.mean():+.3f}, {error:.3f})"
            cells.append(f"{f'{mean:.3f}{beside}':>26}")
        yield f"{FIRST + STEP * index:>12}" + "".join(cells)
    yield f"judgements needed: median over {seeds} seeds (least to greatest)"
    for target in TARGETS:
        cells = []
        for choice in choices:
            counts = np.array([needed(row, target) for row in curves[choice]])
            cell = f"{np.median(counts):.0f} ({counts.min():.0f} to {counts.max():.0f})"
            cells.append(f"{cell:>26}")
        yield f"{target:>12.2f}" + "".join(cells)


# --- coverage


@dataclass(frozen=True)
class Setting:
    """A kind of collection whose strengths are known."""

    sources: int
    prompts: int
    annotators: int
    judgements: int
    prompt_sd: float
    annotator_sd: float
    nu: float = 0.5

    @property
    def strengths(self) -> Floats:
        """The strengths before prompts and annotators vary."""
        return np.linspace(0.6, -0.6, self.sources)

    @property
    def label(self) -> str:
        """The setting in words."""
        return (
            f"{self.sources} sources, {self.prompts} prompts (sd {self.prompt_sd}), "
            f"{self.annotators} annotators (sd {self.annotator_sd}), {self.judgements} judgements"
        )

    def truth(self) -> Floats:
        """Return the strengths of the average over prompts and annotators."""
        nodes, weights = np.polynomial.hermite_e.hermegauss(80)
        spread = (2 * (self.prompt_sd**2 + self.annotator_sd**2)) ** 0.5
        counts = np.zeros((self.sources, self.sources, 3))
        for i, j in combinations(range(self.sources), 2):
            d = self.strengths[i] - self.strengths[j] + spread * nodes
            p = np.stack([np.exp(d / 2), np.full_like(d, self.nu), np.exp(-d / 2)])
            counts[i, j] = 1e7 * (p / p.sum(axis=0)) @ (weights / weights.sum())
        return fit_davidson(counts).strengths


SETTINGS = (
    Setting(4, 100, 3, 300, 0.7, 0.3),
    Setting(4, 100, 3, 300, 0.7, 1.0),
    Setting(4, 100, 5, 300, 0.7, 0.3),
    Setting(4, 100, 5, 1_000, 0.7, 1.0),
    Setting(4, 100, 10, 600, 0.7, 0.3),
    Setting(4, 300, 20, 1_000, 0.7, 0.3),
    Setting(4, 20, 20, 400, 1.2, 0.3),
    Setting(4, 300, 10, 300, 0.0, 0.0),
    Setting(3, 30, 5, 60, 0.7, 0.3),
    Setting(2, 60, 20, 60, 0.7, 0.3),
)


def counts_of(data: Comparisons) -> Floats:
    """Return the counts that Davidson's model is fitted to."""
    size = len(data.sources)
    counts = np.zeros((size, size, 3))
    np.add.at(counts, (data.first, data.second, 1 - data.outcomes), 1.0)
    return counts


def coverage(setting: Setting, collections: int) -> str:
    """Return how often 95 % intervals contain the true differences and strengths."""
    truth, size = setting.truth(), setting.sources
    contrasts: list[tuple[Floats, tuple[int, ...]]] = [
        (np.eye(size)[a] - np.eye(size)[b], (a, b)) for a, b in combinations(range(size), 2)
    ]
    contrasts += [(np.eye(size)[source] - 1 / size, (source,)) for source in range(size)]
    pairs = len(contrasts) - size
    held = np.zeros((collections, len(contrasts)))
    independent, widths = np.zeros_like(held), np.zeros_like(held)
    for number in range(collections):
        data = drawn(
            setting.strengths, setting.judgements, np.random.default_rng(number), setting.prompts,
            setting.annotators, setting.prompt_sd, setting.annotator_sd, setting.nu,
        )  # fmt: skip
        fit = fit_davidson(counts_of(data))
        errors = strength_errors(data, fit)
        for index, (contrast, sources) in enumerate(contrasts):
            half = errors.uncertainty(contrast, sources).quantile(0.975)
            missed = abs(contrast @ (fit.strengths - truth))
            held[number, index] = missed <= half
            independent[number, index] = (
                missed <= 1.96 * (contrast @ errors.model @ contrast) ** 0.5
            )
            widths[number, index] = half
    # collections are independent, intervals of one collection are not
    error = held[:, :pairs].mean(axis=1).std(ddof=1) / collections**0.5
    return (
        f"{held[:, :pairs].mean():.3f} ± {error:.3f}   {held[:, pairs:].mean():.3f}   "
        f"{independent[:, :pairs].mean():.3f}   {widths[:, :pairs].mean():.2f}   {setting.label}"
    )


def main() -> None:
    """Print the tables that the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    choice = commands.add_parser("choice", help="judgements needed by each way of choosing pairs")
    choice.add_argument("--seeds", type=int, default=10)
    choice.add_argument(
        "--fixed", action="store_true", help=f"keep the reward models of {FIRST} judgements"
    )
    covers = commands.add_parser("coverage", help="coverage of Bradley-Terry intervals")
    covers.add_argument("--collections", type=int, default=1_000)
    covers.add_argument("--setting", type=int, help="only this one, from 0")
    options = parser.parse_args()
    if options.command == "choice":
        for line in compare_choices(options.seeds, renewed=not options.fixed):
            print(line, flush=True)
        return
    print("coverage of 95 % intervals over", options.collections, "collections each:")
    print("differences, strengths, differences by independent judgements, mean half width")
    chosen = SETTINGS if options.setting is None else (SETTINGS[options.setting],)
    for setting in chosen:
        print(coverage(setting, options.collections), flush=True)


if __name__ == "__main__":
    main()
