"""Numbers that are not finite are refused where they arise, by name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from unittest.mock import MagicMock

import pytest
import torch

from ethosteer import catalog
from ethosteer.errors import InputError
from ethosteer.evaluation.answering import answer_items
from ethosteer.models.base import SharedBase
from ethosteer.models.finetuning import finetune
from ethosteer.models.lora_bank import LoraBank
from ethosteer.models.pairs import EncodedPair
from ethosteer.models.reward_training import RewardTraining
from ethosteer.records import Item, Model
from ethosteer.settings import FinetuneSettings, RewardSettings
from ethosteer.stages import cross
from ethosteer.stages.finetune import rising
from tests import tiny

MODELS = (Model("duty", 0), Model("virtue", 1))
ITEMS = [
    Item("good", ("Is it?",) * 2, (" No", " Yes"), 0, "good"),
    Item("bad", ("Was it?",) * 2, (" No", " Yes"), 1, "bad"),
]


@contextmanager
def _broken(base: SharedBase) -> Iterator[None]:
    """Two arms, the second of which has an adapter of nan."""
    bank = tiny.fill(LoraBank(base.layers, 2, tiny.lora(), seed=0))
    with torch.no_grad():
        for parameter in bank.arm_parameters(1):
            parameter.fill_(float("nan"))
    with bank.applied():
        yield


def test_a_log_likelihood_of_nan_names_model_and_item(llama: SharedBase) -> None:
    benchmark = catalog.benchmark("toxigen")
    report = lambda *_: None  # noqa: E731
    with (
        _broken(llama),
        pytest.raises(InputError, match=r"^virtue-s1, toxigen, item (good|bad): a log-likel.* nan"),
    ):
        answer_items(llama, MODELS, benchmark, ITEMS, None, 1024, report)


def test_a_generated_answer_of_nan_names_model_and_item(llama: SharedBase) -> None:
    benchmark = replace(
        catalog.benchmark("toxigen"), name="open", new_tokens=2, parse=lambda item, text: 0
    )
    items = [replace(item, contexts=item.contexts[:1], continuations=()) for item in ITEMS]
    report = lambda *_: None  # noqa: E731
    with (
        _broken(llama),
        pytest.raises(InputError, match=r"^virtue-s1, open, item (good|bad): the state behind"),
    ):
        answer_items(llama, MODELS, benchmark, items, None, 1024, report)


def _pairs() -> list[EncodedPair]:
    rows = tiny.ragged(8, 8, 12)
    return [EncodedPair(a, [*a[:4], *b[4:]], 4, str(a)) for a, b in zip(rows, rows[1:] + rows[:1])]  # noqa: B905


def _training(base: SharedBase) -> RewardTraining:
    settings = RewardSettings(batch=4, epochs=1.0, lora=tiny.lora())
    return RewardTraining(base, [_pairs()], settings, 0, names=["virtue-s0"])


def test_a_reward_model_that_diverges_is_refused(llama: SharedBase, tmp_path: Path) -> None:
    training = _training(llama)
    with torch.no_grad():
        training.heads.weights[0].fill_(float("inf"))
    with pytest.raises(InputError, match=r"^reward model virtue-s0: the loss at step 0 is nan"):
        training.train(tmp_path, lambda *_: None)


def test_held_out_scores_of_nan_are_refused(llama: SharedBase) -> None:
    training = _training(llama)
    with torch.no_grad():
        training.heads.weights[0].fill_(float("nan"))
    with pytest.raises(InputError, match=r"^reward model virtue-s0: the score of held-out pair 0 "):
        training.held_out(0, _pairs())
    with pytest.raises(InputError, match=r"the score of the base's answer 0 is nan"):
        training.normalisation(0, tiny.ragged(3, 4, 6))


@pytest.mark.parametrize("scored", ["answers of duty", "pairs of virtue"])
def test_a_reward_of_nan_under_another_arms_reward_model_is_refused(
    scored: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage, rewards = MagicMock(), MagicMock()
    stage.rewards = [MagicMock(), MagicMock()]
    for reward, name in zip(stage.rewards, ("duty", "virtue"), strict=True):
        reward.arm.name = name
    stage.reward.sampling.sampling().scored_rows.return_value = ["an answer", "an answer"]
    # scores come in turn: each reward model's of the answers, then of each dataset's pairs
    whole, broken = torch.zeros(2), torch.tensor([0.5, float("nan")])
    virtue = [broken] if scored == "answers of duty" else [whole, whole, broken]
    rewards.score.side_effect = [whole, whole, whole, *virtue]
    monkeypatch.setattr("ethosteer.models.reward_models.load_rewards", lambda *_: rewards)
    monkeypatch.setattr("ethosteer.models.pairs.encode", lambda *_: [])
    monkeypatch.setattr("ethosteer.models.pairs.response_rows", lambda _: [])
    monkeypatch.setattr(cross, "answers_of_all", lambda *_: {"duty": []})
    monkeypatch.setattr(cross, "ranked_by_hash", lambda *_: [])
    name = f"reward model virtue, {scored}"
    with pytest.raises(InputError, match=rf"^{name}: score 1 is nan, .*; delete the artifact"):
        cross.Cross._scores(MagicMock(steering=(stage,)), MagicMock())


def test_a_fine_tuning_that_diverges_is_refused(
    llama: SharedBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = tiny.whole_rows(tiny.ragged(4, 6, 9))
    settings = FinetuneSettings(enabled=True, batch=2, epochs=1.0, lora=tiny.lora())
    monkeypatch.setattr("ethosteer.models.finetuning.accumulate_nll", lambda *_, **__: float("nan"))
    with pytest.raises(InputError, match=r"^fine-tuning: the loss at step 0 is nan"):
        finetune(llama, rows, settings, tmp_path, lambda *_: None)


def test_a_loss_that_rose_is_told() -> None:
    assert rising([3.0, 2.0] * 20) == ""
    assert rising([2.0] * 5 + [9.0] * 5) == "", "too few"
    assert "ended with a loss of 9.000, which began at 2.000" in rising([2.0] * 20 + [9.0] * 20)
