"""What all training shares: one optimiser per arm, and seeds."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

import torch
from torch import Tensor, nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from ethosteer.models.fast.budget import held_in_memory
from ethosteer.models.sharding import add_up_gradients
from ethosteer.settings import OptimiserSettings


def derived_seed(*purpose: object) -> int:
    """Return a seed of 56 bits derived from a purpose, such as (seed, "prompts", step).

    What arms share must have a purpose without the arm's name: the same prompts and noise for all
    arms make their differences paired.
    """
    digest = sha256(json.dumps(purpose).encode()).digest()
    return int.from_bytes(digest[:7], "big")


def generator(*purpose: object) -> torch.Generator:
    """Return a CPU generator seeded by ``derived_seed(*purpose)``."""
    return torch.Generator().manual_seed(derived_seed(*purpose))


@dataclass(frozen=True, slots=True)
class ArmOptimiser:
    """AdamW, schedule and gradient-norm clip of one arm, independent of every other arm."""

    parameters: list[nn.Parameter]
    adamw: AdamW
    schedule: LambdaLR
    max_grad_norm: float

    @classmethod
    def build(
        cls, parameters: Sequence[nn.Parameter], settings: OptimiserSettings, steps: int
    ) -> ArmOptimiser:
        """Make the optimiser of a run of ``steps`` steps: linear warm-up and, if set, decay."""
        adamw = AdamW(
            parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=False
        )
        warmup = settings.warmup * steps

        def factor(step: int) -> float:
            rise = min(1.0, (step + 1) / (warmup + 1))
            return rise * max(0.0, (steps - step) / steps) if settings.decay else rise

        return cls(list(parameters), adamw, LambdaLR(adamw, factor), settings.max_grad_norm)

    def step(self) -> bool:
        """Take one step with the accumulated gradients, of all processes, and clear them.

        Returns False, and leaves the parameters alone, where a gradient is not finite.
        """
        with held_in_memory("the optimiser's moments"):  # allocated by the first step
            add_up_gradients(self.parameters)
            norm = nn.utils.clip_grad_norm_(self.parameters, self.max_grad_norm)
            finite = bool(torch.isfinite(norm))
            if not finite:
                self.adamw.zero_grad()  # AdamW skips parameters without a gradient
            self.adamw.step()
        self.adamw.zero_grad()
        self.schedule.step()
        return finite

    def copy_parameters(self) -> list[Tensor]:
        """Copy the arm's parameters as they are now."""
        return [parameter.detach().clone() for parameter in self.parameters]

    @torch.no_grad()
    def set_parameters(self, values: Sequence[Tensor]) -> None:
        """Set the arm's parameters to those that ``copy_parameters`` returned."""
        for parameter, value in zip(self.parameters, values, strict=True):
            parameter.copy_(value)

    def tensors(self) -> dict[str, Tensor]:
        """Return parameters and moments by name, for a checkpoint."""
        out = {f"parameter.{i}": p.detach() for i, p in enumerate(self.parameters)}
        for i, state in self.adamw.state_dict()["state"].items():
            out |= {f"state.{i}.{name}": torch.as_tensor(value) for name, value in state.items()}
        return out

    @torch.no_grad()
    def restore(self, tensors: dict[str, Tensor], steps_done: int) -> None:
        """Continue from what ``tensors`` returned after ``steps_done`` steps."""
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            kind, index, *rest = name.split(".")
            if kind == "parameter":
                self.parameters[int(index)].copy_(value)
            else:
                state.setdefault(int(index), {})[rest[0]] = value
        self.adamw.load_state_dict({**self.adamw.state_dict(), "state": state})
        self.schedule.load_state_dict({**self.schedule.state_dict(), "last_epoch": steps_done})
        # a schedule sets the learning rate when it steps, not when its state is loaded
        (rate,), (factor,) = self.schedule.base_lrs, self.schedule.lr_lambdas
        self.adamw.param_groups[0]["lr"] = rate * factor(steps_done)
