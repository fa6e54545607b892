"""Characters that change the writing direction, shown as escapes instead.

An override (U+202E) in a name or an answer would change the order of the report's words beside it,
and what is shown would not be what a model read.
"""

from __future__ import annotations

import re

from ethosteer.errors import DIRECTIONS, spelt

_DIRECTION = re.compile(f"[{DIRECTIONS}]")


def spell_directions(text: str, *, in_json: bool = False) -> str:
    r"""Return text with such characters spelt, as ``\u202e``.

    ``in_json`` doubles the backslash, since JSON would read the escape as the character again.
    """
    return _DIRECTION.sub(lambda match: "\\" * in_json + spelt(match), text)
