"""What several test files share."""

from __future__ import annotations

import gzip
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest
import torch

from ethosteer.cli.app import main
from ethosteer.errors import InputError
from ethosteer.progress import Terminal
from tests.data.fetch.server import Server, serving

if TYPE_CHECKING:
    from ethosteer.models.base import SharedBase

torch.set_num_threads(1)
# a test asserts no time: on a busy machine the first example of any takes longer than 200 ms
hypothesis.settings.register_profile("timeless", deadline=None)
hypothesis.settings.load_profile("timeless")

REAL_DATA = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Return the folder of published files, which is beside the repository and never inside it."""
    if not REAL_DATA.is_dir():
        pytest.skip("the published data is not there: no folder ../shared/data")
    return REAL_DATA


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """Return the folder of the base ``smollm2``, fetched into the user's cache if need be."""
    from ethosteer.models.cached import cached_folder, prepare_base

    try:
        prepare_base("smollm2", Terminal(quiet=True))
    except InputError as fault:
        pytest.skip(str(fault))
    folder = cached_folder("smollm2")
    assert folder is not None
    return folder


@pytest.fixture
def publish(tmp_path: Path) -> Callable[[str, str | bytes], Path]:
    """Return a function that writes a published file, gzipped where its name says so."""

    def write(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        data = content.encode() if isinstance(content, str) else content
        path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
        return path

    return write


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """Return a stand-in for the hub and others; the hub's client asks it, with empty caches."""
    from huggingface_hub import constants

    from ethosteer.data.fetch import http

    with serving() as stand_in:
        template = stand_in.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "ENDPOINT", stand_in.url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
        monkeypatch.delenv("HF_TOKEN", raising=False)
        monkeypatch.setenv("ETHOSTEER_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(http, "PAUSE", 0.0)
        yield stand_in


@pytest.fixture
def torchrun(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, int], None]:
    """Return a function that sets what torchrun sets: the number of processes, and which this is.

    Nothing is started.
    """

    def set_processes(count: int, rank: int) -> None:
        for name, value in (("WORLD_SIZE", count), ("RANK", rank), ("LOCAL_RANK", rank)):
            monkeypatch.setenv(name, str(value))
        monkeypatch.setenv("MASTER_ADDR", "localhost")
        monkeypatch.setenv("MASTER_PORT", "1")

    return set_processes


@pytest.fixture
def call(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Return a function that runs a command line: (exit status, stdout, stderr)."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["ethosteer", *arguments])
        monkeypatch.setenv("COLUMNS", "200")
        with pytest.raises(SystemExit) as stop:
            main()
        out = capsys.readouterr()
        return int(stop.value.code or 0), out.out, out.err

    return run


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a two-layer Llama of random weights and the pocket model's tokenizer."""
    from transformers import AutoTokenizer

    from ethosteer.models.identity import POCKET
    from tests import tiny

    folder = tmp_path_factory.mktemp("tiny-base")
    tiny.save_llama(folder, AutoTokenizer.from_pretrained(POCKET), max_position_embeddings=256)
    return folder


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Make the tiny models of tests/tiny.py; return their folders by architecture."""
    from tests import tiny

    root = tmp_path_factory.mktemp("tiny")
    return {name: tiny.build(name, root / name) for name in tiny.ARCHITECTURES}


@pytest.fixture(scope="session")
def tiny_bases(tiny_models: dict[str, Path]) -> dict[str, SharedBase]:
    """Load the tiny models, to be shared by all tests: adapters come and go, weights stay."""
    from ethosteer.models.loading import load_base
    from ethosteer.settings import BaseSettings

    return {
        name: load_base(BaseSettings(model=str(folder), device="cpu"))
        for name, folder in tiny_models.items()
    }


@pytest.fixture
def llama(tiny_bases: dict[str, SharedBase]) -> SharedBase:
    """Return the tiny Llama."""
    return tiny_bases["llama"]


@pytest.fixture
def tokens_run() -> Callable[[SharedBase], AbstractContextManager[list[int]]]:
    """Return a context that lists how many tokens each pass through a base's decoder has."""

    @contextmanager
    def count(base: SharedBase) -> Iterator[list[int]]:
        counts: list[int] = []
        decoder = base.model.get_decoder()
        hook = decoder.register_forward_pre_hook(
            lambda _, __, given: counts.append(given["input_ids"].numel()), with_kwargs=True
        )
        try:
            yield counts
        finally:
            hook.remove()

    return count


@pytest.fixture(scope="session")
def read_events() -> Callable[[Path], dict[str, list[tuple[int, float]]]]:
    """Return a function that reads what TensorBoard's own reader finds below a folder.

    It gives (step, value) by the scalar's name.
    """
    from tensorboard.backend.event_processing.event_accumulator import (  # type: ignore[import-untyped]
        EventAccumulator,
    )

    def read(folder: Path) -> dict[str, list[tuple[int, float]]]:
        found: dict[str, list[tuple[int, float]]] = {}
        for place in {path.parent for path in folder.rglob("events.out.*")}:
            events = EventAccumulator(str(place))
            events.Reload()
            for name in events.Tags()["scalars"]:
                assert name not in found
                found[name] = [(event.step, event.value) for event in events.Scalars(name)]
        return found

    return read
