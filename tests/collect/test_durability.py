"""Processes that are killed while they write, and several that write at once."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

from ethosteer.collect.store import Store
from tests.collect.small import PLAIN, assigned, join, pool

WRITER = """
import sys
from ethosteer.collect.store import Store

store, annotator = Store.open(sys.argv[1]), int(sys.argv[2])
print("ready", flush=True)
while (assignment := store.assign(annotator)) is not None:
    assert store.judge(annotator, assignment.id, 1, seconds=1) == "stored"
    print(assignment.id, flush=True)
"""

JUDGE = """
import sys
from ethosteer.collect.store import Store

store = Store.open(sys.argv[1])
store.pairs()
print("ready", flush=True)
sys.stdin.readline()
print(store.judge(int(sys.argv[2]), sys.argv[3], 1, seconds=1))
"""


def _start(code: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_nothing_that_was_acknowledged_is_lost_or_doubled_by_20_kills(url: str) -> None:
    kills = 20
    store = Store.create(url, PLAIN, pool(2000))
    annotator = join(store)
    acknowledged: list[str] = []
    for number in range(kills):
        with _start(WRITER, url, annotator) as writer:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "ready\n"
            for _ in range(number % 7):
                acknowledged.append(writer.stdout.readline().strip())
            writer.kill()
            # what it had written to the pipe was acknowledged too
            acknowledged += [line.strip() for line in writer.stdout if line.endswith("\n")]
    stored = [judgement.assignment for judgement in store.judgements()]
    assert max(Counter(stored).values()) == 1
    assert set(acknowledged) <= set(stored)
    assert len(acknowledged) == len(set(acknowledged))
    assert 0 <= len(stored) - len(acknowledged) <= kills  # stored, and killed before it said so
    pairs = Counter(judgement.pair_key for judgement in store.judgements())
    assert max(pairs.values()) == 1
    with store._database.reading() as connection:
        if connection.dialect.name == "sqlite":
            assert connection.exec_driver_sql("PRAGMA integrity_check").scalar_one() == "ok"


def test_two_processes_judge_one_assignment_once(url: str) -> None:
    store = Store.create(url, PLAIN, pool())
    annotator = join(store)
    shown = assigned(store, annotator)
    with (
        _start(JUDGE, url, annotator, shown.id) as first,
        _start(JUDGE, url, annotator, shown.id) as second,
    ):
        answers = []
        for process in (first, second):
            assert process.stdout is not None and process.stdin is not None
            assert process.stdout.readline() == "ready\n"
        for process in (first, second):
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        for process in (first, second):
            assert process.stdout is not None
            answers.append(process.stdout.read().strip())
    assert sorted(answers) == ["already", "stored"]
    assert len(store.judgements()) == 1
