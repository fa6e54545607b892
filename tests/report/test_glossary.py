"""Terms: which are explained, where, and that text stays text."""

import re

import pytest

from ethosteer.report.glossary import TERMS, explained, glossary

NAMES = {term.name: term for term in TERMS}


def _marked(text: str) -> list[str]:
    return re.findall(r"<abbr [^>]*>([^<]*)</abbr>", explained(text))


def test_the_words_that_a_newcomer_does_not_know_are_there() -> None:
    assert set(NAMES) >= {
        "arm", "control", "seed", "reward model", "KL", "nats", "better", "worse", "different",
        "equivalent", "undecided", "constant answer", "discordant items", "adjusted p", "cluster",
        "minimum detectable difference", "value profile", "held-out",
    }  # fmt: skip
    names = [name for name, _ in glossary().definitions]
    assert names == sorted(names, key=str.lower)
    for term in TERMS:
        assert term.definition.endswith(".") and ". " not in term.definition, "one sentence"


@pytest.mark.parametrize(
    ("text", "marked"),
    [
        ("arms against the control, arm by arm", ["arms", "control"]),
        ("Reward against KL", ["KL"]),
        ("Holm-adjusted p = 0.01", []),
        ("adjusted p-value", ["adjusted p-value"]),
        ("harmless alarms", []),
        ("items / clusters / seeds", ["clusters", "seeds"]),
        ("better", ["better"]),
        ("none was better or worse", []),
        ("Constant answers", ["Constant answers"]),
    ],
)
def test_a_term_is_marked_once_and_as_a_whole_word(text: str, marked: list[str]) -> None:
    assert _marked(text) == marked
    assert re.sub(r"<[^>]*>", "", explained(text)) == text


def test_what_is_around_a_term_is_escaped() -> None:
    shown = explained('<b title="arm">arm & seed</b>')
    assert "<b" not in shown
    assert "&lt;b title=&#34;" in shown and " &amp; " in shown
    assert _marked('<b title="arm">arm & seed</b>') == ["arm", "seed"]
