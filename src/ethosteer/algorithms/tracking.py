"""Live curves: TensorBoard, or any tracker that accelerate supports."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ethosteer.errors import InputError
from ethosteer.results.steering import CurvePoint

if TYPE_CHECKING:
    from accelerate.tracking import GeneralTracker

LOGGED = ("reward", "kl", "kl_coefficient", "response_tokens", "eos_fraction", "entropy", "loss")


def check_trackers(names: Sequence[str]) -> None:
    """Raise InputError for a tracker that accelerate does not support or that is not installed."""
    if not names:
        return
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers

    available = {str(name) for name in get_available_trackers()}
    for name in names:
        if name not in LOGGER_TYPE_TO_CLASS:
            known = ", ".join(sorted(map(str, LOGGER_TYPE_TO_CLASS)))
            raise InputError(f"track.trackers: unknown tracker {name!r}; known: {known}")
        if name not in available:
            raise InputError(f"track.trackers: {name} is not installed (pip install {name})")


@contextmanager
def _quiet_threads() -> Iterator[None]:
    """Print no traceback of a thread that cannot write a file inside the block.

    TensorBoard writes in one, and raises the fault anew where the next value is logged.
    """
    before = threading.excepthook

    def report(args: threading.ExceptHookArgs) -> None:
        if not isinstance(args.exc_value, OSError):
            before(args)

    threading.excepthook = report
    try:
        yield
    finally:
        threading.excepthook = before


@dataclass(frozen=True, slots=True)
class Tracking:
    """The trackers of one run."""

    trackers: Sequence[GeneralTracker]

    @classmethod
    @contextmanager
    def open(cls, names: Sequence[str], run: str, folder: Path) -> Iterator[Tracking]:
        """Start the trackers of ``run``, whose files go to ``folder``; finish them in the end."""
        if not names:
            yield cls(())
            return
        from accelerate import PartialState
        from accelerate.tracking import LOGGER_TYPE_TO_CLASS

        PartialState(cpu=True)  # trackers ask it which process they are
        with _quiet_threads():
            started = []
            for name in names:
                tracker_class = LOGGER_TYPE_TO_CLASS[name]
                needs_folder = tracker_class.requires_logging_directory
                tracker = tracker_class(run, **({"logging_dir": folder} if needs_folder else {}))
                tracker.start()
                started.append(tracker)
            try:
                yield cls(tuple(started))
            finally:
                for tracker in started:
                    tracker.finish()

    def log(self, step: int, points: Mapping[str, CurvePoint]) -> None:
        """Write one step's points, by the arm's label."""
        values: dict[str, float] = {}
        for label, point in points.items():
            values |= {f"{label}/{name}": getattr(point, name) for name in LOGGED}
            values |= {
                f"{label}/reward of {name}": reward for name, reward in point.rewards.items()
            }
            for name in ("engine_difference", "engine_largest"):
                if (difference := getattr(point, name)) is not None:
                    values[f"{label}/{name}"] = difference
            values[f"{label}/alarms"] = float(len(point.alarms))
        for tracker in self.trackers:
            tracker.log(values, step=step)
