"""The processes that share one base: one, or those that torchrun or accelerate launch start.

All of them run the same study. The main one, of rank 0, alone writes files and to the terminal.
Which one this is stands in the environment, so that it is known without torch.
"""

from __future__ import annotations

import os

_RENDEZVOUS = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""What torchrun and accelerate launch set; a variable by itself may come from elsewhere."""


def count() -> int:
    """Return the number of processes."""
    if any(name not in os.environ for name in _RENDEZVOUS):
        return 1
    return int(os.environ["WORLD_SIZE"])


def rank() -> int:
    """Return this process's number, from 0."""
    return int(os.environ["RANK"]) if count() > 1 else 0


def local_rank() -> int:
    """Return this process's number on its machine, from 0, which is that of its GPU."""
    return int(os.environ.get("LOCAL_RANK", "0")) if count() > 1 else 0


def is_main() -> bool:
    """Return whether this process is the one that writes."""
    return rank() == 0
