"""Small files: written whole or not at all, read back by type, identified by their content."""

from __future__ import annotations

import errno
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import file_digest, sha256
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_json as pydantic_json

from ethosteer.errors import InputError

T = TypeVar("T")
LONGEST_PATH, LONGEST_NAME = 4096, 255
"""Bytes of a path and of one name in it, as most systems limit them."""

DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS})
"""Errors of the operating system that only writing can meet."""
UNWRITABLE = DISK_FULL | {
    errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG,
    errno.EIO, errno.ENOENT, errno.ELOOP,
}  # fmt: skip
_REPORTED = re.compile(r"(?:os error |Errno )(\d+)")
"""How libraries, such as safetensors, report an error of the operating system in words."""


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


def remove(path: Path) -> None:
    """Remove a file, a folder with all that is in it, or a link but not what it points to."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Have the disk hold a file, or a folder with all that is in it, as it is now."""
    if path.is_dir():
        if os.name == "nt":  # Windows opens no folders
            return
        for entry in path.iterdir():
            sync(entry)
    descriptor = os.open(path, os.O_RDONLY if os.name != "nt" else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def publish(temporary: Path, final: Path) -> None:
    """Give a finished file or folder its name; on the disk, before and after.

    A folder of that name must not be there; an older file is replaced.
    """
    sync(temporary)
    # Replaces an older file at once on every system; rename would fail there on Windows.
    temporary.replace(final)
    if os.name != "nt":
        descriptor = os.open(final.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def publish_folder(temporary: Path, final: Path) -> None:
    """Give a finished folder its name; whatever has that name is replaced.

    Raises FileNotFoundError, and changes nothing, where ``temporary`` is gone by the time that it
    is renamed.
    """
    try:
        publish(temporary, final)
    except OSError:
        if not os.path.lexists(final) or not temporary.is_dir():
            raise
    else:
        return
    # no system renames a folder over another that has files
    older = final.with_name(f".{secrets.token_hex(4)}.part")
    final.rename(older)
    try:
        publish(temporary, final)
    except BaseException:
        older.rename(final)
        raise
    remove(older)


@contextmanager
def writing(target: Path | str, errors: frozenset[int] = UNWRITABLE) -> Iterator[None]:
    """Turn a failure to write in a block into InputError, with ``target`` and the reason.

    ``errors`` are the system's error numbers that count as such: ``DISK_FULL`` for a block that
    does more than write.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as fault:
        number = fault.errno if isinstance(fault, OSError) else None
        if number is None and (reported := _REPORTED.search(str(fault))):
            number = int(reported[1])
        if number not in errors:
            raise
        mend = "; free space there and run it again" if number in DISK_FULL - {errno.EROFS} else ""
        raise InputError(f"{target}: cannot be written: {os.strerror(number)}{mend}") from fault


def make_folder(folder: Path) -> None:
    """Make a folder for the user's files, unless it is there; InputError where it cannot be."""
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yield the name of a new file to be written, which replaces ``path`` at the end of the block.

    Raises InputError where it cannot be written; then nothing is left of it.
    """
    temporary = temporary_name(path)
    with writing(path):
        remove(temporary)  # what a killed process left, or a link that must not be followed
        try:
            yield temporary
            publish(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def write_atomic(path: Path, text: str) -> None:
    """Write a text file (UTF-8, line ends as in ``text``) that appears only when it is whole."""
    with written_whole(path) as temporary:
        # A system's own line ends would give the same results other bytes, and other hashes.
        temporary.write_text(text, encoding="utf-8", newline="")


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

    Raises InputError with the file, and the first key that is missing or wrong.
    """
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as fault:
        reason = fault.strerror if isinstance(fault, OSError) else fault
        raise InputError(f"{path}: cannot be read: {reason}") from fault
    return from_json(text, kind, str(path))
