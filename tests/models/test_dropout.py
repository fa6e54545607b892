"""Dropout masks: random enough, and the same whatever rows run beside each other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ethosteer.models import finetuning
from ethosteer.models.base import SharedBase, pad_right
from ethosteer.models.dropout import GOLDEN, keep_mask, mix
from ethosteer.models.fast.packing import Packed, pack_rows
from ethosteer.models.fast.trees import pack, row_positions, stack
from ethosteer.models.lora_bank import ArmLinear, LoraBank, dropout_on
from ethosteer.models.pairs import response_log_likelihoods
from ethosteer.models.reward_training import RewardTraining
from ethosteer.settings import FinetuneSettings, LoraSettings, OptimiserSettings, RewardSettings
from tests import tiny

CPU = torch.device("cpu")
STEM = tiny.ragged(1, 9, 9, seed=7)[0]
ROWS = [*tiny.ragged(4, 3, 20), [*STEM, 40, 41, 42], [*STEM, 43], [*STEM, 40, 44]]
"""Rows that share nothing, and rows that begin alike."""
BUDGETS = (64, 300, 100_000)
FAST = OptimiserSettings(learning_rate=2e-3, warmup=0.0, decay=False)


def random_prefixes(count: int, seed: int = 0) -> Tensor:
    return torch.randint(2**62, (count,), generator=torch.Generator().manual_seed(seed))


# --- one mask


def test_the_hash_is_splitmix64():
    # the published generator's first numbers from the seed 1234567
    expected = [
        6457827717110365317, 3203168211198807973, 9817491932198370423,
        4593380528125082431, 16408922859458223821,
    ]  # fmt: skip
    found = mix(1234567 + torch.arange(1, 6) * GOLDEN).tolist()
    assert [word % 2**64 for word in found] == expected


@pytest.mark.parametrize("rate", [0.05, 0.1, 0.5, 0.9])
def test_inputs_are_dropped_at_the_rate_and_independently(rate):
    tokens, features = 4000, 50
    masks = torch.stack(
        [keep_mask(random_prefixes(tokens), layer, features, rate) for layer in range(2)]
    )
    assert masks.shape == (2, tokens, features) and masks.dtype == torch.bool
    # All limits are 5 standard errors or more: for thousands of means that is 1 in 1,000.
    spread = math.sqrt(rate * (1 - rate))
    values = (masks.double() - (1 - rate)) / spread
    limit = 5 / math.sqrt(tokens)
    assert abs(float(values.mean())) < 5 / math.sqrt(2 * tokens * features)
    assert values.mean(dim=1).abs().max() < limit, "of every feature"
    # of every token: how many features are dropped varies as a binomial does
    counts = masks.double().sum(dim=2).flatten()
    assert float(counts.var()) == pytest.approx(features * spread**2, rel=0.1)
    # features, neighbouring tokens and layers do not go together
    between = values[0].T @ values[0] / tokens
    assert between.triu(diagonal=1).abs().max() < 1.2 * limit
    assert (values[0, 1:] * values[0, :-1]).mean(dim=0).abs().max() < 1.2 * limit
    assert (values[0] * values[1]).mean(dim=0).abs().max() < 1.2 * limit


def test_a_mask_depends_on_token_and_layer_and_not_on_how_many_features_there_are():
    prefixes = random_prefixes(30)
    whole = keep_mask(prefixes, 2, 50, 0.3)
    assert torch.equal(keep_mask(prefixes, 2, 50, 0.3), whole)
    assert torch.equal(keep_mask(prefixes, 2, 19, 0.3), whole[:, :19])
    assert torch.equal(keep_mask(prefixes[7:9], 2, 50, 0.3), whole[7:9])
    assert not torch.equal(keep_mask(prefixes, 3, 50, 0.3), whole)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_mask_is_the_same_on_every_device():
    prefixes = random_prefixes(300)
    on_gpu = keep_mask(prefixes.cuda(), 2, 50, 0.3)
    assert torch.equal(on_gpu.cpu(), keep_mask(prefixes, 2, 50, 0.3))


def identity(width: int, arms: int, dropout: float) -> tuple[LoraBank, ArmLinear]:
    """Return a bank and its layer, whose output is its input after dropout."""
    linear = nn.Linear(width, width)
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    layer = ArmLinear(linear)
    settings = LoraSettings(r=width, alpha=float(width), dropout=dropout, targets=("x",))
    bank = LoraBank({"block.x": layer}, arms, settings, seed=0)
    for arm in range(arms):
        bank.set_arm(arm, {"block.x": (torch.eye(width), torch.eye(width))})
    return bank, layer


def test_dropout_is_inverted_alike_in_arms_that_read_the_same_and_off_without_hashes():
    bank, layer = identity(50, arms=3, dropout=0.25)
    prefixes = random_prefixes(40).repeat(3)
    x = torch.ones(3, 40, 50)
    with bank.applied(), dropout_on([layer], prefixes):
        out = layer(x)
    assert torch.equal(out[0], out[1]) and torch.equal(out[0], out[2])
    kept = keep_mask(prefixes[:40], 0, 50, 0.25)
    tiny.close(out[0], kept / 0.75)
    assert len(kept.unique(dim=0)) == 40, "every token has a mask of its own"
    with bank.applied():
        assert torch.equal(layer(x), x)
    for arm in range(3):
        with bank.applied([arm]), dropout_on([layer], prefixes[:40]):
            assert torch.equal(layer(x[:1])[0], out[arm])


# --- what identifies a token


def hashes(packed: Packed) -> Tensor:
    assert packed.prefixes is not None
    return packed.prefixes.flatten()


def test_a_token_is_known_by_its_row_up_to_it_in_streams_and_trees_alike():
    tokens, lengths = pad_right(ROWS, CPU)
    packed, at = pack_rows(tokens, lengths, dropout=5)
    apart = list(hashes(packed)[at].split([len(row) for row in ROWS]))
    rows = [tuple(row) for row in ROWS]
    for knee, count in ((1e9, 5), (None, 7)):
        trees = pack(rows, knee, 100)
        assert len(trees) == count
        found = hashes(stack(trees, CPU, dropout=5))
        for row, expected in zip(rows, apart, strict=True):
            assert torch.equal(found[row_positions(trees)[row]], expected)
    distinct = {row[:end] for row in rows for end in range(1, len(row) + 1)}
    assert len(torch.cat(apart).unique()) == len(distinct)
    other, _ = pack_rows(tokens, lengths, dropout=6)
    assert not set(hashes(other).tolist()) & set(hashes(packed).tolist())
    assert pack_rows(tokens, lengths)[0].prefixes is None
    assert stack(trees, CPU).prefixes is None


# --- passes


def states(base: SharedBase, rows: Sequence[Sequence[int]], knee: float | None) -> list[Tensor]:
    """Hidden states of rows in one pass with dropout, under the adapters in use."""
    trees = pack([tuple(row) for row in rows], knee, 200)
    hidden = base.hidden_packed(stack(trees, base.device, dropout=3))[0]
    return [hidden[row_positions(trees)[tuple(row)]] for row in rows]


@pytest.mark.parametrize("name", tiny.ARCHITECTURES)
@torch.no_grad()
def test_a_row_has_the_same_masks_packed_or_padded_in_a_tree_or_alone(name, tiny_bases):
    base = tiny_bases[name]
    bank = tiny.fill(LoraBank(base.layers, 2, tiny.lora(name, dropout=0.3), seed=0))
    with bank.applied([1]):
        expected = [states(base, [row], None)[0] for row in ROWS]
        bare = base.hidden(torch.tensor([ROWS[0]]))[0]
        assert (expected[0] - bare).abs().max() > 0.01
        for found in (
            states(base, ROWS, None),
            states(base, ROWS[::-1], None)[::-1],
            states(base, ROWS, 1e9),
            states(replace(base, runs_packed=False), ROWS, None),
        ):
            for own, alone in zip(found, expected, strict=True):
                tiny.close(own, alone)


@pytest.mark.parametrize("packed", [True, False])
@torch.no_grad()
def test_an_arm_alone_has_the_dropout_that_it_has_beside_others(packed, llama):
    base = replace(llama, runs_packed=packed)
    bank = tiny.fill(LoraBank(base.layers, 2, tiny.lora(dropout=0.3), seed=0))
    blocks = [ROWS[:3], ROWS[3:6]]
    stream, at = pack_rows(*pad_right(ROWS[:6], CPU), blocks=2, dropout=3)
    with bank.applied():
        together = base.hidden_packed(stream).flatten(0, 1)[at]
    alone = []
    for arm, rows in enumerate(blocks):
        stream, at = pack_rows(*pad_right(rows, CPU), dropout=3)
        with bank.applied([arm]):
            alone.append(base.hidden_packed(stream)[0, at])
    tiny.close(together, torch.cat(alone))


@pytest.mark.filterwarnings("ignore:.*checkpoint:UserWarning")
def test_a_pass_that_runs_again_for_its_gradients_drops_the_same(llama):
    def gradients(*, again: bool) -> list[Tensor]:
        bank = tiny.fill(LoraBank(llama.layers, 1, tiny.lora(dropout=0.3), seed=0))

        def loss() -> Tensor:
            with bank.applied():
                return torch.stack([own.square().sum() for own in states(llama, ROWS, 1e9)]).sum()

        (checkpoint(loss, use_reentrant=False) if again else loss()).backward()
        return [p.grad for p in bank.parameters() if p.grad is not None]

    for own, other in zip(gradients(again=True), gradients(again=False), strict=True):
        tiny.close(own, other)


@torch.no_grad()
def test_a_pairs_dialogue_is_masked_once_and_its_answers_apart(llama):
    bank = tiny.fill(LoraBank(llama.layers, 1, tiny.lora(dropout=0.3), seed=0))
    pairs = tiny.random_pairs(6, seed=2)
    for base in (llama, replace(llama, runs_packed=False)):
        with bank.applied():
            found = response_log_likelihoods(base, pairs, dropout=4)
            tiny.close(found, response_log_likelihoods(llama, pairs, dropout=4))
            apart = [response_log_likelihoods(base, [pair], dropout=4) for pair in pairs]
            tiny.close(found, torch.cat(apart))
            assert (found - response_log_likelihoods(base, pairs)).abs().min() > 1e-4


# --- training


def assert_alike(ends: Sequence[Tensor], start: Tensor) -> None:
    """Assert that runs that differ by how they are cut end alike, up to rounding.

    Adam divides a gradient by its size, so an entry that is almost zero may move anywhere; all
    together are near. Other masks move an adapter by several per cent.
    """
    for end in ends:
        moved = (ends[0] - start).norm()
        assert moved > 1e-2
        assert (end - ends[0]).norm() < 1e-3 * moved


@pytest.mark.parametrize("name", tiny.ARCHITECTURES)
def test_reward_training_does_not_depend_on_how_batches_are_cut(name, tiny_bases):
    base = tiny_bases[name]
    lora = tiny.lora(name, dropout=0.1)
    ends = []
    for token_budget in BUDGETS:
        settings = RewardSettings(
            batch=12, epochs=3.0, lora=lora, optimiser=FAST, tokens_per_batch=token_budget
        )
        training = RewardTraining(base, [tiny.random_pairs(12, seed=1)], settings, seed=3)
        start = torch.cat([p.detach().flatten() for p in training.bank.arm_parameters(0)])
        for step in range(3):
            training.step(step)
        ends.append(torch.cat([p.detach().flatten() for p in training.bank.arm_parameters(0)]))
    assert_alike(ends, start)


@pytest.mark.parametrize("packed", [True, False])
def test_finetuning_does_not_depend_on_how_batches_are_cut(packed, llama, tmp_path, tokens_run):
    base = replace(llama, runs_packed=packed)
    settings = FinetuneSettings(batch=8, max_steps=3, lora=tiny.lora(dropout=0.1), optimiser=FAST)
    ends, passes = [], []
    for token_budget in BUDGETS:
        cut = settings.model_copy(update={"tokens_per_batch": token_budget})
        rows = tiny.whole_rows(tiny.ragged(20, 5, 30))
        with tokens_run(base) as counts:
            folder = tmp_path / str(token_budget)
            bank, losses = finetuning.finetune(base, rows, cut, folder, tiny.quiet)
        passes.append(len(counts))
        assert len(losses) == 3
        ends.append(torch.cat([p.detach().flatten() for p in bank.parameters()]))
    assert len(set(passes)) > 1
    fresh = LoraBank(base.layers, 1, settings.lora, seed=0)
    assert_alike(ends, torch.cat([p.detach().flatten() for p in fresh.parameters()]))


def test_finetuning_resumes_where_it_stopped(llama, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(finetuning, "CHECKPOINT_EVERY", 2)
    settings = FinetuneSettings(batch=8, max_steps=4, lora=tiny.lora(dropout=0.1), optimiser=FAST)
    rows = tiny.whole_rows(tiny.ragged(20, 5, 30))

    def stop(done: int, _steps: int, _note: str) -> None:
        if done == 3:
            raise KeyboardInterrupt

    for name in "ab":
        (tmp_path / name).mkdir()
    straight, losses = finetuning.finetune(llama, rows, settings, tmp_path / "a", tiny.quiet)
    with pytest.raises(KeyboardInterrupt):
        finetuning.finetune(llama, rows, settings, tmp_path / "b", stop)
    resumed, again = finetuning.finetune(llama, rows, settings, tmp_path / "b", tiny.quiet)
    assert again == losses
    for own, other in zip(resumed.parameters(), straight.parameters(), strict=True):
        assert torch.equal(own, other)
