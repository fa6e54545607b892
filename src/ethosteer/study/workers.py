"""Several workers of one study on this machine: processes, their progress, and how they end."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import IO

from rich.live import Live
from rich.table import Table

from ethosteer import interruption
from ethosteer.errors import WorkerFailedError
from ethosteer.interruption import Interrupted
from ethosteer.progress import Terminal, escape
from ethosteer.settings import BaseSettings
from ethosteer.study.claims import read_states
from ethosteer.study.run import Study
from ethosteer.study.worker import PARENT

LOOK_SECONDS = 0.2
LINES_SECONDS = 2.0
"""For the last lines of a worker that has ended: processes of its own may keep its stderr."""
SHOWN_SECONDS = 2.0
"""Between two looks at what workers say of themselves, on a terminal."""
VISIBLE = "CUDA_VISIBLE_DEVICES"
THREADS = "OMP_NUM_THREADS"


@dataclass(slots=True)
class Process:
    """One worker's process; ``error`` is the last line in which it named an error.

    ``has_begun`` says that it was seen at work, so that without a sign of life it ends.
    """

    number: int
    popen: subprocess.Popen[str]
    error: str = ""
    has_begun: bool = False
    has_ended: bool = False
    lines: threading.Thread = field(init=False)

    @property
    def name(self) -> str:
        """What it is called on the terminal."""
        return f"worker {self.number}"


def run_workers(study: Study, command: Sequence[str], count: int) -> None:
    """Run a command, ``ethosteer work``, in ``count`` processes until the study is finished.

    A signal to this process is forwarded, and Interrupted raised when all have ended. Raises
    WorkerFailedError, and stops the others after their step, where one fails; one that is killed is
    only reported, since others take over its step.
    """
    spoken: queue.Queue[tuple[Process, str]] = queue.Queue()
    workers: list[Process] = []
    try:
        for number, environment in enumerate(environments(count, study.settings.base), start=1):
            workers.append(_start(number, command, environment, spoken))
        failed = _watch(study, workers, spoken)
    except BaseException:
        for worker in workers:
            worker.popen.kill()
        raise
    if failed is not None and interruption.is_requested():
        study.workspace.terminal.say(str(failed))
    interruption.stop_if_requested()
    if failed is not None:
        raise failed
    if not study.is_finished():
        raise _unfinished(workers)


def environments(count: int, base: BaseSettings) -> Iterator[dict[str, str]]:
    """Yield the environment of each worker: a GPU each, or an equal number of threads.

    Workers share GPUs where there are more of them. What OMP_NUM_THREADS says already is kept.
    """
    devices = visible_gpus() if base.device in ("auto", "cuda") else []
    threads = max(1, cores() // count)
    for index in range(count):
        environment = {**os.environ, PARENT: str(os.getpid())}
        if devices:
            environment[VISIBLE] = devices[index % len(devices)]
        else:
            environment.setdefault(THREADS, str(threads))
        yield environment


def visible_gpus() -> list[str]:
    """Return the GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    import torch

    if not torch.cuda.is_available():
        return []
    named = os.environ.get(VISIBLE, "")
    count = torch.cuda.device_count()
    return named.split(",")[:count] if named else list(map(str, range(count)))


def cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _start(
    number: int,
    command: Sequence[str],
    environment: dict[str, str],
    spoken: queue.Queue[tuple[Process, str]],
) -> Process:
    """Start a worker in a process group of its own, which a terminal's Ctrl-C does not reach."""
    popen = subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,
    )
    worker = Process(number, popen)

    def read(stream: IO[str]) -> None:
        with stream:
            for line in stream:
                spoken.put((worker, line.rstrip("\n")))

    assert popen.stderr is not None
    worker.lines = threading.Thread(target=read, args=(popen.stderr,), daemon=True)
    worker.lines.start()
    return worker


