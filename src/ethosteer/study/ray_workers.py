"""Workers of one study as tasks of Ray, on this machine or on the cluster that Ray is joined to."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Sequence
from typing import Any

from ethosteer import interruption
from ethosteer.errors import InputError, WorkerFailedError
from ethosteer.models.foreign import foreign
from ethosteer.progress import Terminal
from ethosteer.settings import BaseSettings

START_SECONDS = "200"
"""Ray's daemon may take minutes to start on a busy machine; Ray gives up after 30 s."""
LOOK_SECONDS = 0.5
KNOCK_SECONDS = 10.0


def run_on_ray(
    task: Callable[..., int],
    arguments: Sequence[object],
    count: int | None,
    base: BaseSettings,
    terminal: Terminal,
) -> None:
    """Run ``count`` workers, each a call of the function ``task`` that returns its exit status.

    Each has one GPU where the base may use it and the cluster has any, else an equal number of
    cores; by default there is one a GPU. A signal to this process cancels the tasks, which end
    after their step, and raises Interrupted. Raises InputError without the extra ``ray`` and for a
    cluster that cannot be joined, and WorkerFailedError where a worker fails. A task whose process
    is killed is started again by Ray.
    """
    os.environ.setdefault("RAY_raylet_start_wait_time_s", START_SECONDS)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as fault:
        raise InputError(
            "--executor ray: Ray is not installed: pip install 'ethosteer[ray]'"
        ) from fault
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    address = os.environ.get("RAY_ADDRESS")
    problem = f"RAY_ADDRESS={address} cannot be joined" if address else "Ray cannot be started"
    with foreign("--executor ray", problem):
        _knock(address)
        ray.init(include_dashboard=False, log_to_driver=True)
    for number, handler in before.items():  # Ray has put its own there
        signal.signal(number, handler)
    try:
        resources, count = _resources(ray, count, base)
        terminal.say(f"{count} workers on Ray, each with {resources}")
        remote = ray.remote(**resources)(task)
        failed = _await(ray, [remote.remote(*arguments) for _ in range(count)])
    finally:
        ray.shutdown()
    interruption.stop_if_requested()
    if failed is not None:
        raise failed


def _knock(address: str | None) -> None:
    """Raise OSError where nothing listens at a HOST:PORT, for which Ray would try for minutes."""
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    if port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), KNOCK_SECONDS).close()


def _resources(ray: Any, count: int | None, base: BaseSettings) -> tuple[dict[str, int], int]:  # noqa: ANN401
    """Return what each task asks for, and how many tasks there are."""
    cluster = ray.cluster_resources()
    gpus, cores = int(cluster.get("GPU", 0)), int(cluster.get("CPU", 1))
    if gpus and base.device in ("auto", "cuda"):
        return {"num_gpus": 1}, count or gpus
    return {"num_cpus": max(1, cores // (count or 1))}, count or 1


def _await(ray: Any, tasks: list[Any]) -> WorkerFailedError | None:  # noqa: ANN401
    """Wait for all tasks; return the first failure, which cancels the others."""
    failed: WorkerFailedError | None = None
    is_stopping = False
    while tasks:
        if not is_stopping and (failed is not None or interruption.is_requested()):
            is_stopping = True
            for task in tasks:
                ray.cancel(task, force=False)
        ended, tasks = ray.wait(tasks, timeout=LOOK_SECONDS)
        for task in ended:
            try:
                ray.get(task)
            except ray.exceptions.TaskCancelledError:
                pass
            except ray.exceptions.RayTaskError as fault:
                cause = fault.cause
                status = 2 if isinstance(cause, InputError) else 1
                failed = failed or WorkerFailedError(status, f"a worker on Ray: {cause}")
            except ray.exceptions.RayError as fault:
                line = str(fault).strip().partition("\n")[0]
                failed = failed or WorkerFailedError(1, f"a worker on Ray: {line}")
    return failed
