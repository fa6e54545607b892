"""A mapping whose values are read from disk when they are asked for, and not kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from ethosteer.errors import InputError

K = TypeVar("K")
V = TypeVar("V")


class OnDemand(Mapping[K, V]):
    """Values by key, each read anew by its function in ``readers`` whenever it is asked for.

    A study's outcomes need several GB of memory together, and one model's on one benchmark little.
    """

    def __init__(self, readers: Mapping[K, Callable[[], V]]) -> None:
        self._readers = dict(readers)

    def __getitem__(self, key: K) -> V:
        return self._readers[key]()

    def __iter__(self) -> Iterator[K]:
        return iter(self._readers)

    def __len__(self) -> int:
        return len(self._readers)

    def __contains__(self, key: object) -> bool:
        """Return whether there is a value, without reading it."""
        return key in self._readers


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what a library raises of a damaged file into InputError, with the file's path."""
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError) as fault:
        raise InputError(f"{path}: cannot be read: {fault}") from fault
