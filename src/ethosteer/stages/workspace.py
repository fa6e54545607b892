"""What stages run with: the store of artifacts, the terminal, and models, each loaded once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ethosteer.progress import Terminal
from ethosteer.settings import BaseSettings
from ethosteer.stages.stage import RawBase
from ethosteer.stages.store import Store

if TYPE_CHECKING:
    from ethosteer.algorithms.tracking import Tracking
    from ethosteer.models.base import SharedBase
    from ethosteer.models.text import Template
    from ethosteer.stages.finetune import Finetune


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

    def base(self, model: RawBase | Finetune) -> SharedBase:
        """Return the raw base, or the fine-tuned one that all arms share."""
        if isinstance(model, RawBase):
            return self._loaded(model.identity(), model.settings)
        folder = model.merged(self.store.path(model))
        settings = model.base.settings.model_copy(update={"model": str(folder), "revision": None})
        return self._loaded(model.fingerprint, settings)

    def _loaded(self, identity: str, settings: BaseSettings) -> SharedBase:
        from ethosteer.models.loading import load_base

        if identity not in self._bases:
            self._bases[identity] = load_base(settings)
        return self._bases[identity]

    def template(self, base: RawBase, name: str) -> Template:
        """Return the dialogue template called ``name``, with the base's tokenizer."""
        from ethosteer.models.loading import load_tokenizer
        from ethosteer.models.text import Template

        return Template(name, load_tokenizer(base.settings))  # type: ignore[arg-type]

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
