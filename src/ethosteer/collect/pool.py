"""The pool of pairs: from the answers of a study's arms and controls, or from a file.

A pair's key is a hash of its content, so the same pair has one key in every collection.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from math import isfinite
from pathlib import Path

from ethosteer.collect.records import Answer, Pair, PairKind, Preference
from ethosteer.data.formats.base import written_prompt
from ethosteer.data.formats.dialogues import UnusableError, answer_turns, prompt_turns
from ethosteer.data.formats.files import read_rows
from ethosteer.data.readers import Row, is_blank
from ethosteer.errors import InputError
from ethosteer.files import fingerprint
from ethosteer.records import Turn
from ethosteer.results.study import Sample, SampleAnswer
from ethosteer.study.folder import is_run_folder

KEY_LENGTH = 20
"""Hexadecimal digits of a key: 80 bits."""
KINDS: tuple[PairKind, ...] = ("pair", "gold", "practice")
LARGEST_RESPONSES = 64
"""Answers of one row, of which each two make a pair."""
LARGEST_POOL = 200_000


@dataclass(frozen=True, slots=True)
class Pool:
    """Pairs with distinct keys, and how many were left out, by reason."""

    pairs: tuple[Pair, ...]
    left_out: dict[str, int] = field(default_factory=dict)


def make_pair(
    prompt: Sequence[Turn],
    first: Answer,
    second: Answer,
    *,
    kind: PairKind = "pair",
    expected: Preference | None = None,
    explanation: str = "",
    margins: Sequence[float] = (),
    warning: str = "",
    group: str = "",
) -> Pair:
    """Return a pair with its key; ``group`` is the prompt's key where it is ""."""
    # without blanks at their ends, as curation reads them
    turns = tuple((role, text.strip()) for role, text in prompt)
    first, second = (Answer(answer.source, answer.text.strip()) for answer in (first, second))
    answers = [[answer.source, answer.text] for answer in (first, second)]
    return Pair(  # neither a warning nor margins make it another pair
        key=fingerprint(turns, *answers, kind, expected)[:KEY_LENGTH],
        prompt=turns,
        first=first,
        second=second,
        group=group or fingerprint(turns)[:KEY_LENGTH],
        kind=kind,
        expected=expected,
        explanation=explanation.strip(),
        margins=tuple(margins),
        warning=warning.strip(),
    )


def read_pool(source: Path, extra: Iterable[Path] = (), warning: str = "") -> Pool:
    """Return the pairs of a run's folder or of a file, and those of ``extra`` files.

    ``warning`` is the content warning of pairs that have none. Raises InputError where there is no
    pair to judge, and for anything invalid in a file.
    """
    read = study_pairs if is_run_folder(source) else file_pairs
    made = [*read(source), *(entry for path in extra for entry in file_pairs(path))]
    left_out: Counter[str] = Counter()
    pairs: dict[str, Pair] = {}
    for entry in made:
        if isinstance(entry, str):
            left_out[entry] += 1
        elif entry.key in pairs:
            left_out["duplicate"] += 1
        else:
            pairs[entry.key] = entry
    if not any(pair.kind == "pair" for pair in pairs.values()):
        reasons = ", ".join(f"{reason}: {count}" for reason, count in sorted(left_out.items()))
        raise InputError(f"{source}: has no pair to judge (left out: {reasons or 'none'})")
    if len(pairs) > LARGEST_POOL:
        raise InputError(f"{source}: has {len(pairs):,} pairs, of at most {LARGEST_POOL:,}")
    warned = (replace(pair, warning=pair.warning or warning) for pair in pairs.values())
    return Pool(tuple(warned), dict(sorted(left_out.items())))


def study_pairs(folder: Path) -> Iterator[Pair | str]:
    """Yield each two answers of a run's arms and controls to the same held-out prompt.

    The answers are the run's stored samples, drawn with common random numbers; the margins are the
    rewards of all reward models, by their names. Answers that cannot be compared are yielded as the
    reason. Raises InputError where the run has no samples.
    """
    from ethosteer.study.finished import stored_study  # imports peft, and so torch

    study = stored_study(folder)
    plan, store = study.plan, study.store
    if not store.has(plan.samples) or not store.has(plan.prompts):
        raise InputError(f"{folder}: has no stored answers; `ethosteer run {folder}` makes them")
    samples: Sequence[Sample] = store.load(plan.samples)
    if not samples:
        raise InputError(
            f"{folder}: has no answers, since its study sets evaluate.sample_prompts = 0"
        )
    # a sample keeps its prompt as the template wrote it; the turns are those that it was made of
    for sample, turns in zip(samples, store.load(plan.prompts).test, strict=False):
        if problem := written_prompt(turns)[1]:
            yield problem
            continue
        for first, second in combinations(sample.answers, 2):
            yield _comparable(turns, _answer(first), _answer(second)) or make_pair(
                turns,
                _answer(first),
                _answer(second),
                margins=[
                    first.rewards[name] - second.rewards[name] for name in sorted(first.rewards)
                ],
            )


