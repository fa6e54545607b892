"""Claims: of many workers exactly one holds a step, and a dead one's is taken over once."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest

from ethosteer.errors import InputError
from ethosteer.files import write_json
from ethosteer.stages.store import Store
from ethosteer.study import claims
from ethosteer.study.claims import (
    CLAIMS,
    WORKERS,
    Claims,
    LostClaim,
    WorkerState,
    is_recent,
    read_states,
    refuse_workers,
    this_machine,
)
from tests.stages.test_store import A

SEVERAL = 8


class Clock:
    """A monotonic clock that is set by hand; ``sleep`` advances it."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: Callable[[], None] = lambda: None

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return 0.0  # no file was written in 1970: no worker seems alive by its age

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.slept()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    stopped = Clock()
    monkeypatch.setattr(claims, "time", stopped)
    return stopped


def state(worker: str, **changes: object) -> WorkerState:
    facts: dict[str, object] = {
        "worker": worker, "host": "elsewhere", "machine": "elsewhere", "pid": 1, "study": "s",
        "position": "steer virtue-s0", "seconds": 1.0, "beat": 1,
    }  # fmt: skip
    return WorkerState(**{**facts, **changes})  # type: ignore[arg-type]


def beat(root: Path, said: WorkerState) -> None:
    (root / WORKERS).mkdir(parents=True, exist_ok=True)
    write_json(root / WORKERS / f"{said.worker}.json", said)


def dead_process() -> int:
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pass
    return ended.pid


def at_once(work: Callable[[int], object]) -> list[object]:
    """Do work in several threads that start together; return what each has."""
    barrier, results = threading.Barrier(SEVERAL), [object()] * SEVERAL

    def run(index: int) -> None:
        barrier.wait()
        results[index] = work(index)

    threads = [threading.Thread(target=run, args=(index,)) for index in range(SEVERAL)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


# --- exactly one


def test_of_many_threads_one_has_each_claim(tmp_path: Path) -> None:
    workers = [Claims(tmp_path, f"worker{index}") for index in range(SEVERAL)]
    for name in map(str, range(20)):

        def take(index: int, name: str = name) -> object:
            return workers[index].take(name)

        assert len([claim for claim in at_once(take) if claim]) == 1, name


COMPETE = """
import sys
from pathlib import Path
from ethosteer.study.claims import Claims
claims = Claims(Path(sys.argv[1]), sys.argv[2])
print("ready", flush=True)
sys.stdin.readline()
print(*(name for name in map(str, range(60)) if claims.take(name)))
"""


def test_of_many_processes_one_has_each_claim(tmp_path: Path) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", COMPETE, str(tmp_path), f"worker{index}"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for index in range(4)
    ]  # fmt: skip
    for process in processes:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    won = Counter(name for process in processes for name in process.communicate()[0].split())
    assert won == dict.fromkeys(map(str, range(60)), 1)


def test_a_claim_is_either_confirmed_or_taken_over(tmp_path: Path) -> None:
    """The holder confirms while others, who take it for dead, all make the next number."""
    confirmed = 0
    for name in map(str, range(30)):
        claim = Claims(tmp_path, "holder").take(name)
        assert claim is not None

        def act(index: int, name: str = name, claim: claims.Claim = claim) -> bool:
            if index:
                return Claims(tmp_path, f"other{index}").make(name, 2)
            try:
                claim.confirm()
            except LostClaim:
                return False
            return True

        results = at_once(act)
        assert results.count(True) == 1, name
        assert claim.is_lost() != results[0]
        confirmed += results[0] is True
    assert Claims(tmp_path, "x").latest("0")[0] == 2


# --- taken over


def test_a_silent_holder_is_taken_over_once(tmp_path: Path, clock: Clock) -> None:
    beat(tmp_path, state("holder"))
    claim = Claims(tmp_path, "holder").take("work")
    assert claim is not None
    others = [Claims(tmp_path, f"other{index}") for index in range(SEVERAL)]
    for _ in range(60):
        assert not any(other.take("work") for other in others)
        clock.now += 1
    taken = [found for found in at_once(lambda index: others[index].take("work")) if found]
    assert len(taken) == 1 and not taken[0].is_lost()  # type: ignore[attr-defined]
    assert claim.is_lost() and read_states(tmp_path) == []
    with pytest.raises(LostClaim):
        claim.confirm()
    claim.release()  # changes nothing
    assert Claims(tmp_path, "late").take("work") is None


