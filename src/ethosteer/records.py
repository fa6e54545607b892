"""What flows through a study, as frozen records.

    published data -> PreferenceSet -> reward models -> policies -> Outcome -> Comparison

Stages pass records and stored artifacts to each other, never live models.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor

BASE = "base"
FINETUNED = "fine-tuned"
CONTROLS = (BASE, FINETUNED)

Turn = tuple[Literal["system", "human", "assistant"], str]
"""One turn of a dialogue: the speaker and the text."""

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")

_TURN = re.compile(r"\n\n(Human|Assistant):")
_SYSTEM = re.compile(r"\n\nSystem:(.*?)(?=\n\nHuman:)", re.DOTALL)


def parse_dialogue(text: str) -> list[Turn]:
    r"""Split a prompt into its turns.

    A dialogue is written ``\n\nHuman: ...\n\nAssistant: ...\n\nHuman: ...``, perhaps after
    ``\n\nSystem: ...``; any text that does not start so is one human turn.
    """
    if system := _SYSTEM.match(text):
        return [("system", system[1].strip()), *parse_dialogue(text[system.end() :])]
    if not _TURN.match(text):
        return [("human", text)]
    _, *pieces = _TURN.split(text)
    return [
        ("human" if role == "Human" else "assistant", turn.strip())
        for role, turn in zip(pieces[::2], pieces[1::2], strict=True)
    ]


def format_dialogue(turns: Sequence[Turn]) -> str:
    """Write turns so that ``parse_dialogue`` reads them back; one human turn is its bare text."""
    if [role for role, _ in turns] == ["human"]:
        return turns[0][1]
    return "".join(f"\n\n{role.capitalize()}: {text}" for role, text in turns)


def unusable(turns: Sequence[Turn]) -> str | None:
    """Say why a dialogue cannot be read as one, for the count of dropped rows; None if it can."""
    if not all(text.strip() for _, text in turns):
        return "empty turn"
    first = next((role for role, _ in turns if role != "system"), None)
    return {"human": None, "assistant": "assistant first", None: "no question"}[first]


@dataclass(frozen=True, slots=True)
class Arm:
    """One preference dataset and one seed, to be steered."""

    name: str
    seed: int

    @property
    def label(self) -> str:
        """The arm's name in paths and tables, such as ``virtue-s0``."""
        return f"{self.name}-s{self.seed}"


@dataclass(frozen=True, slots=True)
class Model:
    """A model that is evaluated: a control (seed 0) or an arm."""

    name: str
    seed: int = 0

    @property
    def arm(self) -> Arm | None:
        """The arm, None for a control."""
        return None if self.name in CONTROLS else Arm(self.name, self.seed)

    @property
    def label(self) -> str:
        """The model's name in paths."""
        return self.name if self.arm is None else self.arm.label


