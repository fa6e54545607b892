"""ethosteer: which preference dataset steers a language model best, and is the difference real?

    import ethosteer

    run = ethosteer.run("demo")

Names are imported when they are first used, so that ``import ethosteer`` loads no other module.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

__all__ = [
    "Comparison",
    "Estimate",
    "Evaluation",
    "InputError",
    "Run",
    "StudyResults",
    "StudySettings",
    "__version__",
    "evaluate",
    "load_study",
    "open_run",
    "run",
]

if TYPE_CHECKING:
    from ethosteer.api import evaluate, run
    from ethosteer.errors import InputError
    from ethosteer.evaluation.standalone import Evaluation
    from ethosteer.results.comparisons import Comparison
    from ethosteer.results.estimates import Estimate
    from ethosteer.results.study import StudyResults
    from ethosteer.settings import StudySettings
    from ethosteer.study.finished import Run, open_run
    from ethosteer.study.load import load_study

    __version__: str
else:
    _MODULES = {
        "Comparison": "results.comparisons",
        "Estimate": "results.estimates",
        "Evaluation": "evaluation.standalone",
        "InputError": "errors",
        "Run": "study.finished",
        "StudyResults": "results.study",
        "StudySettings": "settings",
        "evaluate": "api",
        "load_study": "study.load",
        "open_run": "study.finished",
        "run": "api",
    }

    # Hidden from type checkers, which would otherwise accept any attribute of the package.
    def __getattr__(name: str) -> object:
        if name == "__version__":
            from importlib.metadata import version

            value: object = version("ethosteer")
        elif name in _MODULES:
            from importlib import import_module

            value = getattr(import_module(f"ethosteer.{_MODULES[name]}"), name)
        else:
            raise AttributeError(f"module 'ethosteer' has no attribute {name!r}")
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        return __all__
