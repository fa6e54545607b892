"""The versions and the machine that a result was made with, so that it can be reproduced."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version

LIBRARIES = ("torch", "transformers", "peft", "tokenizers", "numpy", "scipy", "statsmodels")


def describe() -> dict[str, str]:
    """Return the versions of ethosteer, Python and its libraries, and the machine, as text."""
    import torch

    return {
        "ethosteer": version("ethosteer"),
        "python": platform.python_version(),
        **{name: version(name) for name in LIBRARIES},
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
    }
