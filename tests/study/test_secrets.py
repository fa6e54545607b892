"""Tokens and passwords of the environment are in no file of a run and printed by no command."""

from __future__ import annotations

import base64
import gzip
import json
import re
import urllib.request
from collections.abc import Callable, Iterator
from http.client import InvalidURL
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from ethosteer.data.fetch.http import server_of
from ethosteer.errors import InputError
from ethosteer.study import doctor
from tests.tiny_study import OVERRIDES

Call = Callable[..., tuple[int, str, str]]
SECRET = "planted0123456789abcdef"
TOKEN = f"hf_{SECRET}"
ADDRESS = f"https://user:{SECRET}@example.invalid"
VARIABLES = {
    "HF_TOKEN": TOKEN,
    "HUGGING_FACE_HUB_TOKEN": TOKEN,
    "WANDB_API_KEY": SECRET,
    "HTTPS_PROXY": ADDRESS,
    "PIP_INDEX_URL": f"{ADDRESS}/simple",
}
SETTINGS = (
    *OVERRIDES,
    "seeds=[0]",
    "arms={virtue = {max_pairs = 24}}",
    "benchmarks={toxigen = {limit = 6}}",
    "steer.steps=1",
    "track.trackers=['tensorboard']",
)


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Plant secrets in the environment, and return a folder below a git repository with one."""
    token = tmp_path / "home" / "token"
    token.parent.mkdir()
    token.write_text(TOKEN)
    git = tmp_path / ".git"
    git.mkdir()
    (git / "config").write_text(f'[remote "origin"]\n\turl = {ADDRESS}/study.git\n')
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(git / "config"))
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(token))
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", ADDRESS)
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def contents(path: Path) -> Iterator[str]:
    """Yield what is in a file, and in what it has compressed."""
    yield path.read_bytes().decode("latin-1")
    if path.suffix == ".parquet":
        table = pq.read_table(path)
        yield json.dumps([table.to_pylist(), str(table.schema.metadata)])
    if path.suffix == ".html":
        blocks = re.findall(r"H4sI[A-Za-z0-9+/=]+", path.read_text("utf-8"))
        for block in blocks:
            yield gzip.decompress(base64.b64decode(block)).decode("utf-8")


def test_a_run_and_its_reports_hold_no_secret(tiny_base: Path, planted: Path, call: Call) -> None:
    settings = [f"base.model={tiny_base}", *SETTINGS]
    words = [word for setting in settings for word in ("--set", setting)]
    commands = (
        ("run", "demo", *words),
        ("status", "runs/demo"),
        ("report", "runs/demo", "--no-texts", "--out", "report"),
        ("export", "runs/demo", "virtue", "exported"),
        ("doctor", "runs/demo"),
    )
    for command in commands:
        status, out, error = call(*command)
        assert status == 0, error
        assert SECRET not in out + error, command
    files = [path for path in planted.rglob("*") if path.is_file()]
    assert {".parquet", ".safetensors", ".html", ".json", ".toml"} <= {it.suffix for it in files}
    assert any("tfevents" in path.name for path in files)
    assert len(list(contents(planted / "runs" / "demo" / "report.html"))) == 2, "with its items"
    assert [path for path in files if any(SECRET in text for text in contents(path))] == []


@pytest.mark.parametrize(
    "command",
    [
        ("evaluate", "--model", "nobody/nothing", "--sample", "--benchmarks", "toxigen"),
        ("fetch", "algorithms", "data"),
        ("run", "demo", "--set", f"base.model={ADDRESS}/model"),
        ("report", f"{ADDRESS}/run"),
    ],
)
def test_no_error_tells_a_secret(command: tuple[str, ...], planted: Path, call: Call) -> None:
    status, out, error = call(*command)
    assert status == 2 and "error: " in error
    assert SECRET not in out + error
    for path in filter(Path.is_file, planted.rglob("*")):
        assert SECRET not in path.read_text("latin-1")


@pytest.mark.usefixtures("planted")
def test_an_address_is_shown_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    assert server_of(f"{ADDRESS}:80/path") == "example.invalid:80"
    assert str(InputError("https://user:p@ss@host/a@b failed")) == "https://host/a@b failed"
    fault = InputError(f"x: {ADDRESS}/a and http://token@host/b failed; write to a@b.example")
    assert str(fault) == (
        "x: https://example.invalid/a and http://host/b failed; write to a@b.example"
    )

    def broken(request: urllib.request.Request, **_: object) -> None:
        raise InvalidURL(f"nonnumeric port in {ADDRESS}, asked for {request.full_url}")

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("urllib.request.urlopen", broken)
    text = doctor.hub().text
    assert text.startswith("https://example.invalid does not answer") and SECRET not in text


def test_a_secret_in_a_compressed_file_would_be_seen(tmp_path: Path) -> None:
    import pyarrow as pa

    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": [SECRET] * 100}), path, compression="zstd")
    assert any(SECRET in text for text in contents(path))
    page = tmp_path / "a.html"
    page.write_text(base64.b64encode(gzip.compress(SECRET.encode(), mtime=0)).decode())
    assert SECRET not in page.read_text()
    assert any(SECRET in text for text in contents(page))