@dataclass(frozen=True, slots=True)
class PreferencePair:
    """One prompt with the response to prefer and the one to avoid, as plain text.

    ``group`` is the scenario: pairs of one scenario stay in one split. ``row`` is the
    line of the published file that the chosen response was read from, counted from 1.
    """

    id: str
    prompt: str
    chosen: str
    rejected: str
    group: str
    row: int

    @property
    def turns(self) -> list[Turn]:
        """The prompt as turns of a dialogue."""
        return parse_dialogue(self.prompt)


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far annotators agree on which of two answers is better: Krippendorff's nominal alpha.

    ``pairs`` have two or more judgements, ``judgements`` in all. ``annotators`` is 0 where a file
    has votes without names.
    """

    alpha: float
    pairs: int
    judgements: int
    annotators: int


@dataclass(frozen=True, slots=True)
class DatasetCard:
    """Where a preference set comes from, and what curation kept and dropped of it.

    ``format`` is what a file of the user's was recognised as, "" for a built-in dataset.
    """

    name: str
    source: str
    revision: str
    licence: str
    rows: int
    pairs: dict[str, int]
    dropped: dict[str, int]
    duplicates: int
    content_hash: str
    mean_prompt_tokens: float
    mean_response_tokens: float
    title: str = ""
    format: str = ""
    agreement: Agreement | None = None


@dataclass(frozen=True, slots=True)
class PreferenceSet:
    """A curated dataset: its pairs by split, and its card."""

    name: str
    train: tuple[PreferencePair, ...]
    validation: tuple[PreferencePair, ...]
    test: tuple[PreferencePair, ...]
    card: DatasetCard

    def split(self, name: Split) -> tuple[PreferencePair, ...]:
        """Return the pairs of one split."""
        return {"train": self.train, "validation": self.validation, "test": self.test}[name]

    @property
    def pairs(self) -> tuple[PreferencePair, ...]:
        """All pairs, split by split."""
        return self.train + self.validation + self.test


@dataclass(frozen=True, slots=True)
class Rollout:
    """Sampled responses to the same prompts: an equal block of rows for each of ``arms``.

    tokens: ``[R, T]``, prompt and response, right-padded; prompt_lengths: ``[R]``. response_tokens
    and response_mask: ``[R, N]``, the mask covering the response up to and with its EOS;
    log-probabilities, entropy and values have that shape too and belong to the response token of
    their column. scores: ``[R]``, normalised. pass_tokens: the token budget of the passes that gave
    log-probabilities and values; None where the sampling pass did. engine_log_probabilities: those
    of the engine that sampled, where one did.
    """

    arms: tuple[int, ...]
    tokens: Tensor
    prompt_lengths: Tensor
    response_tokens: Tensor
    response_mask: Tensor
    log_probabilities: Tensor
    reference_log_probabilities: Tensor
    entropy: Tensor
    values: Tensor
    scores: Tensor
    pass_tokens: int | None = None
    engine_log_probabilities: Tensor | None = None

    @property
    def read_lengths(self) -> Tensor:
        """Tokens of each row that predict one of its response: all but the last, ``[R]``."""
        return self.prompt_lengths + self.response_mask.sum(dim=1) - 1


@dataclass(frozen=True, slots=True)
class PlainForm:
    """How an item's texts write a dialogue where no chat template does.

    The first ``opening`` and last ``closing`` characters of every context are headings, and the
    turns ``earlier``; between them stands the human's last turn. ``delimiter`` is what parts a
    continuation from its context. A chat template takes the place of all of these.
    """

    opening: int = 0
    closing: int = 0
    earlier: tuple[Turn, ...] = ()
    delimiter: str = " "


@dataclass(frozen=True, slots=True)
class Item:
    """One question of a benchmark.

    A choice ``i`` is the continuation ``continuations[i]`` after ``contexts[i]``. An item without
    continuations is answered by greedy generation after ``contexts[0]``. ``group`` is the cluster
    for the statistics (Winograd twins, one deontology scenario); ``slices`` are the subsets of the
    benchmark that it belongs to (a bias type, a target group). ``trim`` is the span of characters
    in every context that may be shortened from its middle where the item is too long for the
    model; None where contexts lose their first tokens, as in the reference harness. ``token_ids``
    are the ids of every choice's context and continuation where these are not the reference
    harness's encoding of the texts. ``form`` is what a chat template replaces.
    """

    id: str
    contexts: tuple[str, ...]
    continuations: tuple[str, ...]
    label: int | None
    group: str
    slices: tuple[str, ...] = ()
    trim: tuple[int, int] | None = None
    token_ids: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...] = ()
    form: PlainForm = PlainForm()
    expected: tuple[str, ...] = ()

    def texts(self) -> tuple[str, ...]:
        """Return every text that a model may read for this item."""
        continuations = self.continuations or ("",) * len(self.contexts)
        return tuple(
            context + continuation
            for context, continuation in zip(self.contexts, continuations, strict=True)
        )


@dataclass(frozen=True, slots=True)
class LabelledText:
    """A text and whether it belongs to the positive class, for classifiers."""

    text: str
    positive: bool


@dataclass(frozen=True, slots=True)
class Outcome:
    """One model's answer to one item.

    ``model`` is a control's or an arm's name, ``seed`` the arm's (0 for controls). ``predicted`` is
    the index of the chosen continuation, None for no answer; ``correct`` is None where an item has
    no label. ``log_likelihoods`` are the continuations', or the classifier's log-probabilities of
    the two classes of a generated text; ``lengths`` are the continuations' characters without the
    leading space, for acc_norm, or their scored tokens where the benchmark is answered per token.
    ``truncated`` if the item was too long for the model and lost text. ``scores`` are values of
    metrics that are no function of the rest, as lm-evaluation-harness's tasks compute them.
    """

    model: str
    seed: int
    benchmark: str
    item: str
    group: str
    slices: tuple[str, ...]
    label: int | None
    predicted: int | None
    correct: bool | None
    log_likelihoods: tuple[float, ...] = ()
    lengths: tuple[int, ...] = ()
    text: str | None = None
    truncated: bool = False
    scores: tuple[float, ...] = ()
