"""The bytes that a token of a training pass keeps in memory, from a base's shape.

Read off transformers' Llama layer, ``ArmLinear`` (models/lora_bank.py) and the attention of
fast/attention.py; ``tests/models/fast/test_activations.py`` compares them with the tensors that
autograd saves. Importable without torch.
"""

from __future__ import annotations

from collections.abc import Collection

from ethosteer.models.fast import LONGEST, QUERY_BLOCK
from ethosteer.models.geometry import MODULES, adapted_layers
from ethosteer.settings import LoraSettings, ModelShape

FLOAT32 = 4
ATTENTION_INPUTS, MLP_INPUTS = ("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj")

Widths = dict[str, tuple[int, int]]


def activation_bytes(
    shape: ModelShape,
    lora: LoraSettings,
    width: int,
    scores: float = 0.0,
    *,
    checkpointing: bool = False,
) -> float:
    """Return the bytes that one token keeps for the backward pass, without its logits.

    ``width`` is the bytes of a number of the base, ``scores`` what attention keeps of a token
    beside queries, keys, values and outputs (``score_bytes``). Below the lowest adapted layer
    nothing is kept. With ``checkpointing`` (Chen et al. 2016) each layer keeps its input alone, and
    the layer that is being computed again all of its own.
    """
    layers = adapted_layers(shape, lora)
    lowest = next((index for index, adapted in enumerate(layers) if adapted), None)
    if lowest is None:
        return 0.0
    kept = [
        _layer_bytes(shape, lora, adapted, width, scores, is_lowest=index == 0)
        for index, adapted in enumerate(layers[lowest:])
    ]
    # the last norm's input; cosines and sines of positions, which all layers share
    shared = FLOAT32 * shape.hidden + 2 * width * shape.head_width
    if checkpointing:
        return shared + len(kept) * width * shape.hidden + max(kept)
    return shared + sum(kept)


def score_bytes(shape: ModelShape, width: int, row: int, *, on_gpu: bool) -> float:
    """Return what attention keeps of a token's scores in a row of ``row`` tokens.

    A processor keeps the weights of short rows, by blocks of queries without most later keys
    (fast/attention.py); elsewhere each head keeps the logarithm of a sum in fp32 (FlashAttention;
    Dao et al. 2022).
    """
    if on_gpu or row > LONGEST:
        return FLOAT32 * shape.query_heads
    scores = 0  # of a head, in the whole row
    for start in range(0, row, QUERY_BLOCK):
        stop = min(start + QUERY_BLOCK, row)
        scores += (stop - start) * stop
    return width * shape.query_heads * scores / row


def _layer_bytes(
    shape: ModelShape,
    lora: LoraSettings,
    adapted: Widths,
    width: int,
    scores: float,
    *,
    is_lowest: bool,
) -> float:
    """Return what a token keeps of one layer; of the lowest adapted one, from its adapter on."""
    # The norm's input in fp32, and the scale that it is multiplied by.
    norm = FLOAT32 * (shape.hidden + 1)
    # Frozen projections keep nothing. Attention keeps queries, keys, values and its output.
    attention = 2 * width * (shape.query_width + shape.key_value_width) + scores
    if shape.head_norms:  # their inputs in fp32, with a scale for each head
        heads = (shape.query_width + shape.key_value_width) // shape.head_width
        attention += FLOAT32 * (shape.query_width + shape.key_value_width + heads)
    # SiLU keeps its input, and the product of gate and up both of its factors.
    mlp = 3 * width * shape.intermediate
    others = [name for name in adapted if name not in MODULES]
    groups = (
        (norm, (*ATTENTION_INPUTS, *others)),
        (attention, ("o_proj",)),
        (norm, MLP_INPUTS),
        (mlp, ("down_proj",)),
    )
    kept, has_gradient = 0.0, not is_lowest
    for before, names in groups:
        if has_gradient:
            kept += before
        kept += _adapter_bytes(lora, adapted, names, width, has_gradient=has_gradient)
        has_gradient = has_gradient or any(name in adapted for name in names)
    return kept


def _adapter_bytes(
    lora: LoraSettings,
    adapted: Widths,
    names: Collection[str],
    width: int,
    *,
    has_gradient: bool,
) -> float:
    """Return what a token keeps of the adapters ``names``, which read the same input.

    Each keeps its product with A, in fp32, and its input: what dropout leaves of it, with a mask of
    one byte a number where the input has a gradient; else an fp32 copy, or in an fp32 base the
    input itself, once for all.
    """
    inputs = [adapted[name][0] for name in names if name in adapted]
    if not inputs:
        return 0.0
    products = FLOAT32 * lora.r * len(inputs)
    if lora.dropout:
        return products + (FLOAT32 + has_gradient) * sum(inputs)
    if width == FLOAT32:
        return products + FLOAT32 * inputs[0]
    return products + FLOAT32 * sum(inputs)
