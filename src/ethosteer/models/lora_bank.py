"""LoRA adapters of many arms on one frozen base: one bmm per layer, no hooks.

The arms in use have equal blocks of a batch: rows, ``[arms * rows, tokens, features]``, or a packed
stream each, ``[arms, n, features]``. A layer adds ``alpha / r * (x A^T) B^T`` with
``A [arms, r, in]`` and ``B [arms, out, r]`` (LoRA, Hu et al. 2021). Where the base was fine-tuned,
a layer adds that frozen adapter first, the same for every arm.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from ethosteer.errors import InputError
from ethosteer.models.dropout import keep_mask
from ethosteer.settings import LoraSettings


@dataclass(frozen=True, slots=True)
class Adapter:
    """What one layer applies: A ``[arms, r, in]``, B ``[arms, out, r]``; ``layer`` is its index."""

    a: Tensor
    b: Tensor
    scale: float
    dropout: float
    layer: int


Applied = tuple[Adapter | None, Adapter | None, Tensor | None]
"""What an ArmLinear applies: ``frozen``, ``adapter`` and ``prefixes``."""


class ArmLinear(nn.Module):
    """A frozen linear-like layer, with fine-tuning's update and that of whichever bank is in use.

    Wraps anything that maps ``[..., in]`` to ``[..., out]``: nn.Linear, GPT-2's Conv1D, or a
    quantised layer. ``frozen`` is the adapter of fine-tuning, one for all arms, while a pass of the
    fine-tuned base runs (see ``frozen_on``). ``prefixes``, where a pass is in training, has the
    hash of each of its tokens (see dropout.py); without it there is no dropout.
    """

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer
        self.frozen: Adapter | None = None
        self.adapter: Adapter | None = None
        self.prefixes: Tensor | None = None

    @property
    def applied(self) -> Applied:
        """All that contexts have set for the pass that runs."""
        return self.frozen, self.adapter, self.prefixes

    @applied.setter
    def applied(self, values: Applied) -> None:
        self.frozen, self.adapter, self.prefixes = values

    def forward(self, x: Tensor) -> Tensor:
        """x: ``[arms * rows, tokens, in]`` -> ``[arms * rows, tokens, out]``."""
        out: Tensor = self.layer(x)
        frozen, adapter = self.frozen, self.adapter
        if frozen is not None:
            x = x.to(frozen.a.dtype)  # once for both adapters
            out = _updated(out, x, frozen, None)
        return out if adapter is None else _updated(out, x, adapter, self.prefixes)


def _updated(out: Tensor, x: Tensor, adapter: Adapter, prefixes: Tensor | None) -> Tensor:
    """Add to ``out [arms * rows, tokens, out]`` what an adapter makes of a layer's input ``x``."""
    arms, scale = adapter.a.shape[0], adapter.scale
    rows = x.to(adapter.a.dtype).reshape(arms, -1, x.shape[-1])
    if adapter.dropout and prefixes is not None:
        prefixes = prefixes.view(rows.shape[:2])
        rows = rows * keep_mask(prefixes, adapter.layer, rows.shape[2], adapter.dropout)
        scale /= 1 - adapter.dropout  # inverted dropout: the expected update stays
    low = torch.bmm(rows, adapter.a.transpose(1, 2))
    b = adapter.b.transpose(1, 2)
    if scale != 1:  # a stored adapter's scale is in its B
        b = b * scale
    if out.dtype != low.dtype:
        return out + torch.bmm(low, b).view(out.shape).to(out.dtype)
    return torch.baddbmm(out.view(arms, -1, out.shape[-1]), low, b).view(out.shape)


@contextmanager
def frozen_on(layers: Mapping[str, ArmLinear], adapters: Mapping[str, Adapter]) -> Iterator[None]:
    """Have ``layers`` apply exactly these frozen adapters, by layer, inside the block.

    A layer that has none applies none, so passes of the raw and of the fine-tuned base may
    alternate, or run inside each other.
    """
    before = {
        name: layer.frozen
        for name, layer in layers.items()
        if layer.frozen is not adapters.get(name)
    }
    try:
        for name in before:
            layers[name].frozen = adapters.get(name)
        yield
    finally:
        for name, adapter in before.items():
            layers[name].frozen = adapter


@contextmanager
def dropout_on(layers: Iterable[ArmLinear], prefixes: Tensor | None) -> Iterator[None]:
    """Let ``layers`` drop inputs of their adapters by their tokens' hashes inside the block."""
    layers = list(layers)
    try:
        for layer in layers:
            layer.prefixes = prefixes
        yield
    finally:
        for layer in layers:
            layer.prefixes = None


def features(layer: nn.Module) -> tuple[int, int]:
    """Return the widths (in, out) of a linear-like layer."""
    if hasattr(layer, "in_features"):
        return int(layer.in_features), int(layer.out_features)  # type: ignore[arg-type]
    weight = layer.weight  # GPT-2's Conv1D keeps its weight as [in, out]
    assert isinstance(weight, Tensor)
    return int(weight.shape[0]), int(weight.shape[1])


