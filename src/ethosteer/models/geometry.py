"""The linear layers of a Llama-like base, and which of them an adapter changes, from its shape.

Importable without torch and without the base's files. Other architectures are taken for Llama: a
target that Llama has no layer for counts as a projection of hidden states to hidden states.
"""

from __future__ import annotations

from ethosteer.settings import LoraSettings, ModelShape

ATTENTION, MLP = "self_attn", "mlp"
MODULES = {
    "q_proj": ATTENTION,
    "k_proj": ATTENTION,
    "v_proj": ATTENTION,
    "o_proj": ATTENTION,
    "gate_proj": MLP,
    "up_proj": MLP,
    "down_proj": MLP,
}
"""The linear layers of a decoder layer, in their order, by the module that has them."""


def linear_layers(shape: ModelShape) -> dict[str, tuple[int, int]]:
    """Return the widths (in, out) of the linear layers of one decoder layer by name.

    Queries and keys may have other widths than the hidden states (grouped-query attention; Ainslie
    et al. 2023), and the MLP is gated (Shazeer 2020).
    """
    hidden, inner = shape.hidden, shape.intermediate
    query, key_value = shape.query_width, shape.key_value_width
    return {
        "q_proj": (hidden, query),
        "k_proj": (hidden, key_value),
        "v_proj": (hidden, key_value),
        "o_proj": (query, hidden),
        "gate_proj": (hidden, inner),
        "up_proj": (hidden, inner),
        "down_proj": (inner, hidden),
    }


def decoder_parameters(shape: ModelShape) -> int:
    """Return the number of weights of the decoder's linear layers."""
    return shape.layers * sum(fan_in * fan_out for fan_in, fan_out in linear_layers(shape).values())


def embedding_parameters(shape: ModelShape) -> int:
    """Return the number of weights of the input and output embeddings, one matrix if tied."""
    return shape.vocabulary * shape.hidden * (1 if shape.tied else 2)


def base_parameters(shape: ModelShape) -> int:
    """Return the number of weights of a base; norms and biases are too small to count."""
    return decoder_parameters(shape) + embedding_parameters(shape)


def adapted_layers(shape: ModelShape, lora: LoraSettings) -> list[dict[str, tuple[int, int]]]:
    """Return, for each decoder layer, the widths (in, out) of its adapted linear layers by name."""
    sizes = linear_layers(shape)
    if lora.targets == "all-linear":
        return [sizes] * shape.layers
    last_names = {target.rpartition(".")[2] for target in lora.targets}
    unknown = dict.fromkeys(sorted(last_names - set(sizes)), (shape.hidden, shape.hidden))

    def adapted(layer: int) -> dict[str, tuple[int, int]]:
        names = {name: f".model.layers.{layer}.{module}.{name}" for name, module in MODULES.items()}
        known = {
            name: sizes[name]
            for name, whole in names.items()
            if any(whole.endswith(f".{target}") for target in lora.targets)
        }
        return known | unknown

    return [adapted(layer) for layer in range(shape.layers)]


def adapter_parameters(shape: ModelShape, lora: LoraSettings) -> int:
    """Return the parameters of one arm's adapter: r (in + out) for each adapted layer."""
    return lora.r * sum(
        fan_in + fan_out
        for layer in adapted_layers(shape, lora)
        for fan_in, fan_out in layer.values()
    )
