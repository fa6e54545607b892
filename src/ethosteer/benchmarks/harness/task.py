"""A task of lm-evaluation-harness: its items as models read them, and the scores of answers."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass
from functools import cached_property
from typing import Any

from ethosteer.benchmarks.base import Benchmark, ModelAnswer
from ethosteer.benchmarks.definitions import define, defined_metrics
from ethosteer.benchmarks.harness import PREFIX
from ethosteer.benchmarks.harness.loading import FEWSHOT_SEED, harness_version, load_task
from ethosteer.data.sources import Source
from ethosteer.errors import InputError, RefusedDialogueError
from ethosteer.files import fingerprint
from ethosteer.records import Item, PlainForm
from ethosteer.results.benchmarks import Better, MetricDefinition
from ethosteer.settings import BenchmarkSettings
from ethosteer.statistics.metrics import BIAS_FREE, MCC

HOME = "https://github.com/EleutherAI/lm-evaluation-harness"
DEFAULT_NEW_TOKENS = 256
"""The harness's own default of ``max_gen_toks``."""
NEW_TOKENS_KEYS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")
ZERO_OR_ONE = ("acc", "acc_norm", "acc_bytes", "exact_match")
"""Metrics of which the harness computes 1 or 0 for every document."""

ChatWriter = Callable[[list[dict[str, str]], bool], str]
"""Writes messages (``role`` and ``content``) by a chat template, with its generation prompt or
with the last message to be continued; raises RefusedDialogueError."""


