"""Small files: written whole or not at all, and identified by their content."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path


def fingerprint(*parts: object) -> str:
    """Return a sha256 over JSON-able parts: the identity of a piece of work."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False, default=str)
    return sha256(text.encode("utf-8")).hexdigest()


def write_atomic(path: Path, text: str) -> None:
    """Write a UTF-8 text file under a temporary name and rename it into place.

    Lines end with a line feed on every platform, so the same text gives the same bytes.
    """
    part = path.with_name(f".{path.name}.part")
    part.write_text(text, encoding="utf-8", newline="\n")
    part.replace(path)


def write_json(path: Path, value: object) -> None:
    """Write JSON, atomically, sorted and indented."""
    write_atomic(path, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n")
