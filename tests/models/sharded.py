"""What one process and two do alike: run by torchrun, and by the tests themselves.

``python -m tests.models.sharded FOLDER`` reads ``FOLDER/llama`` and leaves what each process made.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from ethosteer import processes
from ethosteer.models import reward_training
from ethosteer.models.adapters import save_adapter, with_fine_tuning
from ethosteer.models.base import SharedBase
from ethosteer.models.finetuning import finetune
from ethosteer.models.generation import Sampling, generate
from ethosteer.models.loading import load_base
from ethosteer.models.log_likelihood import log_likelihoods, plan_requests
from ethosteer.models.lora_bank import LoraBank
from ethosteer.models.pairs import accumulate_nll
from ethosteer.models.reward_training import RewardTraining
from ethosteer.models.sharding import add_up_gradients
from ethosteer.records import Item
from ethosteer.settings import BaseSettings, FinetuneSettings, OptimiserSettings, RewardSettings
from tests import tiny

STEPS = 20
HALF = 10
# a gradient that is nothing but rounding moves its weight by the whole rate in AdamW's first step
OPTIMISER = OptimiserSettings(learning_rate=1e-3, warmup=0.5)
TRAINED = ("reward", "ppo", "rloo", "dpo", "best_of_n", "finetune")
RESUMED = ("reward", "ppo")
BELOW = "below"
"""The folder of fine-tuning's adapter."""
BASES: dict[str, dict[str, Any]] = {
    "fine-tuned": {},
    "checkpointed": {"gradient_checkpointing": True},
    "bfloat16": {"dtype": "bfloat16"},
    "float16": {"dtype": "float16"},
    "float16, checkpointed": {"dtype": "float16", "gradient_checkpointing": True},
}
"""Fine-tuned bases of several kinds, by what is particular of each."""


def load(folder: Path, **settings: Any) -> SharedBase:
    return load_base(BaseSettings(model=str(folder / "llama"), device="cpu", **settings))


def load_fine_tuned(folder: Path, name: str) -> SharedBase:
    """Return a view of the base, of one of ``BASES``, with a frozen adapter below the arms'."""
    return with_fine_tuning(load(folder, **BASES[name]), folder / BELOW)


def save_fine_tuning(folder: Path) -> None:
    """Write that adapter, for the raw base in ``folder``."""
    base = load(folder)
    bank = tiny.fill(LoraBank(base.layers, 1, tiny.lora(targets=("q_proj", "up_proj")), seed=0))
    save_adapter(folder / BELOW, base, bank, arm=0)


def gradients(base: SharedBase) -> Tensor:
    """Return a loss and its gradients: passes of unequal sizes, more than there are processes."""
    bank = tiny.fill(LoraBank(base.layers, 1, tiny.lora(dropout=0.1), seed=1), seed=1)
    rows = tiny.whole_rows(tiny.ragged(9, 4, 30))
    with bank.applied():
        loss = accumulate_nll(base, rows, token_budget=40, dropout=7)
    parameters = bank.arm_parameters(0)
    add_up_gradients(parameters)
    flat = [parameter.grad.flatten() for parameter in parameters if parameter.grad is not None]
    assert len(flat) == len(parameters)
    return torch.cat([*flat, torch.tensor([loss])])


def answers(base: SharedBase) -> Tensor:
    """Return answers of two arms, all of one length, and those of the base by itself."""
    sampling, prompts = Sampling(6, 6, ignore_eos=True), tiny.ragged(3, 2, 9)
    bank = tiny.fill(LoraBank(base.layers, 2, tiny.lora(), seed=1))
    alone = generate(base, prompts, 1, sampling, torch.Generator().manual_seed(0))
    with bank.applied():
        arms = generate(base, prompts, 2, sampling, torch.Generator().manual_seed(0))
    return torch.tensor([*alone, *arms])


def run_fine_tuned(folder: Path, name: str) -> dict[str, Tensor]:
    """Return what a fine-tuned base gives."""
    base = load_fine_tuned(folder, name)
    return {
        f"{name}: gradients": gradients(base),
        f"{name}: scores": scores(base),
        f"{name}: answers": answers(base),
    }


