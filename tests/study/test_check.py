"""What is known before training is refused before it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from ethosteer.data.sources import Origin
from ethosteer.errors import InputError
from ethosteer.models.requests import check_requests, encode_pairs
from ethosteer.records import Item
from ethosteer.study.check import check_inputs
from ethosteer.study.load import load_study
from ethosteer.study.plan import Plan
from tests.tiny_study import OVERRIDES


def plan(tiny_base: Path, *overrides: str) -> Plan:
    settings = load_study("demo", [*OVERRIDES, f"base.model={tiny_base}", *overrides])
    return Plan(settings, Origin("sample"))


def words(**special: str) -> PreTrainedTokenizerFast:
    """Return a tokenizer of lower-case letters, to which all other characters are nothing."""
    letters = [*"abcdefghijklmnopqrstuvwxyz", *special.values()]
    tokenizer = Tokenizer(models.WordLevel(dict(zip(letters, range(99), strict=False))))
    tokenizer.normalizer = normalizers.Replace(Regex("[^a-z]"), "")
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)


def item(context: str, *choices: str) -> Item:
    return Item("i-7", (context,) * max(1, len(choices)), choices, 0, "g")


def test_a_limit_that_leaves_no_pair_to_ask_is_refused(tiny_base: Path, tmp_path: Path) -> None:
    # curation drops the one group that is small enough for the limit
    rows = [
        {"prompt": f"Question {index // 4}?", "chosen": f"Yes {index}.", "rejected": "No."}
        for index in range(400)
    ]
    rows += [
        {"prompt": f"Long {index}?", "chosen": "long " * 600, "rejected": "No."}
        for index in range(40)
    ]
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    arms = f"arms={{mine={{file='{path}', max_pairs=24, pairs_per_group=4}}}}"
    asked = "benchmarks={'preferences:mine'={limit=%d}}"
    check_inputs(plan(tiny_base, arms, asked % 8))
    with pytest.raises(InputError, match=r"benchmarks\.preferences:mine\.limit: 1 leaves no item"):
        check_inputs(plan(tiny_base, arms, asked % 1))


def test_a_choice_without_a_token_is_refused_with_its_item() -> None:
    tokenizer = words(bos_token="B")
    check_requests(tokenizer, "b", [item("ab", "c", "d")])
    with pytest.raises(InputError, match=r"benchmark b: item i-7: the choice '\?!' or its context"):
        check_requests(tokenizer, "b", [item("ab", "c", "?!")])
    with pytest.raises(InputError, match="benchmark b: item i-7 has an empty request"):
        check_requests(tokenizer, "b", [item(" ")])


def test_a_sentence_alone_needs_bos_or_eos() -> None:
    assert encode_pairs(words(eos_token="E"), [("", "ab")]) == [([26], [0, 1])]
    with pytest.raises(InputError, match="neither BOS nor EOS"):
        encode_pairs(words(), [("", "ab")])


def test_the_study_checks_the_tokens_of_its_benchmarks(
    tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[str] = []
    monkeypatch.setattr(
        "ethosteer.models.requests.check_requests",
        lambda _, benchmark, items: checked.append(f"{benchmark} {len(items)}"),
    )
    check_inputs(plan(tiny_base))
    assert [name.split()[0] for name in checked] == ["toxigen", "wsc273", "scruples_three"]
    assert "scruples_three 6" in checked
