"""One worker of a study: takes whatever is ready and not claimed, until nothing is missing.

Several may work on one study, on one host or on many that share its folder. The one process of
``ethosteer run`` needs no claims: it holds the lock, which keeps workers out, and workers keep it
out by their signs of life.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from ethosteer import interruption
from ethosteer.errors import InputError
from ethosteer.files import DISK_FULL, write_json, writing
from ethosteer.stages.manifest import DamagedArtifactError
from ethosteer.stages.stage import Stage
from ethosteer.study import claims
from ethosteer.study.batches import ready
from ethosteer.study.claims import (
    CLAIMS,
    WORKERS,
    Claim,
    Claims,
    LostClaim,
    WorkerState,
    forget,
    is_recent,
    new_worker,
    read_states,
    this_machine,
)
from ethosteer.study.run import Study

FILES = "files"
"""The claim on the files of a run: its study file before the work, its report after it."""
PROBE_SECONDS = 2.0
"""A lock that is held for longer is not another process's look at it."""
WAITING = "waits for other workers"
PARENT = "ETHOSTEER_PARENT"
"""The environment's name for the process without which a worker is not to go on."""


class Worker:
    """What makes a process a worker: its claim, and the thread that gives its signs of life.

    ``position`` says what it is doing. Where ``parent`` is given and ends, the worker ends after
    its step, as by SIGTERM.
    """

    def __init__(
        self, root: Path, study: str, position: Callable[[], str], parent: int | None = None
    ) -> None:
        self.id = new_worker()
        self.claims = Claims(root, self.id)
        self._path = root / WORKERS / f"{self.id}.json"
        self._study = study
        self._position = position
        self._parent = parent
        self._claim: Claim | None = None
        self._work = WAITING
        self._since = time.monotonic()
        self._beats = 0
        self._lock = threading.Lock()
        self._ended = threading.Event()

    @contextmanager
    def alive(self) -> Iterator[None]:
        """Give signs of life within a block."""
        with writing(self._path.parent):
            self._write()
        thread = threading.Thread(target=self._beat_on, name="signs of life", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._ended.set()
            thread.join()
            self._path.unlink(missing_ok=True)

    @contextmanager
    def holding(self, claim: Claim, work: str) -> Iterator[None]:
        """Hold claimed work within a block, which ends by LostClaim where it is taken over."""
        with self._lock:
            self._claim, self._work, self._since = claim, work, time.monotonic()
        self._beat()
        try:
            yield
        except Exception as fault:
            # asked before the release below, after which another may claim what failed here
            if claim.is_lost():  # what this worker was writing was moved away
                raise LostClaim(claim.name) from fault
            raise
        finally:
            with self._lock:
                self._claim, self._work, self._since = None, WAITING, time.monotonic()
            interruption.withdraw(LostClaim)
            claim.release()

    def wait(self, name: str) -> Claim:
        """Claim work as soon as no other worker has it."""
        while (claim := self.claims.take(name)) is None:
            interruption.stop_if_requested()
            time.sleep(claims.POLL_SECONDS)
        return claim

    def confirm(self) -> None:
        """Raise LostClaim unless this worker still has what it has claimed."""
        if self._claim is not None:
            self._claim.confirm()

    def _beat_on(self) -> None:
        while not self._ended.wait(claims.BEAT_SECONDS):
            self._beat()
            with self._lock, suppress(OSError):  # a folder that cannot be read now, may be later
                if self._claim is not None and self._claim.is_lost():
                    interruption.request(LostClaim(self._claim.name))
            if self._parent is not None and os.getppid() != self._parent:
                self._parent = None
                os.kill(os.getpid(), signal.SIGTERM)

    def _beat(self) -> None:
        """Give a sign of life; where it cannot be written, the next one may."""
        with suppress(OSError, InputError):
            self._write()

    def _write(self) -> None:
        with self._lock:
            self._beats += 1
            self._path.parent.mkdir(parents=True, exist_ok=True)
            position = self._position() if self._claim else ""
            write_json(
                self._path,
                WorkerState(
                    self.id,
                    socket.gethostname(),
                    this_machine(),
                    os.getpid(),
                    self._study,
                    position or self._work,
                    round(time.monotonic() - self._since, 1),
                    self._beats,
                ),
            )


def work(study: Study) -> None:
    """Make what is missing of a study, beside other workers; return when it is finished.

    Raises InputError for invalid input, where a single process is running the study, and where the
    workers there make another study in its folder.
    """
    study.prepare_base()
    root, terminal = study.store.root, study.workspace.terminal
    identity = study.plan.comparison.fingerprint
    parent = os.environ.get(PARENT)
    worker = Worker(root, identity, lambda: terminal.position, int(parent) if parent else None)
    with worker.alive():
        _refuse_others(study, identity)
        study.share(worker.id, worker.confirm)
        if study.store.missing(study.plan.stages):
            study.check()
        # where the claim is lost, another worker prepares it
        with suppress(LostClaim), worker.holding(worker.wait(FILES), "prepares the run"):
            if not study.is_finished():
                study.begin()
        with closing(study.workspace):
            while not _finish(study, worker):
                _make_missing(study, worker)
    for state in read_states(root):
        if not is_recent(root, state):
            forget(root, state.worker)
    if not read_states(root):
        with suppress(OSError):  # two workers that leave together may both be the last
            study.tidy()
        for folder in (CLAIMS, WORKERS):
            shutil.rmtree(root / folder, ignore_errors=True)


def _refuse_others(study: Study, identity: str) -> None:
    """Raise InputError where another kind of process is at work in the study's folder."""
    if study.store.is_locked(PROBE_SECONDS):
        raise InputError(
            f"{study.folder}: a single process is running this study; wait for it, or stop it "
            "(what is done is kept) and start the workers again"
        )
    for state in read_states(study.store.root):
        if state.study != identity and is_recent(study.store.root, state):
            raise InputError(
                f"{study.folder}: a worker on {state.host} (process {state.pid}) makes this study "
                "with other settings; stop it, or use another --runs-dir"
            )


def _make_missing(study: Study, worker: Worker) -> None:
    """Make batches until nothing is missing; wait where other workers have what is ready."""
    say = study.workspace.terminal.say
    while missing := study.store.missing(study.plan.stages):
        interruption.stop_if_requested()
        taken = _take(study, worker, missing)
        if taken is None:
            time.sleep(claims.POLL_SECONDS)
            continue
        claim, batch = taken
        step = batch[0].title(batch)
        try:
            with worker.holding(claim, step):
                study.run_batch(batch)
        except LostClaim:
            say(f"{step}: another worker took this step over, as this one gave no sign of life")
        except DamagedArtifactError as fault:
            say(str(fault))


def _take(
    study: Study, worker: Worker, missing: list[Stage[Any]]
) -> tuple[Claim, list[Stage[Any]]] | None:
    """Claim the first batch that is ready and free; None where there is none."""
    for name, batch in ready(study.plan, study.store, missing):
        claim = worker.claims.take(name)
        if claim is None:
            continue
        study.store.fence(batch)
        # what was given its name before the claim, or the fence, is kept
        if study.store.missing(batch):
            return claim, batch
        claim.release()
    return None


def _finish(study: Study, worker: Worker) -> bool:
    """Write the run's files, unless a worker has; return False where something is missing."""
    if study.store.missing(study.plan.stages):
        return False
    try:
        with worker.holding(worker.wait(FILES), "writes the report"):
            if not study.is_finished():
                with writing(study.folder, DISK_FULL):
                    study.write_files()
                for line in study.other_work():
                    study.workspace.terminal.say(line)
    except DamagedArtifactError as fault:
        study.workspace.terminal.say(str(fault))
        return False
    except LostClaim:  # another worker writes it
        return False
    return True
