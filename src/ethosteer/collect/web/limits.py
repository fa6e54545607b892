"""Limits to how often somebody may do something: token buckets in memory."""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

MOST_KEYS = 10_000
"""Buckets that are kept; the one used least recently is forgotten first."""


class RateLimit:
    """At most ``burst`` requests at once of one key, and ``rate`` a second in the long run."""

    def __init__(
        self, rate: float, burst: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.rate = rate
        self.burst = burst
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._lock = threading.Lock()

    def wait(self, key: str) -> int:
        """Count a request of ``key``; return the seconds after which to retry, 0 if it may pass.

        A request that is refused is not counted.
        """
        with self._lock:
            now = self._clock()
            tokens, before = self._buckets.pop(key, (float(self.burst), now))
            tokens = min(self.burst, tokens + (now - before) * self.rate)
            seconds = 0 if tokens >= 1 else math.ceil((1 - tokens) / self.rate)
            self._buckets[key] = (tokens if seconds else tokens - 1, now)
            if len(self._buckets) > MOST_KEYS:
                self._buckets.popitem(last=False)
            return seconds
