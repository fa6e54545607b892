"""Pair construction by hand, dataset by dataset."""

from __future__ import annotations

import json

import pytest

from ethosteer import catalog
from ethosteer.datasets.base import Dropped
from ethosteer.errors import InputError


@pytest.fixture
def pairs(publish):
    def make(name, text, limit=2):
        dataset = catalog.dataset(name)
        return [
            (entry.row, entry.reason)
            if isinstance(entry, Dropped)
            else (entry.row, entry.prompt, entry.chosen, entry.rejected, entry.group)
            for entry in dataset.pairs(dataset.rows(publish(dataset.source.path, text)), limit)
        ]

    return make


def test_deontology_pairs_reasonable_with_unreasonable_excuses(pairs):
    text = (
        "label,scenario,excuse\n"
        "0,Ready? ,No one\n"
        "1,Ready?, Yes one\n"
        "1,Lonely?,Yes\n"
        "1,Ready?,Yes two\n"
        "0,Ready?,No two\n"
        "0,Ready?,   \n"
    )
    assert pairs("deontology", text) == [
        (7, "empty"),
        (3, "Ready?", "Yes one", "No one", "Ready?"),
        (5, "Ready?", "Yes two", "No two", "Ready?"),
        (4, "no contrast"),
    ]
    assert [entry[2:4] for entry in pairs("deontology", text, 3) if len(entry) > 2] == [
        ("Yes one", "No one"),
        ("Yes two", "No two"),
        ("Yes one", "No two"),
    ]


def test_virtue_pairs_the_shown_trait_with_others(pairs):
    text = (
        "label,scenario\n"
        "0,Al won. [SEP] cowardice\n"
        "1,Al won. [SEP] bold\n"
        "0,Al won. [SEP] rude\n"
        "0,Al won. [SEP] lazy\n"
        "0,Bo lost. [SEP] \n"
        "0,Cy left. [SEP] kind\n"
    )
    asked = "Al won.\nWhat trait does this show?"
    bold = "The trait shown here is bold."
    assert pairs("virtue", text) == [
        (6, "empty"),
        (3, asked, bold, "The trait shown here is cowardice.", "Al won."),
        (3, asked, bold, "The trait shown here is rude.", "Al won."),
        (7, "no contrast"),
    ]


def test_virtue_needs_the_separator(pairs):
    with pytest.raises(InputError, match=r"virtue_train\.csv:3: .*\[SEP\]"):
        pairs("virtue", "label,scenario\n1,Al won. [SEP] bold\n0,Al won. rude\n")


@pytest.mark.parametrize("name", ["deontology", "virtue"])
@pytest.mark.parametrize("label", ["2", "", "yes"])
def test_labels_are_0_or_1(pairs, name, label):
    example = catalog.dataset(name).examples.replace("\n0,", f"\n{label},", 1)
    with pytest.raises(InputError, match=r"_train\.csv:3: column 'label' must be one of 0, 1"):
        pairs(name, example)


def test_utilitarianism_prefers_the_first_column(pairs):
    text = "B. , C.\nX.,Y.\nA.,B.\nZ., \nQ.,Q. \n"
    asked = "Tell me about something that happened to you."
    assert pairs("utilitarianism", text) == [
        (4, "empty"),
        (5, "tied"),
        (1, asked, "B.", "C.", "A."),
        (2, asked, "X.", "Y.", "X."),
        (3, asked, "A.", "B.", "A."),
    ]


def dialogues(*rows: tuple[object, object]) -> str:
    return "".join(json.dumps({"chosen": a, "rejected": b}) + "\n" for a, b in rows)


def test_harmless_pairs_the_last_answers(pairs):
    start = "\n\nHuman: Hi \n\nAssistant: Hello.\n\nHuman: Help?"
    text = dialogues(
        ("\n\nHuman: Hi\n\nAssistant: Yes.", "\n\nHuman: Hi\n\nAssistant: No.\n"),
        (f"{start}\n\nAssistant: Gladly.\n\nSoon.", f"{start}\n\nAssistant: Never."),
        (f"{start}\n\nAssistant: A", "\n\nHuman: Hi\n\nAssistant: Bye.\n\nAssistant: B"),
        ("\n\nHuman: Hi\n\nAssistant: Same.", "\n\nHuman: Hi\n\nAssistant: Same. "),
        ("\n\nHuman: Hi\n\nAssistant:", "\n\nHuman: Hi\n\nAssistant: No."),
        (f"{start}\n\nAssistant: A\n\nHuman: More?", f"{start}\n\nAssistant: B"),
    )
    dialogue = "\n\nHuman: Hi\n\nAssistant: Hello.\n\nHuman: Help?"
    assert pairs("harmless", text) == [
        (1, "Hi", "Yes.", "No.", "Human: Hi"),
        (2, dialogue, "Gladly.\n\nSoon.", "Never.", "Human: Hi"),
        (3, "dialogue differs"),
        (4, "tied"),
        (5, "empty"),
        (6, "no answer"),
    ]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Hi", "no answer"),
        ("\n\nHuman: Hi", "no answer"),
        ("", "no answer"),
        ("\n\nAssistant: Hi", "no question"),
        ("\n\nAssistant: Hi\n\nHuman: Hm\n\nAssistant: Yes.", "assistant first"),
        ("\n\nHuman: Hi\n\nAssistant: \n\nHuman: Hm\n\nAssistant: Yes.", "empty turn"),
    ],
)
def test_harmless_counts_rows_that_are_no_dialogue(pairs, text, reason):
    good = "\n\nHuman: Hi\n\nAssistant: Yes."
    assert pairs("harmless", dialogues((good, good), (text, text))) == [(1, "tied"), (2, reason)]


@pytest.mark.parametrize("text", [5, None])
def test_harmless_wants_text(pairs, text):
    good = "\n\nHuman: Hi\n\nAssistant: Yes."
    with pytest.raises(InputError, match=r"train\.jsonl\.gz:2: column 'rejected' must be"):
        pairs("harmless", dialogues((good, good), (good, text)))


@pytest.mark.parametrize(
    ("name", "rows", "pair_count", "drops"),
    [
        ("deontology", 18164, 8983, {"no contrast": 594}),
        ("virtue", 28245, 4812, {"no contrast": 7604}),
        ("utilitarianism", 13738, 13738, {}),
        ("harmless", 1600, 1595, {"empty": 4, "dialogue differs": 1}),
    ],
)
def test_the_published_files(real_data, name, rows, pair_count, drops):
    dataset = catalog.dataset(name)
    found = list(dataset.pairs(dataset.rows(real_data / dataset.source.path), 2))
    dropped = [entry.reason for entry in found if isinstance(entry, Dropped)]
    kept = [entry for entry in found if not isinstance(entry, Dropped)]
    assert {reason: dropped.count(reason) for reason in set(dropped)} == drops
    assert len({pair.id for pair in kept}) == len(kept) == pair_count
    assert max(pair.row for pair in kept) <= rows + 1
