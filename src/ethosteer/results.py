"""``results.json``: a study's results as strict JSON text, and back.

JSON has no nan and no infinity, so these are written as the words "NaN", "Infinity" and
"-Infinity", which come back as the floats that they were.
"""

from __future__ import annotations

import json
import math
from typing import Any

from pydantic import TypeAdapter, ValidationError

from ethosteer.errors import InputError
from ethosteer.records import StudyResults

_ADAPTER = TypeAdapter(StudyResults)


def results_to_json(results: StudyResults) -> str:
    """Return the results as JSON text, the same text for the same results."""
    return strict_json(_ADAPTER.dump_python(results))


def strict_json(value: object) -> str:
    """Return plain dictionaries, lists and values as JSON text of the same form."""
    plain = _words_for_non_finite(value)
    return json.dumps(plain, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def results_from_json(text: str) -> StudyResults:
    """Read what ``results_to_json`` wrote.

    Raises InputError that names the first key which is missing or wrong.
    """
    try:
        return _ADAPTER.validate_json(text)
    except ValidationError as fault:
        error = fault.errors(include_url=False)[0]
        key = ".".join(str(part) for part in error["loc"])
        raise InputError(f"results.json: {key + ': ' if key else ''}{error['msg']}") from fault


def _words_for_non_finite(value: Any) -> Any:  # noqa: ANN401 (any JSON value)
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, dict):
        return {key: _words_for_non_finite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_words_for_non_finite(part) for part in value]
    return value