def test_a_holder_that_gives_signs_of_life_keeps_its_work(tmp_path: Path, clock: Clock) -> None:
    claim = Claims(tmp_path, "holder").take("work")
    other = Claims(tmp_path, "other")
    assert claim is not None
    for second in range(600):
        if second % 59 == 0:  # the host's clock does not matter
            beat(tmp_path, state("holder", beat=second))
        assert other.take("work") is None
        clock.now += 1
    assert not claim.is_lost()


def test_time_in_which_the_looker_was_paused_does_not_count(tmp_path: Path, clock: Clock) -> None:
    beat(tmp_path, state("holder"))
    assert Claims(tmp_path, "holder").take("work")
    other = Claims(tmp_path, "other")
    assert other.take("work") is None
    clock.now += 10_000
    assert other.take("work") is None
    for _ in range(int(claims.SILENT_SECONDS / claims.LONGEST_LOOK) - 1):
        clock.now += 10_000
        taken = other.take("work")
    assert taken is not None


def test_a_holder_whose_process_is_gone_is_taken_over_at_once(tmp_path: Path) -> None:
    beat(tmp_path, state("holder", machine=this_machine(), pid=dead_process()))
    assert Claims(tmp_path, "holder").take("work")
    assert Claims(tmp_path, "other").take("work")
    assert (tmp_path / WORKERS).is_dir() and read_states(tmp_path) == []


def test_a_holder_that_died_before_it_wrote_its_name_is_taken_over(
    tmp_path: Path, clock: Clock
) -> None:
    (tmp_path / CLAIMS).mkdir()
    (tmp_path / CLAIMS / "work.00000001").touch()
    other = Claims(tmp_path, "other")
    for _ in range(60):
        assert other.take("work") is None
        clock.now += 1
    assert other.take("work")


def test_released_work_is_free_and_an_old_view_of_it_wins_nothing(tmp_path: Path) -> None:
    first, second = Claims(tmp_path, "first"), Claims(tmp_path, "second")
    claim = first.take("work")
    assert claim is not None and second.take("work") is None
    claim.release()
    assert claim.number == 1
    taken = second.take("work")
    assert taken is not None and taken.number == 2
    taken.confirm()
    # as a worker does that read the folder before the release, or before the claim
    assert not first.make("work", 2) and not first.make("work", 1)
    assert [path.name for path in (tmp_path / CLAIMS).iterdir()] == ["work.00000003"]
    assert not taken.is_lost()


def test_a_claim_of_a_study_that_others_have_finished_is_lost(tmp_path: Path) -> None:
    claim = Claims(tmp_path, "holder").take("work")
    assert claim is not None
    (tmp_path / CLAIMS / "work.00000001").unlink()
    assert claim.is_lost()
    with pytest.raises(LostClaim):
        claim.confirm()


def test_a_worker_that_wakes_up_after_others_have_cleared_away_claims_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was paused between its look at the claim and the file that confirms it."""
    holder = Claims(tmp_path, "holder")
    claim, make = holder.take("work"), holder.make
    assert claim is not None

    def paused(name: str, number: int) -> bool:
        shutil.rmtree(tmp_path / CLAIMS)
        return make(name, number)

    monkeypatch.setattr(holder, "make", paused)
    with pytest.raises(LostClaim):
        claim.confirm()
    assert claim.is_lost() and not list((tmp_path / CLAIMS).iterdir())
    monkeypatch.undo()
    later = Claims(tmp_path, "later").take("work")
    assert later is not None and later.number == claim.number
    assert claim.is_lost() and not later.is_lost()


# --- a worker that is paused while it writes, and wakes up

PAUSED = """
import sys
from pathlib import Path
from ethosteer.errors import InputError
from ethosteer.stages import store as stages
from ethosteer.study import claims
from ethosteer.study.worker import Worker
from tests.stages.test_store import A

