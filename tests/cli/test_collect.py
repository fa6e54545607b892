"""``ethosteer collect``: what it prints, how it stops and resumes, and what it refuses."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path

import pytest

from ethosteer.collect.database import collection_url
from ethosteer.collect.store import Store

Call = Callable[..., tuple[int, str, str]]

ROWS = [
    {"prompt": "May I read her diary?", "responses": ["No, it is private.", "Ask her.", "Yes."]},
    {"prompt": "May I lie?", "responses": ["No.", "Rarely."], "warning": "About lies."},
]
PRACTICE = {
    "prompt": "May I steal?", "response_a": "No.", "response_b": "Yes.", "expected": 2,
    "kind": "practice", "explanation": "It is theirs.",
}  # fmt: skip


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file of prompts and responses, with practice pairs beside it."""
    for name, rows in (("advice.jsonl", ROWS), ("practice.jsonl", [PRACTICE])):
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return tmp_path / "advice.jsonl"


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


@dataclass
class Running:
    """The command while it serves: what it printed so far, and its port."""

    process: subprocess.Popen[str]
    port: int
    printed: str

    def get(self, path: str) -> tuple[int, str]:
        """The status of a page, and where it leads to."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=20)
        connection.request("GET", path)
        response = connection.getresponse()
        response.read()
        connection.close()
        return response.status, response.headers.get("location", "")

    @property
    def owner(self) -> str:
        """The path of the owner's link."""
        found = re.search(r"^owner's page: http://127\.0\.0\.1:\d+(/owner/open/\S{43})$",
                          self.printed, re.MULTILINE)  # fmt: skip
        assert found, self.printed
        return found[1]


@contextmanager
def running(*words: str) -> Iterator[Running]:
    """Run the command until it serves, and end it with the block where it has not ended."""
    port = free_port()
    command = [sys.executable, "-m", "ethosteer", "collect", *words, "--port", str(port)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8"
    )
    assert process.stdout and process.stderr
    try:
        printed = ""
        while "Ctrl-C" not in printed:
            line = process.stdout.readline()
            assert line, printed + process.stderr.read()
            printed += line
        yield Running(process, port, printed)
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def test_it_serves_stops_on_ctrl_c_and_resumes(file: Path):
    folder = file.with_name("advice-collection")
    practice = str(file.with_name("practice.jsonl"))
    with running(str(file), "--add", practice, "--overlap", "2", "--goal", "3") as first:
        assert f"5 pairs from {file} (left out: none)" in first.printed
        assert f"collection: {folder}/collection.sqlite, 0 judgements so far" in first.printed
        assert first.get(first.owner) == (303, "/owner")
        assert first.get("/owner/open/" + "x" * 43)[0] == 401
        first.process.send_signal(signal.SIGINT)
        out, error = first.process.communicate(timeout=30)
        assert first.process.returncode == 130
        assert (out, error) == (
            "",
            f"stopped; every judgement is stored; resume with `ethosteer collect {folder}`\n",
        ), "no request is logged, and no traceback is printed"
    for again in (str(folder), str(file)):
        with running(again) as second:
            assert "pairs from" not in second.printed
            assert second.get(second.owner) == (303, "/owner")
            assert second.get(first.owner)[0] == 401, "a new start has a new link"
    store = Store.open(collection_url(str(folder)))
    assert (store.settings.overlap, store.settings.goal) == (2, 3)
    assert sum(pair.kind == "practice" for pair in store.pairs()) == 1


def test_an_address_that_others_reach_is_warned_of(file: Path):
    with running(str(file), "--address", "http://192.0.2.1:8000") as command:
        command.process.send_signal(signal.SIGINT)
        _, error = command.process.communicate(timeout=30)
        assert error.startswith("warning: http://192.0.2.1:8000 is not encrypted")


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--host", "0.0.0.0"], "--host 0.0.0.0: give the address by which annotators reach"),
        (["--host", "::"], "--host ::: give the address by which annotators reach"),
        (["--address", "judge.example.org"], "--address judge.example.org: give http or https"),
        (["--host", "203.0.113.7"], "--host 203.0.113.7 --port 8000: "),
        (["--folder", "x", "--database", "postgresql://h/n"], "--folder and --database: give one"),
        (["--database", "mysql://h/n"], "mysql is not supported"),
        (["--guidelines", "none.txt"], "none.txt"),
        (["--add", "none.jsonl"], "none.jsonl"),
    ],
)
def test_what_it_refuses_is_one_line(call: Call, file: Path, words: list[str], problem: str):
    status, out, error = call("collect", str(file), *words)
    assert (status, out) == (2, "")
    assert problem in error and error.count("\n") == 1


def test_a_port_in_use_is_one_line(call: Call, file: Path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        status, _, error = call("collect", str(file), "--port", port)
    assert status == 2
    assert error.startswith(f"error: --host 127.0.0.1 --port {port}: Address already in use")
    assert not file.with_name("advice-collection").exists(), "nothing was made before"


def test_options_that_would_change_a_collection_are_refused(call: Call, file: Path):
    with running(str(file)):
        pass
    folder = str(file.with_name("advice-collection"))
    for option, value in (("overlap", "3"), ("gold-share", "0.5"), ("title", "x"),
                          ("add", str(file)), ("warning", "x")):  # fmt: skip
        status, _, error = call("collect", str(file), f"--{option}", value)
        assert status == 2
        assert error.startswith(f"error: --{option}: {folder}/collection.sqlite exists already")
    status, _, error = call("collect", folder, "--folder", "other")
    assert status == 2 and "is a collection itself" in error


@pytest.mark.parametrize("source", ["nothing", "demo", "none.jsonl", "postgresql://127.0.0.1:9/x"])
def test_a_source_without_answers_is_one_line(call: Call, tmp_path: Path, source: str):
    status, out, error = call("collect", source, "--runs-dir", str(tmp_path))
    assert (status, out) == (2, "") and error.count("\n") == 1
    if source == "demo":
        assert "`ethosteer run demo` makes them" in error


def test_a_file_that_is_missing_is_no_study(call: Call):
    assert call("collect", "missing.jsonl") == (2, "", "error: missing.jsonl: no such file\n")