def _watch(
    study: Study, workers: Sequence[Process], spoken: queue.Queue[tuple[Process, str]]
) -> WorkerFailedError | None:
    """Show what workers say until all have ended; return the first failure."""
    terminal = study.workspace.terminal
    failed: WorkerFailedError | None = None
    is_stopping = False
    with _shown(study, workers):
        while not all(worker.has_ended for worker in workers):
            _say(terminal, spoken)
            if not is_stopping and (failed is not None or interruption.is_requested()):
                is_stopping = True
                _stop(workers)
            for worker in workers:
                if not worker.has_ended and worker.popen.poll() is not None:
                    worker.lines.join(LINES_SECONDS)
                    _say(terminal, spoken)
                    worker.has_ended = True
                    fault = _ended(worker, terminal, is_stopping=is_stopping)
                    failed = failed or fault
            time.sleep(LOOK_SECONDS)
    return failed


def _say(terminal: Terminal, spoken: queue.Queue[tuple[Process, str]]) -> None:
    """Print the lines that workers have written; errors are kept for the end."""
    while True:
        try:
            worker, line = spoken.get_nowait()
        except queue.Empty:
            return
        if line.startswith("error: "):
            worker.error = line.removeprefix("error: ")
        else:
            terminal.say(f"{worker.name}: {line}")


def _stop(workers: Sequence[Process]) -> None:
    """Have workers end after their step, by the signal that this process was sent, or SIGTERM."""
    number = signal.SIGTERM
    try:
        interruption.stop_if_requested()
    except Interrupted as stop:
        number = stop.received
    for worker in workers:
        if worker.popen.poll() is None:
            worker.popen.send_signal(number)


def _ended(worker: Process, terminal: Terminal, *, is_stopping: bool) -> WorkerFailedError | None:
    """Report how a worker ended; return its failure."""
    status = worker.popen.returncode
    if status in (1, 2):
        line = worker.error or "internal error, with the lines above"
        return WorkerFailedError(status, f"{worker.name}: {line}")
    if status < 0 and worker.error:
        terminal.say(f"{worker.name}: {worker.error}")
    if status < 0 and not is_stopping:
        terminal.say(
            f"{worker.name} (process {worker.popen.pid}) was killed by "
            f"{signal.Signals(-status).name}; its step is taken over by others"
        )
    elif status > 0 and not is_stopping:
        terminal.say(f"{worker.name} (process {worker.popen.pid}) was stopped; others go on")
    return None


def _unfinished(workers: Sequence[Process]) -> WorkerFailedError:
    """Return the failure of workers that have all ended before the study was finished."""
    killed = next((worker for worker in workers if worker.popen.returncode < 0), workers[0])
    status = killed.popen.returncode
    reason = "was stopped"
    if status < 0:
        reason = f"was killed by {signal.Signals(-status).name}, as systems do that lack memory"
    return WorkerFailedError(1, f"no worker is left: {killed.name} {reason}")


@contextmanager
def _shown(study: Study, workers: Sequence[Process]) -> Iterator[None]:
    """Show a table of the workers on a terminal, below the lines that they write."""
    console = study.workspace.terminal.console
    if not console.is_terminal:
        yield
        return
    with Live(
        get_renderable=_throttled(lambda: _table(study, workers)), console=console, transient=True
    ):
        yield


def _throttled(make: Callable[[], Table]) -> Callable[[], Table]:
    """Make a table anew every ``SHOWN_SECONDS``, not at every refreshing of the terminal."""
    made = [make()]
    last = time.monotonic()

    def current() -> Table:
        nonlocal last
        if time.monotonic() - last >= SHOWN_SECONDS:
            made[0], last = make(), time.monotonic()
        return made[0]

    return current


def _table(study: Study, workers: Sequence[Process]) -> Table:
    """Return what each worker is making, and how many steps of the study are stored."""
    states = {state.pid: state for state in read_states(study.store.root)}
    table = Table.grid(padding=(0, 2))
    for worker in workers:
        state = states.get(worker.popen.pid)
        if worker.popen.returncode is not None or state is None:
            alive = "ends" if worker.has_begun else "starts"
            table.add_row(worker.name, alive if worker.popen.returncode is None else "has ended")
            continue
        worker.has_begun = True
        seconds = timedelta(seconds=round(state.seconds))
        table.add_row(worker.name, escape(state.position), str(seconds))
    stages = study.plan.stages
    stored = len(stages) - len(study.store.missing(stages))
    table.add_row("study", f"{stored} of {len(stages)} steps are stored")
    return table
