"""One file of a dataset of the hub, by huggingface_hub: its cache, its resumption, its login."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha1
from pathlib import Path
from typing import Any

from ethosteer.data.fetch.http import OutOfReachError, Received, server_of
from ethosteer.data.fetch.remote import Remote, hub_page
from ethosteer.errors import InputError
from ethosteer.files import DISK_FULL, file_hash, writing


def download(remote: Remote, received: Received) -> Path:
    """Return the file in the hub's own cache, downloaded if need be.

    Raises InputError, in one line with the file and the mend: gated, absent, or out of reach.
    """
    from huggingface_hub import hf_hub_download

    with _explained(_name(remote), hub_page(remote.repository)):
        path = Path(
            hf_hub_download(
                remote.repository,
                remote.hub_path,
                revision=remote.revision or None,
                repo_type="dataset",
                tqdm_class=_reporting(received),
            )
        )
    _verify(remote, path)
    return path


def size_of(remote: Remote) -> int | None:
    """Return the file's bytes as the hub states them.

    Raises InputError where the file cannot be downloaded either.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    url = hf_hub_url(
        remote.repository,
        remote.hub_path,
        revision=remote.revision or None,
        repo_type="dataset",
    )
    with _explained(_name(remote), hub_page(remote.repository)):
        return get_hf_file_metadata(url).size


def download_model(name: str) -> Path:
    """Return a model's folder in the hub's cache, downloaded if need be: safetensors, no pickle.

    ``name`` is a hub id, or ``ID@REVISION``. Raises InputError where it cannot be had.
    """
    from huggingface_hub import snapshot_download

    repository, _, revision = name.partition("@")
    with _explained(name, f"https://huggingface.co/{repository}"):
        return Path(
            snapshot_download(
                repository,
                revision=revision or None,
                allow_patterns=["*.json", "*.txt", "*.model", "*.safetensors"],
            )
        )


def commit_of(path: Path) -> str:
    """Return the commit of a file in the hub's cache; "" for a file that is elsewhere."""
    match = re.search(r"/snapshots/([0-9a-f]{40})/", path.as_posix())
    return match[1] if match else ""


def is_offline() -> bool:
    """Whether HF_HUB_OFFLINE forbids the network."""
    from huggingface_hub import constants

    return constants.is_offline_mode()


def server() -> str:
    """Return the hub's host."""
    from huggingface_hub import constants

    return server_of(constants.ENDPOINT)


@contextmanager
def _explained(name: str, page: str) -> Iterator[None]:
    """Turn what huggingface_hub raises for ``name`` into InputError, and keep its log silent.

    ``page`` is where its terms are accepted.
    """
    from huggingface_hub import constants
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with writing(Path(constants.HF_HUB_CACHE), DISK_FULL):
            yield
    except (HfHubHTTPError, HFValidationError) as fault:
        raise InputError(f"{name} {_answer(page, fault)}") from fault
    except OSError as fault:
        raise _unreached(name, fault) from fault
    except Exception as fault:
        # httpx's own errors, whose module's name changes with the version of huggingface_hub
        if not type(fault).__module__.startswith("httpx"):
            raise
        raise _unreached(name, fault) from fault
    finally:
        logger.setLevel(level)


def _name(remote: Remote) -> str:
    return f"{remote.repository}/{remote.hub_path} at revision {remote.revision or 'main'}"


def _answer(page: str, fault: Exception) -> str:
    """Say what the hub's refusal means, and what to do about it."""
    from huggingface_hub import errors

    match fault:
        case errors.GatedRepoError():
            return f"is gated: accept its terms at {page}, then log in with `hf auth login`"
        case errors.RevisionNotFoundError():
            return "is not on the hub: the repository has no such revision"
        case errors.RepositoryNotFoundError():
            return f"is not there without a login: see {page}, and log in with `hf auth login`"
        case errors.RemoteEntryNotFoundError():
            return "is not on the hub: the repository has no such file"
        case errors.HfHubHTTPError():
            return f"could not be downloaded: the hub answers {fault.response.status_code}"
        case _:
            return f"could not be downloaded: {fault}"


def _unreached(name: str, fault: Exception) -> InputError:
    if is_offline():
        return OutOfReachError(
            server(), f"{name} is not in the hub's cache, and HF_HUB_OFFLINE forbids downloading it"
        )
    cause = fault.__cause__ or fault
    return OutOfReachError(
        server(), f"{name} could not be downloaded from the hub ({type(cause).__name__})"
    )


def _verify(remote: Remote, path: Path) -> None:
    """Compare a file's content with the hash that names it in the hub's cache.

    That is a sha256 for large files and git's for small ones; without symbolic links it is not
    there. Raises InputError, and removes the file, where they differ.
    """
    blob = path.resolve()
    if re.fullmatch(r"[0-9a-f]{64}", blob.name):
        digest = file_hash(blob)
    elif re.fullmatch(r"[0-9a-f]{40}", blob.name):
        data = blob.read_bytes()
        digest = sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
    else:
        return
    if digest != blob.name:
        path.unlink()
        blob.unlink(missing_ok=True)
        raise InputError(
            f"{remote.repository}/{remote.hub_path}: its content has another hash than the hub "
            "states, so it was removed; fetch it again"
        )


def _reporting(received: Received) -> Any:  # noqa: ANN401 (huggingface_hub takes any such class)
    """Return a class that huggingface_hub uses as a progress bar, and which reports bytes."""

    class Bar:
        def __init__(
            self, *_: object, total: int | None = None, initial: int = 0, **__: object
        ) -> None:
            self.total, self.done = total, initial

        def __enter__(self) -> Bar:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def update(self, count: float | None = 1) -> None:
            self.done += int(count or 0)
            received(self.done, self.total)

        def __getattr__(self, name: str) -> Any:  # noqa: ANN401 (what else tqdm has is ignored)
            if name.startswith("update_"):
                raise AttributeError(name)
            return lambda *_, **__: None

    return Bar
