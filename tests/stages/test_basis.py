"""What results rest on: hashes that change with it, and the gate that reads them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ethosteer.config import BaseSettings
from ethosteer.models.base import load_tokenizer
from ethosteer.models.text import Template, tokenizer_fingerprint
from ethosteer.records import Basis, BenchmarkResult, Item
from ethosteer.stages.basis import (
    basis_of,
    example_of,
    read_basis,
    read_items,
    what_differs,
    write_basis,
    write_items,
)

ITEMS = [
    Item("a", ("Is it?", "Is it?"), (" no", " yes"), 1, "g", ("x", "y")),
    Item("b", ("The cat was", "The dog was"), (" fed.", " fed."), 0, "g"),
    Item("c", ("Say: ",), (), None, "h", trim=(0, 3)),
]


def of(items: list[Item]) -> Basis:
    return basis_of(items, "template", "tokenizer", "")


@pytest.mark.parametrize(
    ("changed", "hashes"),
    [
        (ITEMS[:2], {"items", "prompts"}),
        ([ITEMS[1], ITEMS[0], ITEMS[2]], {"items", "prompts"}),
        ([replace(ITEMS[0], id="z"), *ITEMS[1:]], {"items"}),
        ([replace(ITEMS[0], contexts=("Is it ?",) * 2), *ITEMS[1:]], {"prompts"}),
        ([replace(ITEMS[0], continuations=("no", " yes")), *ITEMS[1:]], {"prompts"}),
        ([replace(ITEMS[0], group="other"), *ITEMS[1:]], set()),
    ],
)
def test_hashes_change_with_what_they_are_of(changed: list[Item], hashes: set[str]) -> None:
    before, after = of(ITEMS), of(changed)
    assert {n for n in ("items", "prompts") if getattr(before, n) != getattr(after, n)} == hashes


def test_items_and_basis_come_back_from_disk(tmp_path: Path) -> None:
    write_items(tmp_path / "items.parquet", {"one": ITEMS[:2], "two": ITEMS[2:]})
    found = read_items(tmp_path / "items.parquet")
    assert found == {"one": ITEMS[:2], "two": [replace(ITEMS[2], trim=None)]}
    write_basis(tmp_path, of(ITEMS))
    assert read_basis(tmp_path) == of(ITEMS)


def test_a_template_and_a_tokenizer_are_what_they_make_of_text(tiny_base: Path) -> None:
    tokenizer = load_tokenizer(BaseSettings())
    names = ("guanaco", "hh")
    prints = {Template(name, tokenizer).fingerprint() for name in names}  # type: ignore[arg-type]
    assert len(prints) == 2
    assert tokenizer_fingerprint(tokenizer) == tokenizer_fingerprint(
        load_tokenizer(BaseSettings(model=str(tiny_base)))
    ), "a copy of it is the same tokenizer"
    other = load_tokenizer(BaseSettings())
    other.add_tokens(["unheard-of"])
    assert tokenizer_fingerprint(other) != tokenizer_fingerprint(tokenizer)


def result(basis: Basis | None, items: int = 3) -> BenchmarkResult:
    return BenchmarkResult("b", "B", "acc", "higher", items, 0, "", "", {}, (), basis=basis)


def test_the_gate_names_all_that_differs() -> None:
    own = of(ITEMS)
    assert what_differs(result(own), result(of(list(ITEMS)))) == ()
    other = replace(own, tokenizer="x", judge="a classifier")
    assert what_differs(result(own), result(other)) == ("the tokenizer", "the classifier of texts")
    fewer = what_differs(result(own), result(of(ITEMS[:2]), 2))
    assert fewer == ("the number of items (3 and 2)", "the items", "the prompts")
    (unknown,) = what_differs(result(own), result(None))
    assert "not known" in unknown


def test_an_example_is_what_a_model_reads() -> None:
    assert example_of(ITEMS[0]) == "Is it? → « no» | « yes»"
    assert example_of(ITEMS[1]) == "The cat was« fed.»\nThe dog was« fed.»"
    assert example_of(ITEMS[2]) == "Say: "
