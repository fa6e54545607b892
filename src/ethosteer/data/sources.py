"""Published files: where they come from, and how their rows are read and checked.

A file is looked for in the layout of ``--data-dir``, in the bundled sample (the same layout), or on
the hub at a pinned revision. Readers raise InputError with the file and the line; curation, not the
reader, drops rows that are well-formed but of no use.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import math
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Literal

from ethosteer.errors import InputError

SAMPLE_DIR = Path(str(files("ethosteer"))) / "assets" / "sample"


@dataclass(frozen=True, slots=True)
class Source:
    """One published file.

    ``path`` is its place in a data folder; ``repository``, ``revision`` and ``hub_path`` its place
    on the hub ("" where the hub does not have it), ``home`` where people find it.
    """

    path: str
    home: str
    licence: str
    repository: str = ""
    revision: str = ""
    hub_path: str = ""


CONVERSATIONS = Source(
    path="conversations/guanaco_train.jsonl",
    home="https://huggingface.co/datasets/timdettmers/openassistant-guanaco",
    licence="Apache-2.0",
    repository="timdettmers/openassistant-guanaco",
    revision="main",  # no full commit hash is known to us
    hub_path="openassistant_best_replies_train.jsonl",
)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a study's files are read from: a folder, the bundled sample, or the hub."""

    kind: Literal["folder", "sample", "hub"]
    folder: Path | None = None

    def locate(self, source: Source) -> Path:
        """Return the local path of ``source``, downloading it from the hub if need be.

        Raises InputError where the file cannot be had, naming where it was looked for.
        """
        if self.kind == "hub":
            return _download(source)
        folder = SAMPLE_DIR if self.kind == "sample" else self.folder
        assert folder is not None
        path = folder / source.path
        if not path.is_file():
            raise InputError(
                f"{path}: no such file; --data-dir takes a folder with the published files, "
                f"this one from {source.home}"
            )
        return path

    def revision(self, source: Source) -> str:
        """Say which edition was read: the hub's revision, or the file's own hash."""
        if self.kind == "hub":
            return source.revision
        return f"sha256:{file_hash(self.locate(source))[:16]}"


def _download(source: Source) -> Path:
    """Fetch a hub file at its pinned revision into the hub's own cache."""
    if not source.repository:
        raise InputError(
            f"{source.path} is not on the hub: get it from {source.home} and pass its folder "
            "with --data-dir"
        )
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(
            hf_hub_download(
                source.repository, source.hub_path, revision=source.revision, repo_type="dataset"
            )
        )
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as fault:
        raise InputError(
            f"{source.repository}/{source.hub_path} at revision {source.revision} could not be "
            f"had from the hub ({type(fault).__name__}); without a network pass --data-dir"
        ) from fault


def file_hash(path: Path) -> str:
    """Return the sha256 of a file's bytes, in hexadecimal."""
    return sha256(path.read_bytes()).hexdigest()


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a published file, with typed access that names file and line when it fails."""

    path: Path
    line: int
    fields: dict[str, object]

    def fail(self, problem: str) -> InputError:
        """Return the error for this row (to be raised by the caller)."""
        return InputError.at(self.path, self.line, problem)

    def text(self, column: str) -> str:
        """Return a text field."""
        value = self.fields.get(column)
        if not isinstance(value, str):
            raise self.fail(f"column {column!r} must be text, found {_shown(value)}")
        return value

    def number(self, column: str) -> float:
        """Return a field as a float."""
        value = self.fields.get(column)
        if isinstance(value, str | int | float) and not isinstance(value, bool):
            try:
                number = float(value)
            except (ValueError, OverflowError):
                number = math.nan
            if math.isfinite(number):
                return number
        raise self.fail(f"column {column!r} must be a number, found {_shown(value)}")

    def integer(self, column: str) -> int:
        """Return a field as a whole number."""
        value = self.number(column)
        if value != int(value):
            raise self.fail(f"column {column!r} must be a whole number, found {value}")
        return int(value)

    def choice(self, column: str, allowed: Sequence[str]) -> str:
        """Return a field that must be one of ``allowed``."""
        value = self.fields.get(column)
        text = "" if value is None else str(value).strip()
        if text not in allowed:
            raise self.fail(
                f"column {column!r} must be one of {', '.join(allowed)}; found {_shown(value)}"
            )
        return text


def _shown(value: object) -> str:
    shown = "nothing" if value is None else repr(value)
    return shown if len(shown) <= 60 else shown[:57] + "..."


def read_text(path: Path, encoding: str = "utf-8") -> str:
    """Read a text file, gzipped or plain; an undecodable byte is an InputError with its line."""
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as fault:
        raise InputError.at(path, None, f"cannot be read: {fault}") from fault
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as fault:
        line = data.count(b"\n", 0, fault.start) + 1
        raise InputError.at(
            path, line, f"byte 0x{data[fault.start]:02x} is not {encoding}; save the file as UTF-8"
        ) from fault


def read_csv(
    path: Path,
    columns: Sequence[str],
    *,
    header: bool = True,
    delimiter: str = ",",
) -> Iterator[Row]:
    """Read a CSV file's rows. ``line`` is the line a row starts on.

    With ``header`` every name in ``columns`` must be in the first line (others may be there too);
    without, each row must have exactly these columns, in this order.
    """
    reader = csv.reader(io.StringIO(read_text(path), newline=""), delimiter=delimiter, strict=True)
    names = list(columns)
    line = 1
    try:
        if header:
            names = [name.removeprefix("\ufeff") for name in next(reader, [])]
            missing = [name for name in columns if name not in names]
            if missing:
                raise InputError.at(
                    path,
                    1,
                    f"column {missing[0]!r} is missing; the header has {', '.join(names) or '-'}",
                )
            line = reader.line_num + 1
        empty = True
        for values in reader:
            if values:
                if len(values) != len(names):
                    raise InputError.at(
                        path, line, f"{len(values)} fields where {len(names)} are expected"
                    )
                empty = False
                yield Row(path, line, dict(zip(names, values, strict=True)))
            line = reader.line_num + 1
    except csv.Error as fault:
        raise InputError.at(path, line, f"not a well-formed CSV row: {fault}") from fault
    if empty:
        raise InputError.at(path, 1, "the file has no rows")


def read_jsonl(path: Path, columns: Sequence[str]) -> Iterator[Row]:
    """Read a JSON-lines file, gzipped or plain; every row must be an object with ``columns``."""
    empty = True
    for line, text in enumerate(read_text(path).split("\n"), start=1):
        if not text.strip():
            continue
        try:
            fields = json.loads(text)
        except json.JSONDecodeError as fault:
            raise InputError.at(path, line, f"not valid JSON: {fault.msg}") from fault
        if not isinstance(fields, dict):
            raise InputError.at(path, line, f"must be a JSON object, found {_shown(fields)}")
        missing = [name for name in columns if name not in fields]
        if missing:
            raise InputError.at(path, line, f"field {missing[0]!r} is missing")
        empty = False
        yield Row(path, line, fields)
    if empty:
        raise InputError.at(path, 1, "the file has no rows")
