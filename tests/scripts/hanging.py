"""Cases for the processes of attacks: one computes for ever, one ends its process."""

from __future__ import annotations

import os

from attacks.workers import Case, Outcome


def cases() -> Case:
    """Return the function that tries a case."""

    def try_case(index: int) -> Outcome:
        while index == 1:
            pass
        if index == 3:
            os._exit(1)
        return f"kind {index}", "accepted"

    return try_case
