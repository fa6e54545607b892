"""LoRA adapters of many arms on one frozen base: one bmm per layer, no hooks.

The arms in use have equal blocks of a batch: rows, ``[arms * rows, tokens, features]``, or a packed
stream each, ``[arms, n, features]``. A layer adds
``scale * (x A^T) B^T`` with ``A: [arms, r, in]`` and ``B: [arms, out, r]`` (Hu et al. 2021).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ethosteer.errors import InputError
from ethosteer.settings import LoraSettings


@dataclass(slots=True)
class Adapter:
    """The part of a bank that one layer applies at the moment."""

    a: Tensor
    b: Tensor
    scale: float
    dropout: float
    seed: int | None


class ArmLinear(nn.Module):
    """A frozen linear-like layer, with the update of whichever bank is in use.

    Wraps anything that maps ``[..., in]`` to ``[..., out]``: nn.Linear, GPT-2's Conv1D, or a
    quantised layer.
    """

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer
        self.adapter: Adapter | None = None

    def forward(self, x: Tensor) -> Tensor:
        """x: ``[arms * rows, tokens, in]`` -> ``[arms * rows, tokens, out]``."""
        out: Tensor = self.layer(x)
        adapter = self.adapter
        if adapter is None:
            return out
        arms = adapter.a.shape[0]
        rows = x.to(adapter.a.dtype).reshape(arms, -1, x.shape[-1])
        if adapter.dropout and adapter.seed is not None:
            mask = _dropout_mask(rows.shape[1], x, adapter.dropout, adapter.seed)
            rows = rows * mask.to(rows.dtype)
        low = torch.bmm(rows, adapter.a.transpose(1, 2))
        b = adapter.b.transpose(1, 2) * adapter.scale
        if out.dtype != low.dtype:
            return out + torch.bmm(low, b).view(out.shape).to(out.dtype)
        return torch.baddbmm(out.view(arms, -1, out.shape[-1]), low, b).view(out.shape)


def _dropout_mask(tokens: int, x: Tensor, dropout: float, seed: int) -> Tensor:
    """One inverted-dropout mask ``[tokens, in]`` for all arms (common random numbers)."""
    noise = torch.Generator(x.device).manual_seed(seed)
    kept = torch.rand(tokens, x.shape[-1], generator=noise, device=x.device) < 1 - dropout
    return kept / (1 - dropout)


def features(layer: nn.Module) -> tuple[int, int]:
    """Return (in, out) of a linear-like layer."""
    if hasattr(layer, "in_features"):
        return int(layer.in_features), int(layer.out_features)  # type: ignore[arg-type]
    weight = layer.weight  # GPT-2's Conv1D keeps its weight as [in, out]
    assert isinstance(weight, Tensor)
    return int(weight.shape[0]), int(weight.shape[1])


class LoraBank(nn.Module):
    """The adapters of ``arms`` arms, all of one shape, for the named layers of one base.

    A starts like nn.Linear's weight, drawn once and the same for every arm, and B at zero, so every
    arm starts as the base, exactly. Each arm's parameters are its own tensors (fp32, whatever the
    base is), so that optimiser, clip and schedule are per arm; they are stacked when applied.
    """

    def __init__(
        self, layers: Mapping[str, ArmLinear], arms: int, settings: LoraSettings, seed: int
    ) -> None:
        super().__init__()
        self.settings = settings
        self.names = [name for name in layers if name.rsplit(".", 1)[-1] in settings.targets]
        if not self.names:
            raise InputError(
                f"lora.targets: the base has no layer named {', '.join(settings.targets)}; it has "
                f"{', '.join(sorted({name.rsplit('.', 1)[-1] for name in layers}))}"
            )
        self._layers = {name: layers[name] for name in self.names}
        noise = torch.Generator().manual_seed(seed)
        first: dict[str, tuple[Tensor, Tensor]] = {}
        for name in self.names:
            fan_in, fan_out = features(layers[name].layer)
            bound = 1 / math.sqrt(fan_in)
            a = torch.empty(settings.r, fan_in).uniform_(-bound, bound, generator=noise)
            first[name] = (a, torch.zeros(fan_out, settings.r))
        self.a, self.b = nn.ModuleList(), nn.ModuleList()
        for _ in range(arms):
            self.a.append(nn.ParameterDict({_key(n): a.clone() for n, (a, _) in first.items()}))
            self.b.append(nn.ParameterDict({_key(n): b.clone() for n, (_, b) in first.items()}))

    @property
    def arms(self) -> int:
        """How many arms the bank holds."""
        return len(self.a)

    @property
    def scale(self) -> float:
        """The factor of the update, ``alpha / r``."""
        return self.settings.alpha / self.settings.r

    @contextmanager
    def applied(
        self, arms: Sequence[int] | None = None, dropout: torch.Generator | None = None
    ) -> Iterator[None]:
        """Apply this bank inside the block: rows belong to ``arms`` (all of them by default).

        ``dropout`` is the generator of training-time dropout; without one dropout is off.
        """
        chosen = range(self.arms) if arms is None else arms
        seeds = self._dropout_seeds(dropout)
        before = {layer: layer.adapter for layer in self._layers.values()}
        try:
            for name, layer in self._layers.items():
                a = torch.stack([self._tensors(arm, name)[0] for arm in chosen])
                b = torch.stack([self._tensors(arm, name)[1] for arm in chosen])
                layer.adapter = Adapter(a, b, self.scale, self.settings.dropout, seeds[name])
            yield
        finally:
            for layer, adapter in before.items():
                layer.adapter = adapter

    def _dropout_seeds(self, noise: torch.Generator | None) -> dict[str, int | None]:
        """Draw a seed per layer, so that a layer draws the same mask whenever it is run again."""
        if noise is None or not self.settings.dropout:
            return dict.fromkeys(self.names)
        drawn = torch.randint(2**62, (len(self.names),), generator=noise, device=noise.device)
        return dict(zip(self.names, drawn.tolist(), strict=True))

    def arm_parameters(self, arm: int) -> list[nn.Parameter]:
        """Return one arm's own parameters."""
        return [*self.a[arm].parameters(), *self.b[arm].parameters()]

    def arm_tensors(self, arm: int) -> dict[str, tuple[Tensor, Tensor]]:
        """Return one arm's (A ``[r, in]``, B ``[out, r]``) by layer name."""
        return {name: self._tensors(arm, name) for name in self.names}

    @torch.no_grad()
    def set_arm(self, arm: int, tensors: Mapping[str, tuple[Tensor, Tensor]]) -> None:
        """Overwrite one arm; InputError for a layer that is missing or has another shape."""
        odd = sorted(set(tensors) ^ set(self.names))
        if odd:
            raise InputError(f"layer {odd[0]} is in only one of the adapter and the base")
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


def _key(name: str) -> str:
    return name.replace(".", "/")  # names of parameters must not hold dots
