"""What stages run with: the store of artifacts, the terminal, and models, each loaded once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ethosteer import processes
from ethosteer.progress import Terminal
from ethosteer.settings import BaseSettings
from ethosteer.stages.store import Store

if TYPE_CHECKING:
    from ethosteer.algorithms.tracking import Tracking
    from ethosteer.models.base import SharedBase
    from ethosteer.models.engine.connection import Connection
    from ethosteer.models.engine.vllm import VLLM
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
    ``engine`` leads to the server that samples; None where ethosteer does.
    """

    store: Store
    tracking: Path
    tracker_names: Sequence[str] = ()
    terminal: Terminal = field(default_factory=Terminal)
    engine: Connection | None = None
    _bases: dict[str, SharedBase] = field(default_factory=dict, repr=False)
    _engines: dict[str, VLLM] = field(default_factory=dict, repr=False)

    def base(self, model: LoadableBase, *, with_engine: bool = True) -> SharedBase:
        """Return the raw base, or the fine-tuned one that all arms share.

        Both are views of one model, which is loaded once. The study's engine samples for them,
        unless ``with_engine`` is false.
        """
        key = model.identity()
        if key not in self._bases:
            self._bases[key] = model.load_base(self)
        base = self._bases[key]
        if self.engine is None or not with_engine:
            return base
        if key not in self._engines:
            from ethosteer.models.engine.vllm import VLLM

            self._engines[key] = VLLM(base, self.engine)
        return replace(base, engine=self._engines[key])

    def close(self) -> None:
        """Stop the sampling engine, which starts again where it is needed."""
        for engine in self._engines.values():
            engine.close()
        self._engines.clear()
        if self.engine is not None:
            self.engine.close()

    def template(self, base: BaseSettings, name: str, date: str) -> Template:
        """Return the dialogue template called ``name``, with the base's tokenizer.

        ``date`` (YYYY-MM-DD) is today for chat templates that print it.
        """
        from ethosteer.models.loading import load_tokenizer
        from ethosteer.models.text import Template

        return Template(name, load_tokenizer(base), date)  # type: ignore[arg-type]

    def trackers(self, run: str) -> AbstractContextManager[Tracking]:
        """Return the trackers of one run of steering, to be entered; the main process has them."""
        from ethosteer.algorithms.tracking import Tracking

        names = self.tracker_names if processes.is_main() else ()
        return Tracking.open(names, run, self.tracking)

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