def file_pairs(path: Path) -> Iterator[Pair | str]:
    """Yield the pairs of a file's rows, or the reason why one is left out.

    A row has ``prompt`` and either ``responses``, of which each two make a pair, or ``response_a``
    and ``response_b``. Raises InputError, with file and row, for a malformed row.
    """
    for row in read_rows(path):
        yield from row_pairs(row)


def row_pairs(row: Row) -> Iterator[Pair | str]:
    """Yield the pairs of one row, or the reason why one is left out; InputError as above."""
    row = replace(row, names={"prompt": "prompt"})  # so that answers are no whole dialogues
    try:
        prompt = prompt_turns(row)
        if problem := written_prompt(prompt)[1]:
            yield problem
        elif "responses" in row.fields:
            yield from _of_responses(row, prompt)
        else:
            yield _ready(row, prompt)
    except UnusableError as fault:
        yield str(fault)


def _of_responses(row: Row, prompt: Sequence[Turn]) -> Iterator[Pair | str]:
    value = row.value("responses")
    if not isinstance(value, list) or not 2 <= len(value) <= LARGEST_RESPONSES:
        raise row.bad("responses", f"must be a list of 2 to {LARGEST_RESPONSES} answers")
    answers = []
    for number, entry in enumerate(value, start=1):
        fields = entry if isinstance(entry, dict) else {"text": entry}
        text, source = fields.get("text"), fields.get("source") or f"response {number}"
        if not isinstance(text, str) or not isinstance(source, str):
            raise row.fail(
                f"column 'responses', answer {number}: must be text, or an object with text and "
                "source"
            )
        answers.append(Answer(source, text))
    warning = _optional(row, "warning")
    for first, second in combinations(answers, 2):
        yield _comparable(prompt, first, second) or make_pair(
            prompt, first, second, warning=warning, group=_optional(row, "group")
        )


def _ready(row: Row, prompt: Sequence[Turn]) -> Pair | str:
    for column in ("response_a", "response_b"):
        if column not in row.fields:
            raise row.fail(f"has neither responses nor {column}")
    first, second = (
        Answer(_optional(row, f"source_{end}") or end, _answer_text(row, f"response_{end}"))
        for end in ("a", "b")
    )
    expected = _expected(row)
    kind: PairKind = "pair" if expected is None else "gold"
    if written := _optional(row, "kind"):
        kind = next((name for name in KINDS if name == written), kind)
        if kind != written or (kind == "pair") != (expected is None):
            raise row.bad("kind", "must be gold or practice with expected, and pair without")
    return _comparable(prompt, first, second) or make_pair(
        prompt,
        first,
        second,
        kind=kind,
        expected=expected,
        explanation=_optional(row, "explanation"),
        margins=_margins(row),
        warning=_optional(row, "warning"),
        group=_optional(row, "group"),
    )


def _expected(row: Row) -> Preference | None:
    value = row.value("expected")
    if value is None or value == "":
        return None
    allowed: tuple[Preference, ...] = (-2, -1, 0, 1, 2)
    for preference in allowed:
        if preference == row.number("expected"):
            return preference
    raise row.bad("expected", "must be 2, 1, 0, -1 or -2, positive where response_a is better")


def _margins(row: Row) -> list[float]:
    value = row.value("margins") or []
    numbers = value if isinstance(value, list) else [value]
    margins = [
        float(number)
        for number in numbers
        if isinstance(number, int | float) and not isinstance(number, bool)
    ]
    if len(margins) < len(numbers) or not all(map(isfinite, margins)):
        raise row.bad("margins", "must be a list of numbers")
    return margins


def _optional(row: Row, column: str) -> str:
    return "" if row.value(column) is None else row.text(column).strip()


def _answer_text(row: Row, column: str) -> str:
    turns = answer_turns(row, column)
    if [role for role, _ in turns] != ["assistant"]:
        raise UnusableError("no answer")
    return turns[0][1]


def _answer(answer: SampleAnswer) -> Answer:
    return Answer(answer.model, answer.text)


def _comparable(prompt: Sequence[Turn], first: Answer, second: Answer) -> str | None:
    """Return why two answers are nothing to compare; None where they are."""
    if any(is_blank(text) for text in (first.text, second.text, prompt[-1][1])):
        return "empty"
    return "same answer" if first.text.strip() == second.text.strip() else None
