"""Reward models of many arms: one adapter bank, a score head each, a common scale."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from transformers import AutoTokenizer

from ethosteer.errors import InputError
from ethosteer.files import read_json, write_atomic, write_json
from ethosteer.models.adapters import load_bank, read_adapter, save_adapter
from ethosteer.models.base import SharedBase
from ethosteer.models.fast.budget import training_tokens
from ethosteer.models.fast.trees import LARGEST_TREE, Tree, pack, row_positions, run_rows, stack
from ethosteer.models.heads import ScalarHeads
from ethosteer.models.lora_bank import LoraBank

NORMALISATION = "normalisation.json"


@dataclass(frozen=True, slots=True)
class RewardModels:
    """Frozen reward models, one per arm.

    A raw score becomes ``gain * score + bias``, fitted so that answers of the base have mean 0 and
    standard deviation 1: the scale on which arms are compared. gain, bias: ``[arms]``.
    """

    bank: LoraBank
    heads: ScalarHeads
    gain: Tensor
    bias: Tensor

    def score(self, base: SharedBase, arm: int, rows: Sequence[Sequence[int]]) -> Tensor:
        """Score token rows by one arm's reward model: normalised, ``[rows]``."""
        raw = score_rows(base, self.bank, self.heads, arm, rows)
        return raw * self.gain[arm] + self.bias[arm]


def raw_scores(
    base: SharedBase,
    bank: LoraBank,
    heads: ScalarHeads,
    arm: int,
    rows: Sequence[Sequence[int]],
    dropout: int | None = None,
) -> Tensor:
    """Score token rows at their last token by one arm, in one pass: ``[rows]``, with gradients.

    Rows that begin alike (the answers to one dialogue) share their common beginning. ``dropout`` is
    the seed of dropout masks, in training.
    """
    keys = [tuple(row) for row in rows]
    trees = pack(keys, base.knee, LARGEST_TREE)
    return _scores_of_trees(base, bank, heads, arm, trees, keys, dropout)


@torch.no_grad()
def score_rows(
    base: SharedBase,
    bank: LoraBank,
    heads: ScalarHeads,
    arm: int,
    rows: Sequence[Sequence[int]],
) -> Tensor:
    """Raw scores of any number of token rows by one arm, ``[rows]``, pass by pass."""
    keys = [tuple(row) for row in rows]

    def score(trees: Sequence[Tree]) -> dict[tuple[int, ...], float]:
        packed_rows = [row for tree in trees for row in tree.paths]
        scores = _scores_of_trees(base, bank, heads, arm, trees, packed_rows)
        return dict(zip(packed_rows, scores.tolist(), strict=True))

    scores: dict[tuple[int, ...], float] = {}
    budget = training_tokens(base, bank.settings, None)
    for part in run_rows(base, "scoring", keys, budget, score):
        scores |= part
    return torch.tensor([scores[key] for key in keys], device=base.device)


def _scores_of_trees(
    base: SharedBase,
    bank: LoraBank,
    heads: ScalarHeads,
    arm: int,
    trees: Sequence[Tree],
    rows: Sequence[tuple[int, ...]],
    dropout: int | None = None,
) -> Tensor:
    """Score ``rows`` of one pass over ``trees``: ``[rows]``."""
    paths = row_positions(trees)
    last = torch.tensor([paths[row][-1] for row in rows], device=base.device)
    packed = stack(trees, base.device, dropout, by_mask=torch.is_grad_enabled())
    with bank.applied([arm]):
        hidden = base.hidden_packed(packed, last)
    scores: Tensor = heads(hidden[0], [arm])
    return scores


def save_reward(
    folder: Path,
    base: SharedBase,
    bank: LoraBank,
    heads: ScalarHeads,
    arm: int,
    scale: tuple[float, float],
) -> None:
    """Write one arm's reward model: a SEQ_CLS adapter with its head, and (gain, bias)."""
    save_adapter(folder, base, bank, arm, score=heads.weights[arm].detach())
    write_atomic(folder / NORMALISATION, json.dumps({"gain": scale[0], "bias": scale[1]}) + "\n")


def read_scale(folder: Path) -> tuple[float, float]:
    """Return a stored reward model's (gain, bias)."""
    stored = read_json(folder / NORMALISATION, dict[str, float])
    scale = stored.get("gain", math.nan), stored.get("bias", math.nan)
    if not all(map(math.isfinite, scale)):
        raise InputError(f"{folder / NORMALISATION}: gain and bias must be finite, found {scale}")
    return scale


def set_padding(base: Path, end_of_turn: int | None) -> None:
    """Have a saved base pad with a token that no row ends with.

    transformers' classifiers read a row at its last token that is not padding. Many chat models pad
    with their end of turn, where a reward model is to be read.
    """
    tokenizer = AutoTokenizer.from_pretrained(base, trust_remote_code=False)
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id == end_of_turn:
        candidates = (tokenizer.unk_token_id, tokenizer.eos_token_id, tokenizer.bos_token_id,
                      *tokenizer.added_tokens_decoder)  # fmt: skip
        others = [index for index in candidates if index not in (None, end_of_turn)]
        if not others:
            return
        tokenizer.pad_token = tokenizer.convert_ids_to_tokens(others[0])
        tokenizer.save_pretrained(base)
    config = json.loads((base / "config.json").read_text("utf-8"))
    write_json(base / "config.json", {**config, "pad_token_id": tokenizer.pad_token_id})


def load_rewards(base: SharedBase, folders: Sequence[Path]) -> RewardModels:
    """Load stored reward models into one bank, an arm each."""
    bank = load_bank(base, {str(arm): folder for arm, folder in enumerate(folders)}, "SEQ_CLS")
    heads = ScalarHeads(len(folders), base.hidden_size, bias=False)
    scales = [read_scale(folder) for folder in folders]
    with torch.no_grad():
        for arm, folder in enumerate(folders):
            _, score = read_adapter(folder)
            assert score is not None, "load_bank has refused an adapter without its head"
            if score.shape != heads.weights[arm].shape:
                raise InputError(
                    f"{folder}: the head of the reward model has shape {list(score.shape)}, and "
                    f"the base's last hidden state is {base.hidden_size} wide"
                )
            heads.weights[arm].copy_(score)
    return RewardModels(
        bank,
        heads.to(base.device).requires_grad_(False),
        torch.tensor([gain for gain, _ in scales], device=base.device),
        torch.tensor([bias for _, bias in scales], device=base.device),
    )
