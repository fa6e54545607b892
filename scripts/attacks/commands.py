"""Commands with odd arguments, run in this process."""

from __future__ import annotations

import contextlib
import io
import os
import random
import sys
from collections.abc import Sequence
from pathlib import Path

from attacks import studies
from attacks.mutations import ARGUMENTS
from attacks.workers import Outcome
from ethosteer.cli.app import main

STUDY = "small.toml"
"""Not study.toml, which would make the folder a run's."""
COMMANDS: tuple[tuple[str, ...], ...] = (
    ("status", "?"),
    ("status", STUDY, "--runs-dir", "?"),
    ("status", STUDY, "--data-dir", "?"),
    ("plan", "?"),
    ("plan", STUDY, "--set", "?"),
    ("plan", STUDY, "--set", "steer.steps=?", "?"),
    ("run", "?"),
    ("run", STUDY, "--data-dir", "?", "--set", "data.origin=none"),
    ("curate", "?"),
    ("curate", "virtue", "--sample", "--show", "?"),
    ("curate", "virtue", "--sample", "--pairs-per-group", "?"),
    ("curate", "virtue", "--sample", "--column", "?"),
    ("curate", "?", "--weigh", "?"),
    ("evaluate", "--benchmarks", "?", "--model", "no-such-folder"),
    ("evaluate", "--benchmarks", "toxigen", "--sample", "--model", "?"),
    ("evaluate", "--benchmarks", "toxigen", "--sample", "--limit", "?", "--model", "no-such"),
    ("evaluate", "--benchmarks", "toxigen", "--sample", "--out", "?", "--model", "no-such"),
    ("evaluate", "--benchmarks", "toxigen", "--data-dir", "?", "--model", "no-such"),
    ("evaluate", "--benchmarks", "lm-eval:x", "--include-path", "?", "--model", "no-such"),
    ("run", STUDY, "--set", "?", "--data-dir", "no-such"),
    ("run", STUDY, "--runs-dir", "?", "--data-dir", "no-such"),
    ("status", STUDY, "--set", "?"),
    ("plan", STUDY, "--data-dir", "?"),
    ("curate", "virtue", "--data-dir", "?"),
    ("curate", "virtue", "--sample", "--max-pairs", "?"),
    ("evaluate", "--benchmarks", "toxigen", "--sample", "--adapter", "?"),
    ("evaluate", "--benchmarks", "toxigen", "--sample", "--device", "?", "--model", "no-such"),
    ("evaluate", "--benchmarks", "preferences", "--sample", "--template", "?", "--model", "no"),
    ("report", "?", "?"),
    ("export", STUDY, "virtue", "folder", "--seed", "?"),
    ("chat", STUDY, "--prompt", "?"),
    ("chat", STUDY, "--prompt", "x", "--seed", "?"),
    ("doctor", "?"),
    ("bench", "?"),
    ("fetch", "demo", "folder", "--dry-run", "?"),
    ("--version", "?"),
    ("?",),
    ("report", "?"),
    ("report", STUDY, "--runs-dir", "?"),
    ("export", "?", "virtue", "folder"),
    ("export", STUDY, "?", "?"),
    ("chat", "?", "--prompt", "x"),
    ("list", "?"),
    ("fetch", "?"),
    ("fetch", "?", "folder", "--check"),
    ("fetch", "demo", "?", "--check"),
    ("init", "?/s.toml", "--yes"),
    ("init", "new/s.toml", "--yes", "--datasets", "?"),
    ("init", "new/s.toml", "--yes", "--seeds", "?"),
    ("init", "new/s.toml", "--yes", "--margin", "?"),
    ("init", "new/s.toml", "--yes", "--benchmarks", "?"),
)  # fmt: skip


def command(noise: random.Random, scratch: Path) -> Outcome:
    """Run a command with an odd argument."""
    words = noise.choice(COMMANDS)
    (scratch / STUDY).write_text(studies.text(), encoding="utf-8")
    odd = noise.choice(ARGUMENTS)
    arguments = [odd if word == "?" else word for word in words]
    status, said = answered(arguments)
    os.chdir(scratch)
    kind = f"command {words[0]}"
    if status == 0:
        return kind, "accepted"
    # a fetch names every file that it could not get, in a line of its own
    lines = said.split("\n")
    if status == 2 and ("Usage:" in said or all(line.startswith("error: ") for line in lines)):
        return kind, "refused"
    return kind, f"traceback: {arguments!r} {status}: {said[-300:]}"


def answered(arguments: Sequence[str]) -> tuple[object, str]:
    """Run a command line in this process; return its exit status and what it wrote to stderr."""
    out, err = io.StringIO(), io.StringIO()
    argv, sys.argv = sys.argv, ["ethosteer", *arguments]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main()
    except SystemExit as stop:
        return stop.code or 0, err.getvalue().strip()
    except Exception as raised:
        return 1, f"{type(raised).__name__}: {raised}"
    finally:
        sys.argv = argv
    return 0, err.getvalue().strip()


def warm_up() -> None:
    """Import what commands import when they need it, which takes seconds once."""
    for words in COMMANDS:
        answered(["no-such-thing" if word == "?" else word for word in words])
