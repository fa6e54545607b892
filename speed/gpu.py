"""PPO of one arm and of four on a base of Llama-2-13B geometry with random weights, on a GPU.

Prompts are random too, since the time does not depend on the text. Prints one JSON line for each
number of arms; four arms at once compare with four runs of one arm.
"""

from __future__ import annotations

import argparse
import json

import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from ethosteer.bench.ppo import PPOEpisodes, measure_ppo
from ethosteer.models.base import SharedBase
from ethosteer.models.identity import POCKET
from ethosteer.models.loading import share

GEOMETRY = LlamaConfig(
    vocab_size=32_000,
    hidden_size=5120,
    intermediate_size=13_824,
    num_hidden_layers=40,
    num_attention_heads=40,
    max_position_embeddings=4096,
)


def random_base(config: LlamaConfig) -> SharedBase:
    """Return a base with random weights in bf16 on the GPU; only EOS of its tokenizer is used."""
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    with torch.device("cuda"):
        model = LlamaForCausalLM(config)
    torch.set_default_dtype(torch.float32)
    return share(model, AutoTokenizer.from_pretrained(POCKET))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--arms", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--prompt-tokens", type=int, default=128)
    parser.add_argument("--new-tokens", type=int, default=128)
    parser.add_argument("--steps", type=int, default=2)
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("this measurement needs a CUDA device")
    batch, longest = arguments.batch, arguments.prompt_tokens
    base = random_base(GEOMETRY)
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
