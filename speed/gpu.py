"""PPO of one arm and of four on a base of Llama-2-13B geometry with random weights, on a GPU.

Prompts are random too: nothing here depends on what the words are. Prints one JSON line for each
number of arms; four arms are to be held against four runs of one.
"""

from __future__ import annotations

import argparse
import json

import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from ethosteer.bench.measure import PPOEpisodes, measure_ppo
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
    """Make a base with random weights in bf16 on the GPU; its tokenizer is only asked for EOS."""
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
    given = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("no GPU here")
    base = random_base(GEOMETRY)
    noise = torch.Generator().manual_seed(0)
    episodes = PPOEpisodes(given.batch, given.prompt_tokens, given.new_tokens, 4, 4, given.steps)
    lengths = torch.randint(32, given.prompt_tokens + 1, (given.batch,), generator=noise).tolist()
    prompts = [torch.randint(3, 32_000, (n,), generator=noise).tolist() for n in lengths]
    measure_ppo(base, prompts, 1, PPOEpisodes(8, given.prompt_tokens, 8, 1, 1, 1))  # warms up
    for arms in given.arms:
        torch.cuda.reset_peak_memory_stats()
        print(json.dumps(measure_ppo(base, prompts, arms, episodes)), flush=True)


if __name__ == "__main__":
    main()
