"""Reading the hand-written records, and writing rows in the published formats."""

from __future__ import annotations

import csv
import io
import json
import struct
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

PARTS = Path(__file__).parent / "parts"
MARKERS = "=+-?"
STORED_BLOCK = 65_535


@dataclass(frozen=True, slots=True)
class Record:
    """One hand-written record: a head line, and the marked lines that follow it."""

    head: str
    lines: tuple[tuple[str, str], ...]

    def marked(self, marker: str) -> list[str]:
        """Return the lines that carry ``marker``, in their order."""
        return [text for line_marker, text in self.lines if line_marker == marker]


def read_records(name: str) -> list[Record]:
    """Read ``parts/NAME.txt``: a line without a marker starts a record."""
    records: list[tuple[str, list[tuple[str, str]]]] = []
    for line in (PARTS / f"{name}.txt").read_text(encoding="utf-8").splitlines():
        if line[0] in MARKERS and line[1] == " ":
            records[-1][1].append((line[0], line[2:]))
        else:
            records.append((line, []))
    return [Record(head, tuple(lines)) for head, lines in records]


def read_pools(name: str) -> dict[str, list[str]]:
    """Read a file of named pools: each head names the ``=`` lines below it."""
    return {record.head: record.marked("=") for record in read_records(name)}


def capital(text: str) -> str:
    """Return ``text`` with its first letter in upper case."""
    return text[:1].upper() + text[1:]


def csv_bytes(
    header: Sequence[str] | None, rows: Iterable[Sequence[object]], delimiter: str = ","
) -> bytes:
    """Return a delimited file with Unix line ends; no first line where ``header`` is None."""
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, lineterminator="\n")
    if header is not None:
        writer.writerow(header)
    writer.writerows(rows)
    return out.getvalue().encode()


def jsonl_bytes(rows: Iterable[dict[str, object]]) -> bytes:
    """Return a JSON-lines file."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def gzip_bytes(data: bytes) -> bytes:
    """Return a gzip file of stored blocks (RFC 1951, 3.2.4), without a name or a time.

    It is written by hand, since the output of deflate may differ between builds of zlib.
    """
    out = bytearray(b"\x1f\x8b\x08\x00" + bytes(4) + b"\x00\xff")
    starts = range(0, len(data), STORED_BLOCK)
    for start in starts:
        block = data[start : start + STORED_BLOCK]
        size = len(block)
        out += struct.pack("<BHH", start == starts[-1], size, size ^ 0xFFFF) + block
    return bytes(out) + struct.pack("<II", zlib.crc32(data), len(data) & 0xFFFFFFFF)
