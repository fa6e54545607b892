"""Small files: written whole or not at all, and identified by their content."""

from __future__ import annotations

import json
from hashlib import file_digest, sha256
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter

Record = TypeVar("Record")


def fingerprint(*parts: object) -> str:
    """Return a sha256 over JSON-able parts: the identity of a piece of work."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False, default=str)
    return sha256(text.encode("utf-8")).hexdigest()


def file_hash(path: Path) -> str:
    """Return the sha256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def write_atomic(path: Path, text: str) -> None:
    """Write a text file under a temporary name and rename it into place."""
    part = path.with_name(f".{path.name}.part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


def write_json(path: Path, value: object) -> None:
    """Write JSON, atomically, sorted and indented."""
    write_atomic(path, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


def write_record(path: Path, record: object) -> None:
    """Write a frozen record as JSON, atomically."""
    write_json(path, TypeAdapter(type(record)).dump_python(record))


def read_record(path: Path, kind: type[Record]) -> Record:
    """Read a record of type ``kind`` back."""
    return TypeAdapter(kind).validate_json(path.read_bytes())
