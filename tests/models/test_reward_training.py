"""Reward models learn their arm's order, whatever runs beside it and however it is cut."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ethosteer.models import reward_training
from ethosteer.models.base import SharedBase
from ethosteer.models.loading import load_base
from ethosteer.models.pairs import EncodedPair, encode
from ethosteer.models.reward_models import load_rewards, save_reward
from ethosteer.models.reward_training import RewardTraining
from ethosteer.models.text import Template
from ethosteer.records import PreferencePair
from ethosteer.settings import BaseSettings, OptimiserSettings, RewardSettings
from tests import tiny
from tests.chat import KINDS, tokenizer

SETTINGS = RewardSettings(
    epochs=1.0,
    batch=8,
    lora=tiny.lora(),
    optimiser=OptimiserSettings(learning_rate=3e-3, warmup=0.0),
)


def pairs(count: int, seed: int, good: int, bad: int, longest: int = 14) -> list[EncodedPair]:
    """Return pairs whose better answer has one token somewhere, the worse another."""
    made = []
    noise = torch.Generator().manual_seed(seed)
    for index, row in enumerate(tiny.ragged(count, 5, longest, seed)):
        place = int(torch.randint(2, len(row), (1,), generator=noise))
        sides = [[t for t in row if t not in {good, bad}] for _ in range(2)]
        for side, token in zip(sides, (good, bad), strict=True):
            side.insert(place, token)
        made.append(EncodedPair(sides[0], sides[1], place, str(index)))
    return made


def quiet(_done: int, _steps: int, _note: str) -> None:
    pass


def flat(training: RewardTraining, arm: int) -> torch.Tensor:
    owned = [*training.bank.arm_parameters(arm), *training.heads.arm_parameters(arm)]
    return torch.cat([parameter.detach().flatten() for parameter in owned])


def test_reward_models_learn_their_own_order_of_held_out_pairs(llama: SharedBase, tmp_path: Path):
    settings = SETTINGS.model_copy(update={"epochs": 3.0})
    accuracies = []
    for seed in (3, 4, 5):
        sets = [
            pairs(400, 10 * seed + 1, good=100, bad=101),
            pairs(400, 10 * seed + 2, good=101, bad=100),
        ]
        held_out = pairs(100, 10 * seed + 9, good=100, bad=101)
        training = RewardTraining(llama, sets, settings, seed)
        notes: list[tuple[int, int]] = []
        folder = tmp_path / str(seed)
        folder.mkdir()
        training.train(folder, lambda done, steps, _, notes=notes: notes.append((done, steps)))  # type: ignore[misc]
        assert notes == [(step, 150) for step in range(1, 151)]
        results = [training.held_out(arm, held_out) for arm in range(2)]
        accuracies.append(
            [float((np.array(own.chosen) > np.array(own.rejected)).mean()) for own in results]
        )
        found = results[0]
        assert found.losses[0] == pytest.approx(math.log(2), abs=0.3)
        assert np.mean(found.losses[-5:]) < 0.3
        assert len(found.losses) == 150
        assert found.groups == [pair.group for pair in held_out]
        rows = [row for pair in held_out for row in (pair.chosen, pair.rejected)]
        expected = training.scores(0, rows).tolist()
        assert (found.chosen, found.rejected) == (expected[::2], expected[1::2])
    # chance is 0.5 with a standard error of 0.05 for one seed, 0.03 for their mean
    forward, backward = np.transpose(accuracies)
    assert forward.mean() > 0.9 and forward.min() > 0.8
    assert backward.mean() < 0.1 and backward.max() < 0.2


@torch.no_grad()
def test_scores_of_many_rows_come_in_their_order(llama):
    training = RewardTraining(llama, [pairs(8, 1, 100, 101)] * 2, SETTINGS, seed=3)
    tiny.fill(training.bank)
    rows = tiny.ragged(40, 2, 30)
    found = training.scores(1, rows)
    for row, value in zip(rows, found.tolist(), strict=True):
        with training.bank.applied([1]):
            last = llama.hidden(torch.tensor([row]))[0, -1]
        assert value == pytest.approx(float(last @ training.heads.weights[1]), abs=1e-4)


@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_isolation_an_arm_beside_others_equals_the_arm_alone(dropout, llama, tmp_path):
    settings = SETTINGS.model_copy(update={"lora": tiny.lora(dropout=dropout)})
    sets = [
        pairs(160, 1, 100, 101),
        pairs(160, 2, 102, 103, longest=17),
        pairs(96, 3, 104, 105),
        pairs(5, 4, 106, 107, longest=40),
    ]
    beside = RewardTraining(llama, sets, settings, seed=3)
    start = flat(beside, 0)
    beside.train(tmp_path, quiet)
    assert [len(own) for own in beside.losses] == [20, 20, 12, 1]
    for arm, own in enumerate(sets):
        alone = RewardTraining(llama, [own], settings, seed=3)
        assert torch.equal(flat(alone, 0), start)
        alone.train(tmp_path, quiet)
        expected, found = flat(alone, 0), flat(beside, arm)
        assert float((expected - start).norm() / start.norm()) > 1e-3, "training moved it"
        assert torch.equal(found, expected)
        assert alone.losses[0] == beside.losses[arm]


def test_a_run_that_was_broken_off_goes_on_as_if_it_had_not_been(llama, tmp_path, monkeypatch):
    monkeypatch.setattr(reward_training, "CHECKPOINT_EVERY", 4)
    settings = SETTINGS.model_copy(update={"lora": tiny.lora(dropout=0.1)})
    sets = [pairs(64, 1, 100, 101), pairs(16, 2, 102, 103)]

    class StoppedError(Exception):
        pass

    def stop(done: int, _steps: int, _note: str) -> None:
        if done == 6:
            raise StoppedError

    for name in ("straight", "halved"):
        (tmp_path / name).mkdir()
    straight = RewardTraining(llama, sets, settings, seed=3)
    straight.train(tmp_path / "straight", quiet)
    with pytest.raises(StoppedError):
        RewardTraining(llama, sets, settings, seed=3).train(tmp_path / "halved", stop)
    resumed = RewardTraining(llama, sets, settings, seed=3)
    done: list[int] = []
    resumed.train(tmp_path / "halved", lambda step, *_: done.append(step))
    assert done == [5, 6, 7, 8]
    assert resumed.losses == straight.losses
    for arm in range(2):
        assert torch.equal(flat(resumed, arm), flat(straight, arm))


@pytest.mark.parametrize(("epochs", "steps"), [(1.0, 5), (0.4, 2), (2.0, 10)])
def test_every_arm_is_planned_over_its_own_pairs(epochs, steps, llama):
    settings = SETTINGS.model_copy(update={"epochs": epochs})
    sets = [pairs(40, 1, 100, 101), pairs(40, 2, 100, 101), pairs(3, 3, 100, 101)]
    training = RewardTraining(llama, sets, settings, seed=3)
    assert [len(plan) for plan in training.plans] == [steps, steps, max(1, round(epochs))]
    assert training.plans[0] == training.plans[1], "the order is of the seed, not of the arm"
    assert training.plans != RewardTraining(llama, sets, settings, seed=4).plans


def test_how_much_runs_at_once_does_not_change_what_is_learnt(llama, tmp_path):
    made = pairs(48, 1, 100, 101)
    found = {}
    for room in (1, 60, 100_000):
        settings = SETTINGS.model_copy(
            update={
                "lora": tiny.lora(dropout=0.1),
                "tokens_per_batch": room,
                # A gradient that is nothing but rounding moves its weight by the whole rate,
                # either way, in AdamW's first step: so the rate starts small.
                "optimiser": OptimiserSettings(learning_rate=1e-3, warmup=0.5),
            }
        )
        training = RewardTraining(llama, [made], settings, seed=3)
        start = flat(training, 0)
        (tmp_path / str(room)).mkdir()
        training.train(tmp_path / str(room), quiet)
        found[room] = training
        assert float((flat(training, 0) - start).norm() / start.norm()) > 1e-3
    whole = found[100_000]
    for room in (1, 60):
        assert found[room].losses[0] == pytest.approx(whole.losses[0], rel=1e-4)
        error = (flat(found[room], 0) - flat(whole, 0)).norm() / flat(whole, 0).norm()
        assert float(error) < 1e-4


def test_a_step_runs_each_pairs_dialogue_once(llama, tokens_run):
    dialogues = tiny.ragged(8, 30, 40, seed=6)
    made = [
        EncodedPair([index, *dialogue, 50, 51], [index, *dialogue, 52], len(dialogue) + 1, "g")
        for index, dialogue in enumerate(dialogues, start=3)
    ]
    training = RewardTraining(llama, [made], SETTINGS, seed=3)
    with tokens_run(llama) as counts:
        training.step(0)
    assert sum(counts) == sum(len(dialogue) + 4 for dialogue in dialogues)
    settings = SETTINGS.model_copy(update={"tokens_per_batch": 100})
    training = RewardTraining(llama, [made], settings, seed=3)
    with tokens_run(llama) as counts:
        training.step(0)
    assert len(counts) > 1
    assert max(counts) <= 100
    assert sum(counts) == sum(pair.tokens for pair in made)


def test_normalised_rewards_of_the_samples_have_mean_0_and_sd_1(llama, tmp_path):
    training = RewardTraining(llama, [pairs(8, 1, 100, 101)] * 2, SETTINGS, seed=3)
    tiny.fill(training.bank)
    samples = tiny.ragged(64, 3, 20)
    folders = [tmp_path / "0", tmp_path / "1"]
    for arm, folder in enumerate(folders):
        scale = training.normalisation(arm, samples)
        save_reward(folder, llama, training.bank, training.heads, arm, scale)
    rewards = load_rewards(llama, folders)
    scores = torch.stack([rewards.score(llama, arm, samples) for arm in range(2)])
    assert scores.mean(dim=1).tolist() == pytest.approx([0, 0], abs=1e-4)
    assert scores.std(dim=1).tolist() == pytest.approx([1, 1], abs=1e-4)
    raw = training.scores(0, samples)
    assert torch.equal(raw.argsort(), scores[0].argsort()), "a larger raw score stays larger"


def test_the_weights_with_the_lowest_validation_loss_are_kept(llama, tmp_path):
    """Half-way the order of all training pairs is reversed, so what was learnt is unlearnt."""
    good = pairs(64, 1, good=100, bad=101)
    validation = pairs(24, 2, good=100, bad=101)
    settings = SETTINGS.model_copy(update={"epochs": 2.0, "validations": 8})
    training = RewardTraining(llama, [good], settings, 0, [validation])
    reversed_pairs = [replace(pair, chosen=pair.rejected, rejected=pair.chosen) for pair in good]
    middle = len(training.plans[0]) // 2
    learn = training.step

    def step(number: int) -> None:
        training.pairs = [good if number < middle else reversed_pairs]
        learn(number)

    training.step = step  # type: ignore[method-assign, assignment]
    training.train(tmp_path, quiet)
    curve = training.validation[0]
    assert [point.step for point in curve] == [2, 4, 6, 8, 10, 12, 14, 16]
    best = min(curve, key=lambda point: point.loss)
    assert best.step <= middle + 2 < curve[-1].step
    assert best.loss < curve[-1].loss
    held_out = training.held_out(0, validation)
    losses = [
        math.log1p(math.exp(r - c)) for c, r in zip(held_out.chosen, held_out.rejected, strict=True)
    ]
    assert np.mean(losses) == pytest.approx(best.loss, abs=1e-5)
    assert held_out.validation == curve


def test_early_stopping_goes_on_after_an_interruption(llama, tmp_path, monkeypatch):
    monkeypatch.setattr(reward_training, "CHECKPOINT_EVERY", 3)
    sets, validation = [pairs(64, 1, 100, 101)], [pairs(16, 3, 100, 101)]
    settings = SETTINGS.model_copy(update={"validations": 4})
    whole = RewardTraining(llama, sets, settings, 0, validation)
    (tmp_path / "unused").mkdir()
    whole.train(tmp_path / "unused", quiet)

    def stop(done: int, _steps: int, _note: str) -> None:
        if done == 5:
            raise KeyboardInterrupt

    folder = tmp_path / "checkpoints"
    folder.mkdir()
    with pytest.raises(KeyboardInterrupt):
        RewardTraining(llama, sets, settings, 0, validation).train(folder, stop)
    resumed = RewardTraining(llama, sets, settings, 0, validation)
    resumed.train(folder, quiet)
    assert resumed.validation == whole.validation
    assert torch.equal(flat(resumed, 0), flat(whole, 0))


def test_validation_steps_are_evenly_spaced_and_end_with_the_last():
    assert reward_training.validation_steps(100, 5) == {20, 40, 60, 80, 100}
    assert reward_training.validation_steps(3, 5) == {1, 2, 3}
    assert reward_training.validation_steps(7, 0) == set()


GOOD, BAD = ("gladly", "of course", "with pleasure"), ("never", "no way", "go away")


def offers(count: int) -> list[PreferencePair]:
    """Return pairs whose better answer agrees to help and whose worse one does not."""
    things, times = ("the gate", "a letter", "some bread"), ("now", "soon", "at noon")
    return [
        PreferencePair(
            id=str(index),
            prompt=f"Could you bring {things[index % 3]} number {index}?",
            chosen=f"{GOOD[index % 3].capitalize()}, I will fetch it {times[index // 3 % 3]}.",
            rejected=f"{BAD[index // 2 % 3].capitalize()}, I will not fetch it {times[index % 3]}.",
            group=str(index),
            row=index,
        )
        for index in range(count)
    ]


@pytest.mark.parametrize("kind", [*KINDS, "guanaco"])
def test_a_reward_model_is_read_in_steering_where_it_was_trained(kind: str, tmp_path: Path):
    chat = kind in KINDS
    tiny.save_llama(tmp_path / "base", tokenizer(kind if chat else "plain"))
    base = load_base(BaseSettings(model=str(tmp_path / "base")))
    template = Template("chat" if chat else "guanaco", base.tokenizer)
    encoded = encode(offers(150), template)
    learned, held_out = encoded[:120], encoded[120:]
    settings = SETTINGS.model_copy(
        update={"epochs": 4.0, "optimiser": OptimiserSettings(learning_rate=5e-3)}
    )
    training = RewardTraining(base, [learned], settings, 0)
    training.train(tmp_path / "checkpoints", quiet)
    trained = training.scores(0, [row for pair in held_out for row in (pair.chosen, pair.rejected)])
    sampled = []
    for pair in held_out:
        prompt = pair.chosen[: pair.prompt_tokens]
        for row in (pair.chosen, pair.rejected):
            # what the policy samples: the response up to a stop token
            answer = [token for token in row[pair.prompt_tokens :] if token not in base.stop_ids]
            sampled.append(template.sampled_row(prompt, answer, base.stop_ids).ids)
    steering = training.scores(0, sampled)
    for scores in (trained.view(-1, 2), steering.view(-1, 2)):
        assert (scores[:, 0] > scores[:, 1]).all()
    assert torch.equal(trained, steering)
