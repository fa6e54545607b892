"""Results of two studies are comparable where hashes of what they rest on agree."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from ethosteer.evaluation.comparable import comparability_of, what_differs
from ethosteer.models.text import Template, tokenizer_fingerprint
from ethosteer.records import Item
from ethosteer.results.benchmarks import BenchmarkResult, Comparability

ONE = Item("a-1", ("Is it so?", "Is it so?"), (" No", " Yes"), 1, "scene", ("age", "race"))
TWO = Item("a-2", ("The «cat» sat", "The dog sät"), (" up.", " up."), None, "other")
OPEN = Item("b-1", ("Tell me\n\nall:",), (), 0, "b-1", ("x",))


def comparability(items: list[Item]) -> Comparability:
    return comparability_of(items, "template", "tokenizer", "judge")


def changed(before: Comparability, after: Comparability) -> set[str]:
    names = [field.name for field in fields(Comparability)]
    return {name for name in names if getattr(before, name) != getattr(after, name)}


# --- hashes


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        ([ONE, TWO], set()),
        ([replace(ONE), replace(TWO)], set()),
        ([replace(ONE, id="a-9"), TWO], {"items"}),
        ([replace(ONE, contexts=("Is it so?", "Is it so? ")), TWO], {"prompts"}),
        ([replace(ONE, continuations=(" No", " yes")), TWO], {"prompts"}),
        ([replace(ONE, continuations=(" Yes", " No")), TWO], {"prompts"}),
        # the same text, cut elsewhere into what is given and what is chosen
        ([replace(ONE, contexts=("Is it so", "Is it so?"), continuations=("? No", " Yes")), TWO],
         {"prompts"}),
        ([TWO, ONE], {"items", "prompts"}),
        ([replace(ONE, label=1 - (ONE.label or 0)), TWO], {"items"}),
        ([replace(ONE, group="another"), TWO], {"items"}),
        ([ONE], {"items", "prompts"}),
        ([ONE, TWO, TWO], {"items", "prompts"}),
    ],
    ids=["same", "equal", "id", "context", "continuation", "choices swapped", "cut elsewhere",
         "order", "label", "group", "one fewer", "one more"],
)  # fmt: skip
def test_hashes_of_items_change_with_their_ids_their_texts_and_their_order(items, expected):
    assert changed(comparability([ONE, TWO]), comparability(items)) == expected


def test_template_tokenizer_and_classifier_are_told_apart():
    own = comparability_of([ONE], "a", "b", "c")
    assert (own.template, own.tokenizer, own.classifier) == ("a", "b", "c")
    assert changed(own, comparability_of([ONE], "x", "b", "c")) == {"template"}
    assert changed(own, comparability_of([ONE], "a", "x", "c")) == {"tokenizer"}
    assert changed(own, comparability_of([ONE], "a", "b", "")) == {"classifier"}


def tokenizer(*words: str, split: bool = True) -> PreTrainedTokenizerFast:
    made = Tokenizer(models.WordLevel({word: i for i, word in enumerate(("?", *words))}, "?"))
    if split:
        made.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=made, unk_token="?", pad_token="?")


def test_a_tokenizer_is_known_by_its_vocabulary_and_by_how_it_splits():
    own = tokenizer_fingerprint(tokenizer("a", "b"))
    assert tokenizer_fingerprint(tokenizer("a", "b")) == own
    assert tokenizer_fingerprint(tokenizer("b", "a")) != own
    assert tokenizer_fingerprint(tokenizer("a", "b", "c")) != own
    assert tokenizer_fingerprint(tokenizer("a", "b", split=False)) != own
    used = tokenizer("a", "b")
    used(["a", "a b"], padding=True, truncation=True, max_length=1)
    assert tokenizer_fingerprint(used) == own, "how it was used last is not what it is"


def test_a_template_is_known_by_what_it_writes():
    own = tokenizer("a")
    written = {name: Template(name, own).fingerprint() for name in ("guanaco", "hh")}
    assert written["guanaco"] != written["hh"]
    assert Template("hh", tokenizer("b")).fingerprint() == written["hh"]
    chats = []
    for end in ("[end]", "[stop]"):
        own.chat_template = "{% for m in messages %}[{{ m['role'] }}]{{ m['content'] }}" + end
        own.chat_template += "{% endfor %}"
        chats.append(Template("chat", own).fingerprint())
    assert len({*chats, *written.values()}) == 4


# --- what differs


@pytest.fixture
def result() -> Callable[..., BenchmarkResult]:
    def make(**changes: object) -> BenchmarkResult:
        own = BenchmarkResult("b", "B", "acc", "higher", 1200, 0, "home", "MIT", {}, ())
        return replace(own, **{"comparability": comparability([ONE, TWO]), **changes})  # type: ignore[arg-type]

    return make


def test_results_that_share_all_of_it_are_comparable(result):
    assert what_differs(result(), result()) == ()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("items", "the items"),
        ("prompts", "the prompts"),
        ("template", "the dialogue template"),
        ("tokenizer", "the tokenizer"),
        ("classifier", "the classifier of texts"),
    ],
)
def test_each_difference_is_named(result, name, words):
    other = replace(comparability([ONE, TWO]), **{name: "another"})
    assert what_differs(result(), result(comparability=other)) == (words,)
    assert what_differs(result(comparability=other), result()) == (words,)


def test_all_differences_are_named_with_the_numbers_of_items_first(result):
    other = Comparability("1", "2", "3", "4", "5")
    assert what_differs(result(), result(comparability=other, items=90)) == (
        "the number of items (1,200 and 90)",
        "the items",
        "the prompts",
        "the dialogue template",
        "the tokenizer",
        "the classifier of texts",
    )


@pytest.mark.parametrize("sides", [(0,), (1,), (0, 1)])
def test_results_without_hashes_are_not_comparable(result, sides):
    pair = [result(comparability=None) if side in sides else result() for side in (0, 1)]
    assert what_differs(*pair) == ("one of them has no hashes to compare: run it again",)
