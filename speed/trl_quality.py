"""TRL's side of quality.py, run in the peer's environment.

    python trl_quality.py MODEL REWARD IN OUT

IN holds the design with pairs and prompts as token ids; REWARD is the folder of a reward model's
adapter. OUT gets the held-out accuracy of each seed's reward model, and each seed's curve of PPO.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from peft import LoraConfig, PeftModel
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedTokenizerBase,
    set_seed,
)
from trl import RewardConfig, RewardTrainer
from trl.experimental.ppo import PPOConfig, PPOTrainer

from datasets import Dataset

TARGETS = ["q_proj", "v_proj"]
QUIET = {"report_to": [], "use_cpu": True, "bf16": False, "save_strategy": "no",
         "logging_steps": 10**6, "gradient_checkpointing": False}  # fmt: skip


def classifier(model: str, padding: int) -> torch.nn.Module:
    """Return the base with a head of one number."""
    loaded: torch.nn.Module = AutoModelForSequenceClassification.from_pretrained(
        model, num_labels=1
    )
    loaded.config.pad_token_id = padding  # type: ignore[union-attr]
    return loaded


@torch.no_grad()
def score(model: torch.nn.Module, row: list[int]) -> float:
    """Score one row, without padding."""
    return float(model(input_ids=torch.tensor([row])).logits[0, 0])


def reward_accuracy(
    model: str, tokenizer: PreTrainedTokenizerBase, design: SimpleNamespace, seed: int
) -> float:
    """Train a reward model and return its accuracy on the held-out pairs."""
    set_seed(seed)
    names = ("chosen_ids", "rejected_ids")
    rows = [dict(zip(names, pair, strict=True)) for pair in design.pairs_ids[design.held_out :]]
    trainer = RewardTrainer(
        model=classifier(model, tokenizer.pad_token_id),
        args=RewardConfig(
            output_dir=tempfile.mkdtemp(), per_device_train_batch_size=design.pairs,
            num_train_epochs=1, learning_rate=design.learning_rate, seed=seed,
            max_length=design.longest_pair, disable_tqdm=True, **QUIET,
        ),
        processing_class=tokenizer,
        train_dataset=Dataset.from_list(rows),
        peft_config=LoraConfig(
            r=8, lora_alpha=32, lora_dropout=0.0, task_type="SEQ_CLS", target_modules=TARGETS
        ),
    )  # fmt: skip
    trainer.train()
    trained = trainer.model.eval()
    held_out = design.pairs_ids[: design.held_out]
    right = [score(trained, chosen) > score(trained, rejected) for chosen, rejected in held_out]
    return sum(right) / len(right)


def ppo_curve(
    model: str,
    reward: str,
    tokenizer: PreTrainedTokenizerBase,
    design: SimpleNamespace,
    seed: int,
) -> list[tuple[float, float]]:
    """Train a policy by PPO; return the reward and KL (nats per response) of every step."""
    set_seed(seed)
    base = classifier(model, tokenizer.pad_token_id)
    reward_model = PeftModel.from_pretrained(base, reward).merge_and_unload()
    critic = classifier(model, tokenizer.pad_token_id)
    if design.peer_critic == "head":
        critic.base_model.requires_grad_(False)
    prompts = Dataset.from_dict({"input_ids": design.prompts_ids})
    episodes = design.episodes
    trainer = PPOTrainer(
        args=PPOConfig(
            output_dir=tempfile.mkdtemp(), per_device_train_batch_size=episodes, seed=seed,
            num_mini_batches=design.minibatches, total_episodes=episodes * design.steps,
            num_ppo_epochs=design.epochs, response_length=design.new_tokens,
            learning_rate=design.learning_rate, num_sample_generations=0,
            local_rollout_forward_batch_size=episodes, kl_coef=design.kl_coefficient,
            eval_strategy="no", temperature=1.0, missing_eos_penalty=None, **QUIET,
        ),
        processing_class=tokenizer,
        model=AutoModelForCausalLM.from_pretrained(model),
        ref_model=None,
        reward_model=reward_model,
        value_model=critic,
        train_dataset=prompts,
        eval_dataset=prompts.select(range(4)),
        peft_config=LoraConfig(
            r=16, lora_alpha=32, lora_dropout=0.0, task_type="CAUSAL_LM", target_modules=TARGETS
        ),
    )  # fmt: skip
    curve = []
    trainer.log = lambda metrics, *_: curve.append(
        (metrics["objective/scores"], metrics["objective/kl"])
    )
    trainer.train()
    return curve


def main() -> None:
    """Train with every seed and write what came of it."""
    model, reward, given, out = sys.argv[1:]
    design = SimpleNamespace(**json.loads(Path(given).read_text("utf-8")))
    tokenizer = AutoTokenizer.from_pretrained(model, padding_side="left")
    result: dict[str, list[Any]] = {"accuracy": [], "curves": []}
    for seed in design.seeds:
        result["accuracy"].append(reward_accuracy(model, tokenizer, design, seed))
        print(f"TRL, seed {seed}: accuracy {result['accuracy'][-1]:.3f}", flush=True)
    for seed in design.seeds:
        result["curves"].append(ppo_curve(model, reward, tokenizer, design, seed))
        print(f"TRL, seed {seed}: reward, KL {result['curves'][-1][-1]}", flush=True)
    Path(out).write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main()