def train(name: str, base: SharedBase, checkpoints: Path) -> Tensor:
    """Return what a training has learned, as one vector: ``STEPS`` steps, or a few."""
    checkpoints.mkdir(parents=True, exist_ok=True)
    if name == "reward":
        return train_rewards(base, checkpoints)
    if name == "finetune":
        settings = FinetuneSettings(
            batch=5, max_steps=3, epochs=9, lora=tiny.lora(dropout=0.1), optimiser=OPTIMISER
        )
        rows = tiny.whole_rows(tiny.ragged(23, 4, 30))
        bank, losses = finetune(base, rows, settings, checkpoints, tiny.quiet)
        return torch.cat([_flat(bank.arm_parameters(0)), torch.tensor(losses)])
    run = tiny.steering(
        name,
        base,
        steps=STEPS if name in RESUMED else 3, batch=4, epochs=1, tokens_per_batch=30,
        measure_every=HALF, checkpoint_every=HALF, held_out_prompts=2,
        optimiser=OPTIMISER, lora=tiny.lora(dropout=0.1),
    )  # fmt: skip
    run.train(checkpoints, tiny.quiet)
    rewards = [point.reward for curve in run.curves for point in curve]
    return torch.cat([tiny.flat(run, 0), tiny.flat(run, 1), torch.tensor(rewards)])


def train_rewards(base: SharedBase, checkpoints: Path) -> Tensor:
    """Train two reward models, one of which has fewer pairs than there are processes."""
    settings = RewardSettings(
        epochs=1.0, batch=5, tokens_per_batch=50, lora=tiny.lora(dropout=0.1), optimiser=OPTIMISER
    )
    sets = [tiny.random_pairs(5 * STEPS, seed=1), tiny.random_pairs(1, seed=2)]
    reward_training.CHECKPOINT_EVERY = HALF
    training = RewardTraining(base, sets, settings, 3, [tiny.random_pairs(7, seed=3)] * 2)
    training.train(checkpoints, tiny.quiet)
    curves = [point.loss for curve in training.validation for point in curve]
    losses = [loss for arm in training.losses for loss in arm]
    return torch.cat(
        [_flat(training.optimisers[arm].parameters) for arm in range(2)]
        + [torch.tensor(losses + curves)]
    )


def _flat(parameters: list[torch.nn.Parameter]) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in parameters])


def scores(base: SharedBase) -> Tensor:
    """Return log-likelihoods of items of unequal lengths, in passes of unequal sizes."""
    texts = [f"{index}. {' '.join(tiny.SENTENCES[: 1 + index % 3])}" for index in range(9)]
    items = [Item(text[0], (text,) * 2, (" yes", " no"), 0, text[0]) for text in texts]
    plan = plan_requests(base, items)
    found = [
        (score.request.item, score.request.choice, float(score.log_likelihoods[0]))
        for batch in log_likelihoods(base, plan, 1, 70)
        for score in batch
    ]
    return torch.tensor([value for *_, value in sorted(found)])


def held_bytes(base: SharedBase) -> tuple[int, int]:
    """Return the bytes of the decoder's weights, and those that this process holds."""
    weights = list(base.model.get_decoder().parameters())
    held = [getattr(weight, "to_local", lambda w=weight: w)() for weight in weights]
    return sum(weight.nbytes for weight in weights), sum(part.nbytes for part in held)


def main() -> None:
    folder = Path(sys.argv[1])
    torch.set_num_threads(1)
    base = load(folder)
    made = {name: train(name, base, folder / "two" / name) for name in TRAINED}
    # from checkpoints of one process
    made |= {f"{name} resumed": train(name, base, folder / "one" / name) for name in RESUMED}
    made["scores"] = scores(base)
    for name in BASES:
        made |= run_fine_tuned(folder, name)
    made["bytes"] = torch.tensor(held_bytes(base))
    save_file(made, folder / f"process-{processes.rank()}.safetensors")


if __name__ == "__main__":
    main()
