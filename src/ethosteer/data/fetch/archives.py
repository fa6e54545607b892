"""One file out of a tar archive."""

from __future__ import annotations

import tarfile
import zlib
from pathlib import Path, PurePosixPath

from ethosteer.data.text_files import LARGEST_FILE
from ethosteer.errors import InputError


def extract(archive: Path, member: str, target: Path) -> None:
    """Write the file called ``member`` to ``target``, whatever its path in the archive means.

    Nothing else is extracted, and no name in the archive becomes a path. Raises InputError where
    the archive cannot be read, or has no regular file of that name of at most
    ``LARGEST_FILE`` bytes.
    """
    try:
        with tarfile.open(archive, "r:*") as tar:
            for entry in tar:
                if PurePosixPath(entry.name) != PurePosixPath(member):
                    continue
                content = tar.extractfile(entry) if entry.isreg() else None
                if content is None or entry.size > LARGEST_FILE:
                    raise InputError(f"{archive}: {member} is no regular file of acceptable size")
                with target.open("wb") as file:
                    while chunk := content.read(1 << 20):
                        file.write(chunk)
                return
    except (tarfile.TarError, EOFError, zlib.error, OSError) as fault:
        raise InputError(f"{archive}: cannot be extracted: {fault}") from fault
    raise InputError(f"{archive}: has no file {member}")
