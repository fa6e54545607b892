"""The last layer's MLP at the positions that are read, and nowhere else.

Nothing after the last attention mixes positions, and of most rows few hidden states are read: those
that predict the response, or a reward's last token.
"""

from __future__ import annotations

from contextvars import ContextVar
from types import MethodType
from typing import Any

from torch import Tensor, nn

READ: ContextVar[Tensor | None] = ContextVar("READ", default=None)
"""The positions ``[m]`` that the pass of this thread reads of every block; None for all."""


def narrow_last_layer(layer: nn.Module) -> None:
    """Let the last layer of a pre-norm decoder (Llama's form) follow ``READ``.

    Whether a layer has that form is tried when the model is loaded; ``widen`` undoes it.
    """
    layer.forward = MethodType(_forward, layer)  # a module around it would rename its weights


def widen(layer: nn.Module) -> None:
    """Give a layer its own class's forward back."""
    del layer.__dict__["forward"]


def _forward(self: Any, hidden_states: Tensor, *args: Any, **settings: Any) -> Tensor:  # noqa: ANN401
    """hidden_states: ``[blocks, n, hidden]`` -> ``[blocks, m, hidden]``."""
    at = READ.get()
    if at is None:
        whole: Tensor = type(self).forward(self, hidden_states, *args, **settings)
        return whole
    states = self.input_layernorm(hidden_states)
    attended, _ = self.self_attn(*args, hidden_states=states, **settings)
    read: Tensor = (hidden_states + attended).index_select(1, at)
    out: Tensor = self.mlp(self.post_attention_layernorm(read)).add(read)
    return out
