"""The model card's template: text and names from outside are no markup."""

from __future__ import annotations

import json

from ethosteer.study.export import card_environment


def test_texts_are_escaped() -> None:
    page = card_environment().from_string("{{ x | text }}|{{ x | code }}|{{ x | quoted }}")
    text = "a`b<img>[l](http://x)\n---\n# h"
    shown, code, quoted = page.render(x=text).rsplit("|", 2)
    assert "<img>" not in shown
    assert "\n" not in shown + code
    assert code == "`a'b<img>[l](http://x) --- # h`"
    assert json.loads(quoted) == text


def test_no_control_character_and_no_template_of_a_text_acts() -> None:
    page = card_environment().from_string("{{ x | text }}|{{ x | code }}|{{ x | quoted }}")
    rendered = page.render(x="a\x1b[2J\x9b31m {{ 7 * 7 }}\x07")
    assert not any(character in rendered for character in "\x1b\x9b\x07")
    assert rendered.count("{{ 7") == 3
