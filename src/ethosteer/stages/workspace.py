"""What stages run with: the store of artifacts, the terminal, and models, each loaded once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ethosteer.progress import Terminal
from ethosteer.settings import BaseSettings
from ethosteer.stages.store import Store

if TYPE_CHECKING:
    from ethosteer.algorithms.tracking import Tracking
    from ethosteer.models.base import SharedBase
    from ethosteer.models.text import Template


class LoadableBase(Protocol):
    """The raw base, or the fine-tuned one: the raw base with an adapter among the artifacts."""

    def identity(self) -> str:
        """Return its fingerprint."""

    def load_base(self, workspace: Workspace) -> SharedBase:
        """Load it, or return a view of the raw base, which ``workspace`` has loaded."""


@dataclass(frozen=True)
class Workspace:
    """What stages run with; nothing in it can change a result.

    ``tracker_names`` are trackers of accelerate; those that write files write into ``tracking``.
    """

    store: Store
    tracking: Path
    tracker_names: Sequence[str] = ()
    terminal: Terminal = field(default_factory=Terminal)
    _bases: dict[str, SharedBase] = field(default_factory=dict, repr=False)

    def base(self, model: LoadableBase) -> SharedBase:
        """Return the raw base, or the fine-tuned one that all arms share.

        Both are views of one model, which is loaded once.
        """
        if model.identity() not in self._bases:
            self._bases[model.identity()] = model.load_base(self)
        return self._bases[model.identity()]

    def template(self, base: BaseSettings, name: str, date: str) -> Template:
        """Return the dialogue template called ``name``, with the base's tokenizer.

        ``date`` (YYYY-MM-DD) is today for chat templates that print it.
        """
        from ethosteer.models.loading import load_tokenizer
        from ethosteer.models.text import Template

        return Template(name, load_tokenizer(base), date)  # type: ignore[arg-type]

    def trackers(self, run: str) -> AbstractContextManager[Tracking]:
        """Return the trackers of one run of steering, to be entered."""
        from ethosteer.algorithms.tracking import Tracking

        return Tracking.open(self.tracker_names, run, self.tracking)

    def adapters(
        self, base: SharedBase, folders: Mapping[str, Path | None]
    ) -> AbstractContextManager[None]:
        """Return a context in which models run in parallel on ``base``, in the order given.

        ``folders`` maps a model's name to its adapter, None for the base itself.
        """
        from ethosteer.models.adapters import load_bank

        if any(folders.values()):
            return load_bank(base, folders).applied()
        assert len(folders) == 1, "without adapters there is one model: the base itself"
        return nullcontext()
