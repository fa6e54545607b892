"""Text files as they are found: gzipped or plain, with a byte order mark or without, and TOML."""

from __future__ import annotations

import gzip
import json
import tomllib
import zlib
from pathlib import Path
from typing import Any

from ethosteer.errors import InputError

LARGEST_FILE = 1024**3
"""Bytes of a file after decompression, so that a small file cannot fill the memory."""
LARGEST_TOML = 1024**2
BYTE_ORDER_MARK = "\ufeff"
DEEPEST = 64
"""The maximum of levels of lists and tables in each other."""
_CHUNK = 1 << 20


def read_text(path: Path, encoding: str = "utf-8") -> str:
    """Read a text file, gzipped or plain, without its byte order mark.

    Raises InputError, with the line, for a byte that cannot be decoded and for a NUL character, and
    for a file that cannot be read or has more than ``LARGEST_FILE`` bytes.
    """
    data = _content(path)
    try:
        text = data.decode(encoding).lstrip(BYTE_ORDER_MARK)
    except UnicodeDecodeError as fault:
        line = data.count(b"\n", 0, fault.start) + 1
        raise InputError.at(
            path, line, f"byte 0x{data[fault.start]:02x} is not {encoding}; save the file as UTF-8"
        ) from fault
    if (nul := text.find("\0")) >= 0:
        raise InputError.at(
            path,
            text.count("\n", 0, nul) + 1,
            "has a NUL character, as damaged files and other encodings do; save the file as UTF-8",
        )
    return text


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file; InputError where it cannot be read, is none, or is nested too deep."""
    try:
        size = path.stat().st_size
    except OSError as fault:
        raise InputError.at(path, None, f"cannot be read: {fault.strerror}") from fault
    if size > LARGEST_TOML:
        raise InputError.at(
            path, None, f"has {size:,} bytes; a TOML file has at most {LARGEST_TOML:,}"
        )
    text = read_text(path)
    try:
        return parse_toml(text)
    except ValueError as fault:
        raise InputError.at(path, None, f"not valid TOML: {fault}") from fault


def parse_toml(text: str) -> dict[str, Any]:
    """Return the table of a TOML text.

    Raises ValueError, in words, where it is none, where it is nested too deep, and for a whole
    number beyond 64 bits, which TOML does not have.
    """
    try:
        table = tomllib.loads(text)
    except (ValueError, RecursionError) as fault:
        raise ValueError(parse_fault(fault)) from fault
    if is_too_deep(table):
        raise ValueError("it is nested too deep")
    pending: list[object] = [table]
    while pending:
        entry = pending.pop()
        if isinstance(entry, dict | list):
            pending += entry.values() if isinstance(entry, dict) else entry
        elif isinstance(entry, int) and not -(2**63) <= entry < 2**63:
            raise ValueError("a whole number has more than 64 bits")
    return table


def is_too_deep(value: object) -> bool:
    """Return whether lists and tables are more than ``DEEPEST`` levels deep in ``value``.

    What is deeper cannot be printed or compared, which Python does by recursion.
    """
    level = [value]
    for _ in range(DEEPEST + 1):
        level = [
            entry
            for container in level
            if isinstance(container, dict | list | tuple)
            for entry in (container.values() if isinstance(container, dict) else container)
        ]
        if not level:
            return False
    return True


def parse_fault(fault: Exception) -> str:
    """Say what is wrong with a JSON or TOML text."""
    if isinstance(fault, RecursionError):
        return "it is nested too deep"
    if "int_max_str_digits" in str(fault):
        return "a number has thousands of digits"
    return fault.msg if isinstance(fault, json.JSONDecodeError) else str(fault)


def _content(path: Path) -> bytearray:
    """Return a file's bytes, decompressed; InputError where there are too many."""
    is_gzip = path.suffix == ".gz"
    content = bytearray()
    try:
        with gzip.open(path) if is_gzip else path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                content += chunk
                if len(content) > LARGEST_FILE:
                    raise InputError.at(
                        path,
                        None,
                        f"has more than {LARGEST_FILE:,} bytes"
                        f"{' when it is decompressed' if is_gzip else ''}, the maximum of a file; "
                        "split it into several files",
                    )
    except (OSError, EOFError, zlib.error) as fault:
        raise InputError.at(path, None, f"cannot be read: {fault}") from fault
    return content
