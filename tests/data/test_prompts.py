"""Steering prompts: a mixture of datasets in equal parts, or the openings of conversations."""

from __future__ import annotations

from collections import Counter

import pytest

from ethosteer.data.prompts import first_turns, steering_prompts
from ethosteer.data.splits import split_of
from ethosteer.errors import InputError
from ethosteer.models.text import Template
from ethosteer.records import DatasetCard, PreferencePair, PreferenceSet, Turn
from tests.chat import tokenizer
from tests.data.words import TEMPLATE


def preference_set(name: str, prompts: list[str]) -> PreferenceSet:
    pairs = tuple(PreferencePair(p, p, "c", "r", p, 1) for p in prompts)
    card = DatasetCard(name, "", "", "", 0, {}, {}, 0, "", 0.0, 0.0)
    return PreferenceSet(name, pairs, (), pairs[:1], card)


A = preference_set("a", ["one", "two", "three", "three", "four words are long"])
B = preference_set("b", ["\n\nHuman: hi\n\nAssistant: yes?\n\nHuman: go"])


def test_datasets_share_prompts_equally_and_short_sets_repeat_theirs():
    prompts = steering_prompts([A, B], "train", TEMPLATE, 3)
    texts = [turns[-1][1] for turns in prompts]
    assert Counter(texts) == {"one": 1, "two": 1, "three": 1, "go": 3}
    assert texts[1::2] == ["go"] * 3, "datasets take turns"
    assert prompts[1] == [("human", "hi"), ("assistant", "yes?"), ("human", "go")]
    assert prompts == steering_prompts([A, B], "train", TEMPLATE, 3)


def test_a_split_has_its_own_prompts():
    assert steering_prompts([A], "test", TEMPLATE, 3) == [[("human", "one")]]


def test_a_dataset_without_short_prompts_gives_none():
    texts = [turns[0][1] for turns in steering_prompts([A, B], "train", TEMPLATE, 2)]
    assert sorted(texts) == ["one", "three", "two"]


def test_without_any_short_prompt_the_key_is_named():
    with pytest.raises(InputError, match=r"data\.max_prompt_tokens"):
        steering_prompts([A, B], "train", TEMPLATE, 0)


def test_openings_of_conversations_are_prompts_of_their_split():
    conversations: list[list[Turn]] = [
        [("human", f"question {n % 150}"), ("assistant", "answer")] for n in range(200)
    ]
    conversations.append([("human", "a much longer question"), ("assistant", "answer")])
    by_split = {
        name: first_turns(conversations, name, TEMPLATE, 3)
        for name in ("train", "validation", "test")
    }
    assert sum(map(len, by_split.values())) == 150, "each once, and none over three words"
    for name, prompts in by_split.items():
        assert {split_of(text) for ((_, text),) in prompts} == {name}


def test_an_opening_keeps_what_the_system_says_where_the_template_takes_it():
    question = next(f"question {n}" for n in range(99) if split_of(f"question {n}") == "train")
    turns: list[Turn] = [("system", "Be brief."), ("human", question), ("assistant", "answer")]
    assert first_turns([turns], "train", TEMPLATE, 9) == [turns[:2]]
    assert first_turns([turns], "train", Template("chat", tokenizer("gemma")), 99) == []