@dataclass(frozen=True)
class HarnessTask:
    """A task of the harness, or of a YAML file in one of the folders ``include_path``.

    Its identity is the harness's version, the task's resolved configuration, and its requests.
    """

    name: str
    include_path: tuple[str, ...] = ()

    def identity(self) -> list[str]:
        """Return the harness's version and hashes of the configuration and the plain requests."""
        config = {
            key: _plain(value)
            for key, value in vars(self._task.config).items()
            if key not in PLACES_AND_NAMES
        }
        requests = [
            [item.contexts, item.continuations, item.label, item.slices] for item in self.items()
        ]
        golds = [str(self._task.doc_to_target(doc)) for doc in self._documents.values()]
        return [
            f"lm_eval {harness_version()}",
            fingerprint(self.name, config),
            fingerprint(requests, golds),
        ]

    def benchmark(self, table: BenchmarkSettings) -> Benchmark:
        """Return the task as a benchmark, labelled as ``table`` says.

        Raises InputError where no metric of the task is a mean over its items.
        """
        definitions = self._definitions
        generated = self._task.OUTPUT_TYPE == "generate_until"
        left_out = [name for name in self._task.aggregation() if name not in self._scored]
        known = {definition.name for definition in definitions}
        left_out = [name for name in left_out if name not in known]
        return Benchmark(
            name=PREFIX + self.name,
            title=table.title or self.name,
            # The task names its data; there is no file to be located here.
            sources=(Source("", table.home or HOME, table.licence or "see the task"),),
            items=lambda _: self.items(),
            metrics=defined_metrics(definitions),
            examples={},
            answers=self._fixed_answers,
            new_tokens=self._new_tokens if generated else 0,
            definitions=definitions,
            score=self.scores,
            note=f"Left out, since no mean over items: {', '.join(left_out)}." if left_out else "",
        )

    def items(self, chat: ChatWriter | None = None) -> list[Item]:
        """Return the task's requests, one item a document; written by ``chat`` if that is given.

        Few-shot examples are drawn by the task itself, with the harness's seed. An item's group is
        its own. Raises InputError where a document makes no request.
        """
        self._task.set_fewshot_seed(seed=FEWSHOT_SEED)
        try:
            return [
                self._item(name, doc, self._requests(doc, chat))
                for name, doc in self._documents.items()
            ]
        except InputError:
            raise
        except Exception as fault:  # a task may be code, and templates refer to any column
            raise InputError(
                f"{PREFIX}{self.name}: the task cannot write a document as a request "
                f"({type(fault).__name__}: {fault})"
            ) from fault

    def bare_texts(self) -> list[tuple[str, ...]]:
        """Return each document's own text: without few-shot examples and description."""
        return [
            (*map(str, self._choices(doc)), str(self._task.doc_to_text(doc)))
            for doc in self._documents.values()
        ]

    def scores(self, item: str, answer: ModelAnswer) -> tuple[float, ...]:
        """Return the task's own scores of one answer to an item, in the order of its metrics.

        A generated text is cut at the task's stop sequences first.
        """
        doc = self._documents[item]
        metrics: dict[str, Any] = {}
        for label, results in self._filtered(doc, answer):
            processed = self._task.process_results(doc, results)
            metrics |= {self._label(name, label): value for name, value in processed.items()}
        return tuple(_number(metrics.get(name)) for name in self._scored)

    # --- what the task says of itself

    @cached_property
    def _task(self) -> Any:  # noqa: ANN401 (the harness is not typed, nor imported here)
        return load_task(self.name, self.include_path)

    @cached_property
    def _documents(self) -> dict[str, Any]:
        """The documents by the id of their item: the task's name and their number."""
        return {f"{self.name}-{number}": doc for number, doc in self._task.doc_iterator()}

    @property
    def _is_custom(self) -> bool:
        """Whether scores are computed by code of the task's own."""
        return callable(self._task.config.process_results)

    @property
    def _new_tokens(self) -> int:
        kwargs = self._task.config.generation_kwargs or {}
        given = (kwargs[key] for key in NEW_TOKENS_KEYS if kwargs.get(key) is not None)
        return int(next(given, DEFAULT_NEW_TOKENS))

    @property
    def _filters(self) -> list[str]:
        return [ensemble.name for ensemble in self._task._filters]

    def _label(self, metric: str, filtered: str) -> str:
        """Return a metric's name, with that of the filter where there are several."""
        return metric if len(self._filters) == 1 else f"{metric} ({filtered})"

    @cached_property
    def _scored(self) -> tuple[str, ...]:
        """The metrics that are means over items, the others being left out."""
        names = [
            name
            for name, aggregate in self._task.aggregation().items()
            if getattr(aggregate, "__name__", "") in {"mean", "nanmean"}
        ]
        if not names:
            raise InputError(
                f"{PREFIX}{self.name}: none of its metrics is a mean over items, which can be "
                f"compared ({', '.join(self._task.aggregation())})"
            )
        return tuple(self._label(name, label) for name in names for label in self._filters)

    @cached_property
    def _definitions(self) -> tuple[MetricDefinition, ...]:
        higher = self._task.higher_is_better()
        found: list[MetricDefinition] = []
        for index, name in enumerate(self._scored):
            metric = name.partition(" (")[0]
            direction: Better = (
                "none" if higher.get(metric) is None else "higher" if higher[metric] else "lower"
            )
            if metric == "acc" and self._has_labels:
                # the same number from the predicted choice, which constant answers have as well
                found.append(MetricDefinition("acc", direction))
                continue
            proportion = metric in ZERO_OR_ONE and not self._is_custom
            found.append(MetricDefinition(name, direction, index, proportion))
        if len(self._fixed_answers) == 2:
            mcc = (MCC,) if "mcc" in self._task.aggregation() else ()
            found += define(*mcc, *BIAS_FREE)
        return tuple(found)

    @cached_property
    def _has_labels(self) -> bool:
        """Whether every document has one correct choice, and the choice is all that is scored."""
        return (
            self._task.OUTPUT_TYPE == "multiple_choice"
            and not self._is_custom
            and len(self._filters) == 1
            and all(self._gold(doc) is not None for doc in self._documents.values())
        )

    @cached_property
    def _fixed_answers(self) -> tuple[str, ...]:
        """The choices, where they are the same for all documents and accuracy comes first."""
        if not self._has_labels or self._task.multiple_input or self._scored[0] != "acc":
            return ()
        alike = {tuple(self._choices(doc)) for doc in self._documents.values()}
        return tuple(choice.strip() for choice in alike.pop()) if len(alike) == 1 else ()

    def _choices(self, doc: Any) -> list[str]:  # noqa: ANN401
        return list(self._task.doc_to_choice(doc)) if self._task.config.doc_to_choice else []

    def _gold(self, doc: Any) -> int | None:  # noqa: ANN401
        """Return the index of a document's correct choice; None where there is not just one."""
        choices = self._choices(doc)
        gold = (
            self._task.doc_to_text(doc)
            if self._task.multiple_input
            else (self._task.doc_to_target(doc))
        )
        if isinstance(gold, str):
            return choices.index(gold) if gold in choices else None
        return gold if isinstance(gold, int) and 0 <= gold < len(choices) else None

    # --- requests and results

    def _requests(self, doc: Any, chat: ChatWriter | None) -> list[Any]:  # noqa: ANN401
        """Return the harness's instances of one document, as its evaluator makes them."""
        written = None if chat is None else _without_refused_system(chat)
        context = self._task.fewshot_context(
            doc,
            num_fewshot=self._task.config.num_fewshot,
            apply_chat_template=chat is not None,
            fewshot_as_multiturn=chat is not None,
            chat_template=written,
            gen_prefix=self._task.doc_to_prefix(doc),
        )
        made = self._task.construct_requests(
            doc=doc,
            ctx=context,
            metadata=(self.name, 0, 1),
            apply_chat_template=chat is not None,
            chat_template=written,
        )
        return made if isinstance(made, list) else [made]

    def _item(self, name: str, doc: Any, requests: Sequence[Any]) -> Item:  # noqa: ANN401
        arguments = [request.args for request in requests]
        if self._task.OUTPUT_TYPE == "generate_until":
            label = 1 if self._definitions[0].is_proportion else None
            return Item(name, (arguments[0][0],), (), label, name)
        continuations = tuple(str(continuation) for _, continuation in arguments)
        if not continuations or not all(continuations):
            raise InputError(f"{PREFIX}{self.name}: {name} has an empty choice or none")
        return Item(
            id=name,
            contexts=tuple(str(context) for context, _ in arguments),
            continuations=continuations,
            label=self._gold(doc) if len(continuations) > 1 else 0,
            group=name,
            form=PlainForm(delimiter=""),
        )

    def _filtered(self, doc: Any, answer: ModelAnswer) -> Iterator[tuple[str, list[Any]]]:  # noqa: ANN401
        """Yield each filter's name and what it makes of an answer, for every request."""
        responses = [self._cut(answer)] if isinstance(answer, str) else list(answer)
        requests = []
        for response in responses:
            request = _Response(doc, [response], {})
            requests.append(request)
        for ensemble in self._task._filters:
            ensemble.apply(requests)
            yield ensemble.name, [request.filtered_resps[ensemble.name] for request in requests]

    def _cut(self, text: str) -> str:
        """Cut a generated text at the first stop sequence, as the harness does."""
        until = (self._task.config.generation_kwargs or {}).get("until") or []
        for stop in [until] if isinstance(until, str) else until:
            text = text.split(stop, maxsplit=1)[0] if stop else text
        return text


PLACES_AND_NAMES = ("task", "task_alias", "tag", "metadata", "dataset_kwargs")
"""What a task's configuration says of where its files are; documents count by their content."""


def _plain(value: Any) -> object:  # noqa: ANN401
    """Return a setting of a task as JSON-able values, code as its source text."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, dict):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if callable(value):
        try:
            return inspect.getsource(value)
        except (OSError, TypeError):
            return getattr(value, "__qualname__", type(value).__qualname__)
    return value


@dataclass
class _Response:
    """The fields of the harness's Instance that its filters read and write."""

    doc: Any
    resps: list[Any]
    filtered_resps: dict[str, Any]


def _without_refused_system(chat: ChatWriter) -> Callable[..., str]:
    """Return ``chat`` as the harness calls it: without a system message that a template refuses."""

    def write(messages: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        messages = copy.deepcopy(messages)
        try:
            return chat(messages, add_generation_prompt)
        except RefusedDialogueError:
            others = [message for message in messages if message["role"] != "system"]
            if len(others) == len(messages):
                raise
            return chat(others, add_generation_prompt)

    return write


def _number(value: object) -> float:
    """Return a score as a number; nan where the task computed none for this document."""
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return float("nan")
