"""Files that other programs wrote, read by other libraries: whatever goes wrong becomes one line.

Loaders of models, tokenizers, adapters and templates raise any exception on a damaged or unusual
file; ``foreign`` is the one boundary that turns them into InputError. Importable without torch.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ethosteer.errors import InputError

WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
CONFIGS = (
    "config.json", "generation_config.json", "tokenizer_config.json", "special_tokens_map.json",
    "added_tokens.json", WEIGHTS[1],
)  # fmt: skip
LONGEST_REASON = 300
"""Characters of a foreign message that an error repeats."""


@contextmanager
def foreign(subject: str, problem: str, error: type[InputError] = InputError) -> Iterator[None]:
    """Raise ``error``, "SUBJECT: PROBLEM: reason", for whatever a foreign library raises inside.

    Too little memory is not the file's fault and passes, as do InputErrors and interruptions.
    """
    try:
        yield
    except (InputError, MemoryError):
        raise
    except Exception as fault:
        if type(fault).__name__ == "OutOfMemoryError":  # torch's, which is not imported here
            raise
        raise error(f"{subject}: {problem}: {_reason(fault)}") from fault
    except BaseException as fault:
        # a panic in a library written in Rust (tokenizers) is no Exception
        if type(fault).__name__ != "PanicException":
            raise
        raise error(f"{subject}: {problem}: {_reason(fault)}") from fault


def _reason(fault: BaseException) -> str:
    """Return an exception's message, or its kind where that says more."""
    text = " ".join(str(fault).split())
    if not isinstance(fault, OSError | ValueError) or not text:
        text = f"{type(fault).__name__}: {text}" if text else type(fault).__name__
    return text if len(text) <= LONGEST_REASON else f"{text[:LONGEST_REASON]}…"


def check_configs(subject: str, name: str) -> None:
    """Raise InputError for a JSON file of a model folder that is damaged.

    transformers reads some of them as if they were not there, with other stop tokens as a result.
    """
    for path in (Path(name) / file for file in CONFIGS):
        if path.exists():
            with foreign(f"{subject}: {path}", "cannot be read as JSON"):
                table = json.loads(path.read_text("utf-8"))
            if not isinstance(table, dict):
                raise InputError(f"{subject}: {path}: must be a JSON object")
