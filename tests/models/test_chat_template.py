from __future__ import annotations

import pytest

from ethosteer.errors import InputError, RefusedDialogueError
from ethosteer.models.chat_template import ChatTemplate, joined
from ethosteer.models.special_tokens import SpecialTokens
from ethosteer.models.text import Template
from ethosteer.records import Turn
from tests.chat import KINDS, tokenizer

ONE: list[Turn] = [("human", "Is it far?")]


@pytest.fixture(params=list(KINDS))
def kind(request):
    return request.param


@pytest.fixture
def template(kind):
    return Template("chat", tokenizer(kind))


def test_the_end_of_turn_is_read_off_an_answer_that_the_template_wrote(kind):
    made = tokenizer(kind)
    ends = ChatTemplate(SpecialTokens(made)).turn_ends
    end = KINDS[kind].end
    assert ends.token == (None if end is None else made.convert_tokens_to_ids(end))
    assert ends.after.startswith(end or "")


def test_the_date_is_the_studys(kind):
    texts = {
        date: Template("chat", tokenizer(kind), date).prompt_text(ONE)
        for date in ("2024-07-26", "2031-01-02")
    }
    assert (len(set(texts.values())) > 1) == (kind == "llama3")
    assert ("02 Jan 2031" in texts["2031-01-02"]) == (kind == "llama3")
    made = tokenizer("llama3")
    made.chat_template = "{{ strftime_now('%d.%m.%Y') }}{{ messages[-1]['content'] }}"
    assert Template("chat", made, "2031-01-02").prompt_text(ONE) == "02.01.2031Is it far?"


@pytest.mark.parametrize("form", ["form", "'%d' + '.%m'"])
def test_a_date_in_a_computed_form_is_refused(form):
    made = tokenizer("llama3")
    made.chat_template = (
        f"{{% set form = '%d.%m' %}}{{{{ strftime_now({form}) }}}}{{{{ messages[-1]['content'] }}}}"
    )
    with pytest.raises(InputError, match="today's date in a computed form"):
        ChatTemplate(SpecialTokens(made)).prompt(ONE)


def test_turns_of_one_speaker_are_joined_and_what_a_template_refuses_is_said(kind, template):
    twice: list[Turn] = [("human", "Hm."), ("human", "Is it far?")]
    assert joined(twice) == [("human", "Hm.\n\nIs it far?")]
    assert template.prompt_ids(twice) == template.prompt_ids(joined(twice))
    system: list[Turn] = [("system", "Be brief."), *ONE]
    if KINDS[kind].system:
        assert "Be brief." in template.prompt_text(system)
    else:
        with pytest.raises(RefusedDialogueError):
            template.prompt_ids(system)
    with pytest.raises(RefusedDialogueError):
        template.prompt_ids([*ONE, ("assistant", "No.")])


def test_a_template_without_generation_prompt_still_says_who_answers():
    made = tokenizer("mistral")
    made.chat_template = (
        "{{ bos_token }}{% for m in messages %}[{{ m['role'] }}] {{ m['content'] }} "
        "{% if m['role'] == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}"
    )
    template = ChatTemplate(SpecialTokens(made))
    assert template.prompt(ONE) == "<s>[user] Is it far? [assistant]"
    assert template.answer(ONE, "No.") == " No."
    assert template.turn_ends.token == made.eos_token_id
    assert Template("chat", made).row(ONE, "No.").ids[-1] == made.eos_token_id


def test_messages_are_closed_by_a_generation_prompt_or_left_open():
    template = ChatTemplate(SpecialTokens(tokenizer("chatml")))
    asked = {"role": "user", "content": "Is it far?"}
    closed = "<|im_start|>user\nIs it far?<|im_end|>\n<|im_start|>assistant\n"
    assert template.messages_text([asked]) == closed
    open_answer = [asked, {"role": "assistant", "content": "It is"}]
    assert template.messages_text(open_answer, add_generation_prompt=False) == f"{closed}It is"
