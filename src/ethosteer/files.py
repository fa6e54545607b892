"""Small files: written whole or not at all, read back by type, identified by their content."""

from __future__ import annotations

import json
import os
from hashlib import file_digest, sha256
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_json as pydantic_json

from ethosteer.errors import InputError

T = TypeVar("T")
LONGEST_PATH, LONGEST_NAME = 4096, 255
"""Bytes of a path and of one name in it, as most systems limit them."""


def fingerprint(*values: object) -> str:
    """Return a sha256 over JSON-able values: the identity of a piece of work."""
    text = json.dumps(values, sort_keys=True, ensure_ascii=False, default=str)
    return sha256(text.encode("utf-8")).hexdigest()


def file_hash(path: Path) -> str:
    """Return the sha256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def path_problem(path: str | Path) -> str | None:
    """Say why no file system has a file called ``path``; None where one may have it."""
    text = str(path)
    if not text:
        return "is an empty path"
    if "\0" in text:
        return "has a NUL character"
    names = Path(text).parts
    if len(os.fsencode(text)) > LONGEST_PATH or any(
        len(os.fsencode(n)) > LONGEST_NAME for n in names
    ):
        return f"is too long for a path: {len(text)} characters"
    return None


def usable_path(text: str | Path) -> Path:
    """Return a path of the user's; InputError where no file system can have it.

    To be called before the system is asked, which raises various errors for such a path.
    """
    if (problem := path_problem(text)) is not None:
        shown = str(text) if len(str(text)) <= 60 else str(text)[:57] + "..."
        raise InputError(f"{shown!r} {problem}")
    return Path(text)


def temporary_name(path: Path) -> Path:
    """Return the name, in the same folder, under which ``path`` is written until it is whole."""
    return path.with_name(f".{path.name}.part")


def write_atomic(path: Path, text: str) -> None:
    """Write a text file (UTF-8, line ends as in ``text``) that appears only when it is whole."""
    temporary = temporary_name(path)
    # A system's own line ends would give the same results other bytes, and other hashes.
    temporary.write_text(text, encoding="utf-8", newline="")
    # Replaces an older file at once on every system; rename would fail there on Windows.
    temporary.replace(path)


def to_json(value: object, *, sort_keys: bool = False) -> str:
    """Return records, or lists and dictionaries of them, as strict JSON that ``from_json`` reads.

    JSON has no nan and no infinity, so these become the words "NaN", "Infinity" and "-Infinity".
    The same value gives the same text.
    """
    plain = json.loads(pydantic_json(value, inf_nan_mode="strings"))
    return json.dumps(plain, indent=2, sort_keys=sort_keys, ensure_ascii=False) + "\n"


def from_json(text: str, kind: type[T], name: str) -> T:
    """Read what ``to_json`` wrote as a value of type ``kind``, such as a record's class.

    Raises InputError with ``name``, the file's, and the first key that is missing or wrong.
    """
    try:
        return TypeAdapter(kind).validate_json(text)
    except ValidationError as fault:
        error = fault.errors(include_url=False)[0]
        key = ".".join(str(step) for step in error["loc"])
        raise InputError(f"{name}: {key + ': ' if key else ''}{error['msg']}") from fault


def write_json(path: Path, value: object) -> None:
    """Write records or plain values as JSON, atomically, with sorted keys."""
    write_atomic(path, to_json(value, sort_keys=True))


def read_json(path: Path, kind: type[T]) -> T:
    """Read a JSON file as a value of type ``kind``.

    Raises InputError with the file and the first key that is missing or wrong.
    """
    return from_json(path.read_text("utf-8"), kind, str(path))
