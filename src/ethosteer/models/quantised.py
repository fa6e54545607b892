"""Quantised bases: linear layers whose frozen weights bitsandbytes holds in 4 or 8 bits.

NF4 with double quantisation (QLoRA; Dettmers et al. 2023), or 8-bit integers with one scale a row.
transformers loads them; here they are made fit to train adapters on. Activations have the number
format of the base, forward and backward, and no row's numbers depend on the rows beside it.
"""

from __future__ import annotations

from copy import copy
from importlib.util import find_spec
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional
from transformers import BitsAndBytesConfig, PreTrainedConfig, PreTrainedModel

from ethosteer import processes
from ethosteer.errors import InputError
from ethosteer.models import no_kernels  # noqa: F401 (before transformers imports bitsandbytes)
from ethosteer.models.identity import quantisation_method
from ethosteer.settings import BaseSettings

LARGEST_INT8 = 127


def check_quantised(settings: BaseSettings, config: PreTrainedConfig) -> None:
    """Raise InputError where a base cannot run quantised as it is asked for, or as it is stored.

    ``config`` is the base's; no weights are read. Weights that were stored quantised by another
    method than bitsandbytes are left to transformers, and to the checks of a loaded base.
    """
    stored = stored_quantisation(config)
    asked = f"base.quantise = {settings.quantise!r}"
    if stored is None and settings.quantise is None:
        return
    subject = f"model {settings.model}"
    if processes.count() > 1:
        raise InputError(
            (asked if settings.quantise else f"{subject}, stored in {stored}")
            + ": quantised weights cannot be sharded over processes; start one, or use full weights"
        )
    if stored is not None:
        if settings.quantise not in (None, stored):
            raise InputError(
                f"{asked}: {subject} is stored in {stored} already; leave the setting out, or use "
                "its weights in full precision"
            )
        if settings.autocast:
            raise InputError(
                f"base.autocast: {subject} is stored in {stored}, and autocast is for weights in "
                "float32; leave it out, and set base.dtype = 'bfloat16'"
            )
    if stored in (None, "nf4", "fp4", "int8") and find_spec("bitsandbytes") is None:
        raise InputError(
            (asked if settings.quantise else f"{subject}, stored in {stored},")
            + " needs the package bitsandbytes: pip install 'ethosteer[quantise]'"
        )


def stored_quantisation(config: PreTrainedConfig) -> str | None:
    """Return how a base's weights are stored: nf4, fp4, int8, another method's name, or None."""
    stored: Any = getattr(config, "quantization_config", None) or getattr(
        config.get_text_config(), "quantization_config", None
    )
    if not stored:
        return None
    return quantisation_method(stored if isinstance(stored, dict) else stored.to_dict())


def quantisation_config(quantise: str, dtype: torch.dtype) -> BitsAndBytesConfig:
    """Return what transformers quantises by: ``quantise`` is "nf4" or "int8"."""
    if quantise == "int8":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=quantise,
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )


def quantised_layers(model: PreTrainedModel) -> dict[str, Any]:
    """Return a model's layers of bitsandbytes by name: Linear4bit and Linear8bitLt."""
    if getattr(model, "quantization_method", None) != "bitsandbytes":
        return {}
    from bitsandbytes.nn.modules import Linear4bit, Linear8bitLt

    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, Linear4bit | Linear8bitLt)
    }


def scales(model: PreTrainedModel) -> dict[str, Tensor]:
    """Return the scales of a model's quantised weights, which are not finite where these were not.

    Call it before the model is prepared for training.
    """
    by_name = {}
    for name, layer in quantised_layers(model).items():
        state = getattr(layer.weight, "quant_state", None)
        if state is None:
            by_name[f"{name}.weight"] = layer.weight.SCB
        else:  # of double quantisation the offset is a mean, so that it shows every scale
            by_name[f"{name}.weight"] = state.offset if state.nested else state.absmax
    return by_name


def mismatched_shapes(
    model: PreTrainedModel,
) -> list[tuple[str, tuple[int, ...], tuple[int, ...]]]:
    """Return quantised weights that do not fit their layers: name, stored shape, shape needed.

    transformers does not compare them, since 4-bit weights are packed.
    """
    wrong: list[tuple[str, tuple[int, ...], tuple[int, ...]]] = []
    for name, layer in quantised_layers(model).items():
        state = getattr(layer.weight, "quant_state", None)
        stored = tuple(layer.weight.shape if state is None else state.shape)
        needed = int(layer.out_features), int(layer.in_features)
        if stored != needed:
            wrong.append((f"{name}.weight", stored, needed))
    return wrong