class LoraBank(nn.Module):
    """The adapters of ``arms`` arms, all of one shape, for the named layers of one base.

    A starts like nn.Linear's weight, the same in every arm, and B at zero, so every arm starts as
    the base, exactly. Each arm's parameters are tensors of their own, in fp32 whatever the base is,
    so that optimiser, clipping and schedule are per arm; they are stacked when applied.
    """

    def __init__(
        self, layers: Mapping[str, ArmLinear], arms: int, settings: LoraSettings, seed: int
    ) -> None:
        super().__init__()
        self.settings = settings
        self.names = target_layers(layers, settings.targets)
        self._layers = {name: layers[name] for name in self.names}
        noise = torch.Generator().manual_seed(seed)
        initial: dict[str, tuple[Tensor, Tensor]] = {}
        for name in self.names:
            fan_in, fan_out = features(layers[name].layer)
            bound = 1 / math.sqrt(fan_in)
            a = torch.empty(settings.r, fan_in).uniform_(-bound, bound, generator=noise)
            initial[name] = (a, torch.zeros(fan_out, settings.r))
        self.a, self.b = nn.ModuleList(), nn.ModuleList()
        for _ in range(arms):
            self.a.append(nn.ParameterDict({_key(n): a.clone() for n, (a, _) in initial.items()}))
            self.b.append(nn.ParameterDict({_key(n): b.clone() for n, (_, b) in initial.items()}))

    @property
    def arms(self) -> int:
        """How many arms the bank holds."""
        return len(self.a)

    @property
    def scale(self) -> float:
        """The factor of the update, ``alpha / r``."""
        return self.settings.alpha / self.settings.r

    @contextmanager
    def applied(self, arms: Sequence[int] | None = None) -> Iterator[None]:
        """Apply this bank inside the block: rows belong to ``arms`` (all of them by default)."""
        before = {layer: layer.adapter for layer in self._layers.values()}
        try:
            for name, adapter in self.stacked(arms).items():
                self._layers[name].adapter = adapter
            yield
        finally:
            for layer, previous in before.items():
                layer.adapter = previous

    def stacked(self, arms: Sequence[int] | None = None) -> dict[str, Adapter]:
        """Return what layers apply, by name, where rows belong to ``arms`` (by default all)."""
        chosen = range(self.arms) if arms is None else arms
        return {
            name: Adapter(
                torch.stack([self._tensors(arm, name)[0] for arm in chosen]),
                torch.stack([self._tensors(arm, name)[1] for arm in chosen]),
                self.scale,
                self.settings.dropout,
                index,
            )
            for index, name in enumerate(self.names)
        }

    def arm_parameters(self, arm: int) -> list[nn.Parameter]:
        """Return one arm's parameters."""
        return [*self.a[arm].parameters(), *self.b[arm].parameters()]

    def arm_tensors(self, arm: int) -> dict[str, tuple[Tensor, Tensor]]:
        """Return one arm's (A ``[r, in]``, B ``[out, r]``) by layer name."""
        return {name: self._tensors(arm, name) for name in self.names}

    @torch.no_grad()
    def set_arm(self, arm: int, tensors: Mapping[str, tuple[Tensor, Tensor]]) -> None:
        """Overwrite one arm; InputError for a layer that is missing or has another shape."""
        unmatched = sorted(set(tensors) ^ set(self.names))
        if unmatched:
            raise InputError(f"layer {unmatched[0]} is in only one of the adapter and the base")
        for name, values in tensors.items():
            for parameter, value in zip(self._tensors(arm, name), values, strict=True):
                if parameter.shape != value.shape:
                    raise InputError(
                        f"layer {name}: the adapter's shape {list(value.shape)} does not fit the "
                        f"base, which needs {list(parameter.shape)}"
                    )
                parameter.copy_(value)

    def _tensors(self, arm: int, name: str) -> tuple[Tensor, Tensor]:
        a, b = self.a[arm], self.b[arm]
        assert isinstance(a, nn.ParameterDict)
        assert isinstance(b, nn.ParameterDict)
        return a[_key(name)], b[_key(name)]


def target_layers(
    names: Iterable[str], targets: Literal["all-linear"] | Sequence[str], key: str = "lora.targets"
) -> list[str]:
    """Return the layers that adapters are for, in the order of ``names``.

    Raises InputError, with the setting's ``key``, for a target that no layer is called.
    """
    names = list(names)
    if targets == "all-linear":
        return names

    def selects(target: str, name: str) -> bool:
        # as PEFT does: a target is a whole name, or the end of one
        return f".{name}".endswith(f".{target}")

    for target in targets:
        if not any(selects(target, name) for name in names):
            raise InputError(
                f"{key}: the base has no layer named {target}; it has "
                f"{', '.join(sorted({name.rsplit('.', 1)[-1] for name in names}))}"
            )
    return [name for name in names if any(selects(target, name) for target in targets)]


def _key(name: str) -> str:
    return name.replace(".", "/")  # names of parameters must not hold dots
