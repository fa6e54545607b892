"""PPO of one arm and of four on a base of Llama-2-13B geometry with random weights, on a GPU.

Prompts are random too, since the time does not depend on the text. Prints one JSON line for each
number of arms; four arms at once compare with four runs of one arm. ``--quantise`` holds the
weights in NF4 (bitsandbytes), ``--checkpointing`` runs layers again in the backward pass.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from importlib import import_module
from typing import Any

import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from ethosteer.bench.ppo import PPOEpisodes, measure_ppo
from ethosteer.models.base import SharedBase
from ethosteer.models.gradient_checkpointing import checkpoint_gradients
from ethosteer.models.identity import POCKET
from ethosteer.models.loading import linear_layers, share

GEOMETRY = LlamaConfig(
    vocab_size=32_000,
    hidden_size=5120,
    intermediate_size=13_824,
    num_hidden_layers=40,
    num_attention_heads=40,
    max_position_embeddings=4096,
)


def random_base(config: LlamaConfig, *, quantise: bool = False, device: str = "cuda") -> SharedBase:
    """Return a base with random weights in bf16 on the GPU; only EOS of its tokenizer is used."""
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    with torch.device(device):
        model = LlamaForCausalLM(config)
    torch.set_default_dtype(torch.float32)
    if quantise:
        quantise_layers(model)
    return share(model, AutoTokenizer.from_pretrained(POCKET))


def quantise_layers(model: Any) -> None:  # noqa: ANN401 (bitsandbytes marks it as quantised)
    """Replace the decoder's linear layers, as transformers does while it loads a model."""
    nn: Any = import_module("bitsandbytes.nn")
    for name, layer in linear_layers(model):
        new = nn.Linear4bit(
            layer.in_features, layer.out_features, bias=False, compute_dtype=torch.bfloat16,
            quant_type="nf4", device="meta",
        )  # fmt: skip
        weight: Any = layer.weight
        new.weight = nn.Params4bit(
            weight.data, requires_grad=False, quant_type="nf4", module=new
        ).to(weight.device)
        model.set_submodule(name, new)
    model.quantization_method = "bitsandbytes"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--arms", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--prompt-tokens", type=int, default=128)
    parser.add_argument("--new-tokens", type=int, default=128)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--quantise", action="store_true", help="NF4 instead of bfloat16")
    parser.add_argument("--checkpointing", action="store_true", help="of gradients")
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("this measurement needs a CUDA device")
    batch, longest = arguments.batch, arguments.prompt_tokens
    base = random_base(GEOMETRY, quantise=arguments.quantise)
    if arguments.checkpointing:
        checkpoint_gradients(base.model)
        base = replace(base, gradient_checkpointing=True)
    noise = torch.Generator().manual_seed(0)
    lengths = torch.randint(32, longest + 1, (batch,), generator=noise).tolist()
    prompts = [torch.randint(3, 32_000, (n,), generator=noise).tolist() for n in lengths]
    measure_ppo(base, prompts, 1, PPOEpisodes(8, 8, epochs=1, minibatches=1, steps=1))  # warm-up
    episodes = PPOEpisodes(
        batch, arguments.new_tokens, epochs=4, minibatches=4, steps=arguments.steps
    )
    for arms in arguments.arms:
        torch.cuda.reset_peak_memory_stats()
        print(json.dumps(measure_ppo(base, prompts, arms, episodes)), flush=True)


if __name__ == "__main__":
    main()
