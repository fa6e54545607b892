from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ethosteer.records import Turn, format_dialogue, parse_dialogue, unusable


def test_turns_of_a_bare_text_is_one_human_turn():
    assert parse_dialogue("May I?\n\nI would like to.") == [("human", "May I?\n\nI would like to.")]


def test_turns_of_a_dialogue():
    text = "\n\nHuman: Hi!\n\nAssistant: Hello.\n\nHow are you?\n\nHuman: Fine: Human: was I?"
    assert parse_dialogue(text) == [
        ("human", "Hi!"),
        ("assistant", "Hello.\n\nHow are you?"),
        ("human", "Fine: Human: was I?"),
    ]


def test_one_human_turn_is_written_bare():
    assert format_dialogue([("human", "Hi!")]) == "Hi!"
    assert format_dialogue([("human", "Hi!"), ("assistant", "Hello."), ("human", "Bye.")]) == (
        "\n\nHuman: Hi!\n\nAssistant: Hello.\n\nHuman: Bye."
    )


@given(
    st.lists(
        st.tuples(st.sampled_from(["human", "assistant"]), st.text(max_size=20).map(str.strip)),
        min_size=1,
        max_size=5,
    )
)
def test_a_prompt_reads_back_as_its_turns(dialogue):
    assert parse_dialogue(format_dialogue(dialogue)) == dialogue


@given(st.text(max_size=20).map(str.strip), st.text(max_size=20).map(str.strip))
def test_what_the_system_says_before_a_question_reads_back(system, question):
    dialogue: list[Turn] = [("system", system), ("human", question), ("assistant", "Yes.")]
    assert parse_dialogue(format_dialogue(dialogue)) == dialogue
    assert parse_dialogue("\n\nSystem: up\n\nAssistant: Hi")[0][0] == "human", "no question follows"


def test_why_a_dialogue_is_unusable():
    assert unusable([("system", "Be brief."), ("human", "Hi"), ("assistant", "Yes.")]) is None
    assert unusable([("human", "Hi"), ("assistant", " ")]) == "empty turn"
    assert unusable([("system", "Be brief."), ("assistant", "Hi")]) == "assistant first"
    assert unusable([]) == unusable([("system", "Be brief.")]) == "no question"
