"""What a base is identified by."""

from __future__ import annotations

import os
from hashlib import sha256
from pathlib import Path

EDGE_BYTES = 1 << 20


def folder_fingerprint(folder: Path) -> str:
    """Identify a model folder by its small files' bytes and its large files' size and edges."""
    digest = sha256()
    for path in sorted(folder.iterdir()):
        if path.suffix not in {".json", ".safetensors", ".model", ".jinja", ".txt"}:
            continue
        size = path.stat().st_size
        digest.update(f"{path.name}:{size}:".encode())
        with path.open("rb") as file:
            if size <= 64 * EDGE_BYTES:
                digest.update(file.read())
            else:
                digest.update(file.read(EDGE_BYTES))
                file.seek(-EDGE_BYTES, os.SEEK_END)
                digest.update(file.read())
    return digest.hexdigest()
