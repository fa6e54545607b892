"""Compare: from all outcomes and rewards to estimates, paired differences and verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from ethosteer.data.overlap import overlaps
from ethosteer.evaluation import reward_results
from ethosteer.evaluation.comparison import Measured, decide, measure_models
from ethosteer.evaluation.items import example_of
from ethosteer.evaluation.near_duplicates import clusters_of_pairs
from ethosteer.evaluation.on_demand import OnDemand
from ethosteer.evaluation.summary import summarise_with_terms
from ethosteer.files import read_json, to_json, write_atomic, write_json
from ethosteer.progress import Report
from ethosteer.records import CONTROLS, Outcome
from ethosteer.results.benchmarks import BenchmarkResult
from ethosteer.results.comparisons import Comparison
from ethosteer.results.steering import Select
from ethosteer.results.study import Overlap, StudyResults
from ethosteer.settings import CompareSettings
from ethosteer.stages.cross import Cross
from ethosteer.stages.curate import Curate
from ethosteer.stages.evaluate import Evaluate, Items
from ethosteer.stages.finetune import Finetune
from ethosteer.stages.samples import Samples
from ethosteer.stages.stage import Stage
from ethosteer.stages.steer import Steer
from ethosteer.stages.workspace import Workspace

if TYPE_CHECKING:
    from ethosteer.stages.store import Store

RESULTS = "results.json"
OVERLAPS = "overlaps.json"


@dataclass(frozen=True, eq=False)
class Overlaps(Stage[tuple[Overlap, ...]]):
    """For every arm and benchmark, the pairs that share text with the benchmark."""

    kind: ClassVar[str] = "compare"
    version: ClassVar[int] = 8

    overlap_ngram: int
    pairs: tuple[Curate, ...]
    items: tuple[Items, ...]

    @property
    def name(self) -> str:
        """There is one table of overlaps."""
        return "overlap"

    def make(self, folder: Path, workspace: Workspace, progress: Report) -> None:
        """Count the pairs that share n-grams with a benchmark."""
        store = workspace.store
        sets = [store.load(pairs) for pairs in self.pairs]
        texts = OnDemand({items.benchmark: partial(_texts, store, items) for items in self.items})
        asked = {items.benchmark: items.definition().dataset for items in self.items}
        counted = [
            overlap
            for overlap in overlaps(sets, texts, self.overlap_ngram)
            # pairs share the phrases that make up their dataset's prompts, and its test pairs
            if (dataset := asked[overlap.benchmark]) is None or dataset.name != overlap.dataset
        ]
        write_json(folder / OVERLAPS, counted)

    def load(self, folder: Path) -> tuple[Overlap, ...]:
        """Read the overlaps."""
        return read_json(folder / OVERLAPS, tuple[Overlap, ...])


@dataclass(frozen=True, eq=False)
class Compare(Stage[StudyResults]):
    """Everything that the report shows of a study.

    ``labels`` are each dataset's title, web page and licence, which no pair depends on, and
    ``benchmark_labels`` those that the study gives its benchmarks.
    """

    kind: ClassVar[str] = "compare"
    version: ClassVar[int] = 13
    left_out: ClassVar = {"compare.published": "shown by the report alone"}

    study: str
    question: str
    compare: CompareSettings
    select: Select
    steering: tuple[Steer, ...]
    items: tuple[Items, ...]
    evaluation: tuple[Evaluate, ...]
    cross: tuple[Cross, ...]
    samples: Samples
    overlaps: Overlaps
    labels: tuple[tuple[str, str, str], ...]
    benchmark_labels: tuple[tuple[str | None, ...], ...]

    @property
    def name(self) -> str:
        """There is one set of results."""
        return "results"

    def make(self, folder: Path, workspace: Workspace, progress: Report) -> None:
        """Compare all models."""
        write_atomic(folder / RESULTS, to_json(self._results(workspace.store)))

    def load(self, folder: Path) -> StudyResults:
        """Read the results."""
        return read_json(folder / RESULTS, StudyResults)

    def _results(self, store: Store) -> StudyResults:
        from ethosteer.models.reward_models import read_scale

        benchmarks, comparisons = self._benchmarks(store)
        clusters = self._clusters(store)
        crossed = {stage.seed: store.load(stage).clustered(clusters) for stage in self.cross}
        steered = {stage.arm: store.load(stage) for stage in self.steering}
        arms = tuple(dict.fromkeys(stage.arm.name for stage in self.steering))
        finetuned = self.steering[0].reward.base
        evaluated = {stage.model.name for stage in self.evaluation}
        controls = (name for name in CONTROLS if name in evaluated)
        return StudyResults(
            study=self.study,
            question=self.question,
            control=self.compare.control,
            seeds=tuple(stage.seed for stage in self.cross),
            models=(*controls, *arms),
            cards=tuple(store.load(pairs).card for pairs in self.overlaps.pairs),
            overlaps=store.load(self.overlaps),
            conversations_dropped=finetuned.dropped(store.path(finetuned))
            if isinstance(finetuned, Finetune)
            else {},
            arms=tuple(
                reward_results.arm_result(
                    stage.arm,
                    store.load(stage.reward).clustered(clusters[stage.reward.arm.name]),
                    read_scale(store.path(stage.reward)),
                    steered[stage.arm],
                    stage.reward.arm.name,
                    self.select,
                    stage.reward.pairs.dataset,
                )
                for stage in self.steering
            ),
            benchmarks=tuple(benchmarks),
            comparisons=tuple(comparisons),
            samples=store.load(self.samples),
            margin=self.compare.margin,
            alpha=self.compare.alpha,
            effect=self.compare.effect,
            correction=self.compare.correction,
            cross_rewards=tuple(reward_results.cross_rewards(crossed)),
            cross_accuracies=tuple(reward_results.cross_accuracies(crossed)),
            reward_comparisons=tuple(reward_results.reward_comparisons(crossed, self.compare)),
            slopes=tuple(reward_results.slopes(arms, steered, self.compare.correction)),
        )

    def _clusters(self, store: Store) -> dict[str, dict[str, str]]:
        """Map the groups of every reward model's held-out pairs to clusters of near-duplicates."""
        curated = {stage.reward.arm.name: stage.reward.pairs for stage in self.steering}
        return {name: clusters_of_pairs(store.load(pairs).test) for name, pairs in curated.items()}

    def _benchmarks(self, store: Store) -> tuple[list[BenchmarkResult], list[Comparison]]:
        """Summarise every benchmark and compare all models on it."""
        benchmarks: list[BenchmarkResult] = []
        measured: list[Measured] = []
        datasets = {stage.arm.name: stage.reward.pairs.dataset for stage in self.steering}
        for items in self.items:
            evaluated = [stage for stage in self.evaluation if stage.items == items]
            stages: dict[str, list[Evaluate]] = {}
            for stage in evaluated:
                stages.setdefault(stage.model.name, []).append(stage)
            outcomes = OnDemand(
                {model: partial(_by_seed, store, seeds) for model, seeds in stages.items()}
            )
            benchmark, stored = items.definition(), store.load(items)
            note = evaluated[0].classifier_note(store.path(evaluated[0]))
            summary, terms = summarise_with_terms(benchmark, len(stored), outcomes, note)
            comparability = items.comparability(store.path(items))
            benchmarks.append(
                replace(
                    summary,
                    comparability=comparability,
                    example=example_of(stored[0]),
                    chat=items.chat,
                )
            )
            measured += measure_models(benchmark, terms, self.compare, datasets)
        return benchmarks, decide(measured, self.compare)


def _texts(store: Store, items: Items) -> list[str]:
    """Return all texts of a benchmark's items."""
    return [text for item in store.load(items) for text in item.texts()]


def _by_seed(store: Store, stages: Sequence[Evaluate]) -> dict[int, list[Outcome]]:
    """Return one model's outcomes on one benchmark."""
    return {stage.model.seed: store.load(stage) for stage in stages}