def prepare_for_training(model: PreTrainedModel) -> None:
    """Have the quantised layers of a model in evaluation mode compute exactly, and pass gradients.

    Linear8bitLt, and Linear4bit on a processor, are replaced. On a GPU Linear4bit stays, for its
    fast products, in training mode: in evaluation mode it may choose others, without a gradient. It
    has no dropout.
    """
    dtype = model.dtype
    for name, layer in quantised_layers(model).items():
        state = getattr(layer.weight, "quant_state", None)
        if state is None:
            model.set_submodule(name, Int8Linear.of(layer))
        elif layer.weight.device.type == "cpu":
            model.set_submodule(name, FourBitLinear.of(layer))
        else:
            layer.train()
            # what weights were stored in must not round activations or gradients
            layer.compute_dtype, layer.compute_type_is_set = dtype, True
            state.dtype = dtype


class QuantisedLinear(nn.Linear):
    """Frozen quantised weights, multiplied in the number format of their input.

    Only one layer's are in full precision at a time: no pass keeps them.
    """

    @classmethod
    def of(cls, layer: Any) -> Self:  # noqa: ANN401 (of bitsandbytes, which may not be there)
        """Return a layer with the weights of bitsandbytes', where they are to stay."""
        out = cls(layer.in_features, layer.out_features, layer.bias is not None, device="meta")
        out.weight = nn.Parameter(layer.weight.data, requires_grad=False)
        out.bias = layer.bias
        return out.train(layer.training)

    def forward(self, input: Tensor) -> Tensor:
        """input: ``[..., in]`` -> ``[..., out]``."""
        product: Tensor = _Product.apply(input, self)  # type: ignore[no-untyped-call]
        return product

    def full_weight(self, dtype: torch.dtype) -> Tensor:
        """Return the weight in full precision, ``[out, in]``."""
        raise NotImplementedError


class Int8Linear(QuantisedLinear):
    """Weights of 8 bits with a scale for each row.

    The product of bitsandbytes on GPUs rounds activations to 8 bits too, apart from those columns
    in which any token of the batch is large (LLM.int8(); Dettmers et al. 2022), so that a row's
    numbers would depend on its neighbours. On processors in training it is this one.
    """

    scales: Tensor

    @classmethod
    def of(cls, layer: Any) -> Self:  # noqa: ANN401
        """Return a layer with the weights of a Linear8bitLt."""
        out = super().of(layer)
        row_maxima = layer.weight.SCB if layer.state.SCB is None else layer.state.SCB
        out.register_buffer("scales", row_maxima.unsqueeze(1) / LARGEST_INT8)
        return out

    def full_weight(self, dtype: torch.dtype) -> Tensor:
        """Return the weight in full precision, ``[out, in]``."""
        return self.weight.to(dtype).mul_(self.scales)


class FourBitLinear(QuantisedLinear):
    """Weights of 4 bits with a scale for each 64 of them, on a processor.

    Rows lie end to end in blocks of 64. bitsandbytes 0.50 for processors has each row begin with a
    new block, which is wrong where its length is no multiple of 64. So it gets one long row.
    """

    state: Any

    @classmethod
    def of(cls, layer: Any) -> Self:  # noqa: ANN401
        """Return a layer with the weights of a Linear4bit."""
        out = super().of(layer)
        out.state = copy(layer.weight.quant_state)
        out.state.shape = torch.Size((1, layer.out_features * layer.in_features))
        return out

    def full_weight(self, dtype: torch.dtype) -> Tensor:
        """Return the weight in full precision, ``[out, in]``."""
        from bitsandbytes.functional import dequantize_4bit

        self.state.dtype = dtype
        weight: Tensor = dequantize_4bit(self.weight, self.state)
        return weight.view(self.out_features, self.in_features)


class _Product(torch.autograd.Function):
    """A product that keeps neither its input nor its weight in full precision for the gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: QuantisedLinear) -> Tensor:  # noqa: ANN401 (torch's own)
        ctx.layer = layer
        return functional.linear(x, layer.full_weight(x.dtype), layer.bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401
        return gradient @ ctx.layer.full_weight(gradient.dtype), None