claims.BEAT_SECONDS = 0.05
root, paused = Path(sys.argv[1]), sys.argv[2]
worker = Worker(root, "study", lambda: "")
publish_folder = stages.publish_folder

def pause():
    print("pause", flush=True)
    sys.stdin.readline()

def publishing(unfinished, final):
    if paused == "after confirming":
        pause()
    publish_folder(unfinished, final)

stages.publish_folder = publishing
store = stages.Store(root, writer=worker.id, confirm=worker.confirm)
with worker.alive():
    claim = worker.claims.take("work")
    try:
        with worker.holding(claim, "work"), store.write(A) as folder:
            (folder / "text").write_text("old")
            if paused == "while writing":
                pause()
    except (claims.LostClaim, InputError) as lost:
        print(type(lost).__name__, claim.is_lost(), flush=True)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="Windows pauses no processes")
@pytest.mark.parametrize("paused", ["while writing", "after confirming"])
def test_a_paused_worker_that_wakes_up_does_not_publish_over_the_new_one(
    paused: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "SILENT_SECONDS", 0.5)
    store, mine = Store(tmp_path), Claims(tmp_path, "mine")
    with subprocess.Popen(
        [sys.executable, "-c", PAUSED, str(tmp_path), paused],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == "pause\n"
        assert mine.take("work") is None
        process.send_signal(signal.SIGSTOP)
        while (claim := mine.take("work")) is None:
            time.sleep(0.01)
        store.fence([A])
        assert not store.has(A)
        with store.write(A) as folder:
            (folder / "text").write_text("new")
        process.send_signal(signal.SIGCONT)
        out, _ = process.communicate("go on\n")
    # the folder that it was writing into, or was to rename, is gone
    assert out.split()[1:] == ["True"] and out.split()[0] in ("LostClaim", "InputError")
    assert store.load(A) == "new" and not claim.is_lost()
    assert [path.name for path in store.folder(A).parent.iterdir()] == [store.folder(A).name]


def test_what_had_its_name_before_the_work_was_taken_over_is_kept(tmp_path: Path) -> None:
    slow, quick = Store(tmp_path, writer="slow"), Store(tmp_path, writer="quick")
    with slow.write(A) as folder:
        (folder / "text").write_text("whole")
    quick.fence([A])
    assert quick.load(A) == "whole"


# --- run, and workers that may be alive


def test_a_run_is_refused_beside_a_worker_that_lives(tmp_path: Path) -> None:
    beat(tmp_path, state("other"))
    with pytest.raises(InputError, match=r"a worker on elsewhere \(process 1\) is at work"):
        refuse_workers(tmp_path, pytest.fail)


def test_a_run_waits_to_see_whether_an_old_worker_lives(tmp_path: Path, clock: Clock) -> None:
    beat(tmp_path, state("other"))
    said: list[str] = []
    refuse_workers(tmp_path, said.append)
    assert len(said) == 1 and "waiting for up to 60 s" in said[0]
    assert list(tmp_path.iterdir()) == [] and clock.now >= 1000 + claims.SILENT_SECONDS
    beat(tmp_path, state("other"))
    clock.slept = lambda: beat(tmp_path, state("other", beat=2))
    with pytest.raises(InputError, match="is at work on this study"):
        refuse_workers(tmp_path, said.append)


def test_a_worker_whose_process_is_gone_keeps_no_run_waiting(tmp_path: Path) -> None:
    killed = state("other", machine=this_machine(), pid=dead_process())
    beat(tmp_path, killed)
    assert not is_recent(tmp_path, killed)
    refuse_workers(tmp_path, pytest.fail)
    assert list(tmp_path.iterdir()) == []


def test_signs_of_life_of_another_version_are_read_as_none(tmp_path: Path) -> None:
    beat(tmp_path, state("other"))
    path = tmp_path / WORKERS / "other.json"
    path.write_text(json.dumps(asdict(state("other")) | {"beat": "many"}), "utf-8")
    assert read_states(tmp_path) == []
