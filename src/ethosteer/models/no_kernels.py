"""Imports bitsandbytes, where it is installed, without the code that it would fetch.

On processors with AVX512-BF16 its import downloads a compiled kernel from the hub and loads it,
where the package ``kernels`` is installed, and warns where it is not. No code comes from the hub
here, so that package is hidden meanwhile. PEFT imports bitsandbytes, whatever the base: what
imports PEFT imports this module first.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec


@contextmanager
def hidden(package: str) -> Iterator[None]:
    """Let a package count as not installed inside the block."""
    before = sys.modules.get(package)
    sys.modules[package] = None  # type: ignore[assignment]  # importing it raises ImportError
    try:
        yield
    finally:
        if before is None:
            del sys.modules[package]
        else:
            sys.modules[package] = before


if find_spec("bitsandbytes") is not None:
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    with hidden("kernels"):
        import bitsandbytes  # noqa: F401
