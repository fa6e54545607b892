from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import pytest
import torch
from torch import Tensor
from transformers import AutoConfig, DynamicCache
from transformers.cache_utils import DynamicLayer

from ethosteer.errors import InputError
from ethosteer.models import generation
from ethosteer.models.base import SharedBase
from ethosteer.models.cache import PreallocatedLayer, make_cache
from ethosteer.models.generation import Sampling, generate
from ethosteer.models.lora_bank import LoraBank
from ethosteer.models.text import Template
from tests import tiny

PROMPTS = tiny.ragged(5, 2, 17)


def noise(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def greedy(tokens: int, *, ignore_eos: bool = False) -> Sampling:
    return Sampling(tokens, tokens, ignore_eos=ignore_eos, greedy=True)


def stock(base: SharedBase, prompts: list[list[int]], tokens: int, eos: int) -> list[list[int]]:
    """Return what transformers' own generate answers, up to and with EOS."""
    width = max(map(len, prompts))
    ids = torch.tensor([[7] * (width - len(p)) + p for p in prompts])
    mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts])
    model: Any = base.model
    out = model.generate(
        input_ids=ids,
        attention_mask=mask,
        do_sample=False,
        max_new_tokens=tokens,
        eos_token_id=eos,
        pad_token_id=7,
    )[:, width:]
    rows: list[list[int]] = out.tolist()
    return [row[: row.index(eos) + 1] if eos in row else row for row in rows]


@pytest.mark.parametrize("name", tiny.ARCHITECTURES)
def test_greedy_equals_transformers_own_generate(name, tiny_bases):
    base = tiny_bases[name]
    free = generate(base, PROMPTS, 1, greedy(12, ignore_eos=True), noise())
    assert all(len(row) == 12 for row in free)
    assert free == stock(base, PROMPTS, 12, eos=299 if name == "llama" else -1)
    eos = free[1][4]
    ended = generate(tiny.with_eos(base, eos), PROMPTS, 1, greedy(12), noise())
    assert ended == stock(base, PROMPTS, 12, eos)
    assert ended[1][-1] == eos and len(ended[1]) <= 5


@pytest.mark.parametrize("name", tiny.ARCHITECTURES)
def test_a_row_does_not_depend_on_how_it_is_padded_or_batched(name, tiny_bases):
    base = tiny_bases[name]
    bank = tiny.fill(LoraBank(base.layers, 2, tiny.lora(name), seed=0))
    with bank.applied():
        together = generate(base, PROMPTS, 2, greedy(10, ignore_eos=True), noise())
        longer = generate(
            base, [*PROMPTS, tiny.ragged(1, 40, 40)[0]], 2, greedy(10, ignore_eos=True), noise()
        )
    assert longer[:5] + longer[6:11] == together
    for arm in range(2):
        with bank.applied([arm]):
            for index, prompt in enumerate(PROMPTS):
                (alone,) = generate(base, [prompt], 1, greedy(10, ignore_eos=True), noise())
                assert alone == together[arm * 5 + index]


def test_arms_that_agree_sample_the_same_tokens(llama):
    bank = LoraBank(llama.layers, 3, tiny.lora(), seed=0)
    sampling = Sampling(3, 12)
    with bank.applied():
        alike = generate(llama, PROMPTS, 3, sampling, noise())
    assert alike[:5] == alike[5:10] == alike[10:]
    assert alike[:5] == generate(llama, PROMPTS, 1, sampling, noise())
    assert alike[:5] != generate(llama, PROMPTS, 1, sampling, noise(1))


def test_an_arm_alone_samples_what_it_samples_beside_others(llama):
    bank = tiny.fill(LoraBank(llama.layers, 3, tiny.lora(), seed=0))
    base = tiny.with_eos(llama, 100)
    for sampling in (Sampling(3, 12), Sampling(3, 12, ignore_eos=True, temperature=0.7)):
        with bank.applied():
            together = generate(base, PROMPTS, 3, sampling, noise())
        assert together[:5] != together[5:10]
        for arm in range(3):
            with bank.applied([arm]):
                alone = generate(base, PROMPTS, 1, sampling, noise())
            assert alone == together[arm * 5 : arm * 5 + 5]


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_tokens_are_drawn_from_the_softmax_at_the_temperature(temperature, llama):
    prompt = PROMPTS[0]
    rows = 6000
    drawn = generate(llama, [prompt] * rows, 1, Sampling(1, 1, temperature=temperature), noise())
    counts = torch.bincount(torch.tensor(drawn).flatten(), minlength=300) / rows
    with torch.no_grad():
        logits = llama.logits(llama.hidden(torch.tensor([prompt]))[0, -1])
    expected = (logits / temperature).softmax(0)
    error = (expected * (1 - expected) / rows).sqrt()
    assert ((counts - expected).abs() < 4.5 * error + 1e-3).all()


def test_each_row_keeps_its_limit_in_every_arm(llama):
    bank = tiny.fill(LoraBank(llama.layers, 2, tiny.lora(), seed=0))
    prompts = tiny.ragged(60, 3, 5)
    with bank.applied():
        rows = generate(llama, prompts, 2, Sampling(3, 6, ignore_eos=True), noise())
    lengths = list(map(len, rows))
    assert set(lengths) == {3, 4, 5, 6}
    assert lengths[:60] == lengths[60:]


def test_eos_is_kept_ends_its_row_and_can_be_ignored(llama):
    sampling = Sampling(8, 8)
    free = generate(llama, PROMPTS, 1, Sampling(8, 8, ignore_eos=True), noise())
    eos = free[2][3]
    base = tiny.with_eos(llama, eos)
    ended = generate(base, PROMPTS, 1, sampling, noise())
    for row, own in zip(free, ended, strict=True):
        assert own == (row[: row.index(eos) + 1] if eos in row else row)
    assert ended[2][-1] == eos and len(ended[2]) <= 4
    assert generate(base, PROMPTS, 1, Sampling(8, 8, ignore_eos=True), noise()) == free


def test_scored_rows_are_without_the_stop_token(llama):
    base, template = tiny.with_eos(llama, 2), Template("guanaco", llama.tokenizer)
    answers = [[5, 6, 2], [5, 6, 7], [2, 6, 7]]
    prompts = [[3]] * 3
    rows = Sampling(1, 9).scored_rows(base, template, prompts, answers)
    assert rows == [[3, 5, 6], [3, 5, 6, 7], [3, 2, 6, 7]]
    rows = Sampling(1, 9, ignore_eos=True).scored_rows(base, template, prompts, answers)
    assert rows == [[3, *answer] for answer in answers]


def test_a_row_ends_at_any_stop_token(llama):
    free = generate(llama, PROMPTS, 1, greedy(12, ignore_eos=True), noise())
    stops = frozenset({free[0][5], free[1][4], free[2][3]})
    ended = generate(replace(llama, stop_ids=stops), PROMPTS, 1, greedy(12), noise())
    for row, whole in zip(ended, free, strict=True):
        end = next((i for i, token in enumerate(whole) if token in stops), 11)
        assert row == whole[: end + 1]
    assert len({row[-1] for row in ended}) > 1


def test_without_any_stop_token_sampling_names_what_is_missing(llama):
    base = replace(llama, stop_ids=frozenset())
    with pytest.raises(InputError, match="no stop token is known"):
        generate(base, PROMPTS, 1, greedy(2), noise())
    assert generate(base, PROMPTS, 1, greedy(2, ignore_eos=True), noise())


@pytest.mark.parametrize("arms", [1, 3])
@pytest.mark.parametrize("sampling", [Sampling(1, 14), Sampling(1, 14, ignore_eos=True)])
def test_answered_prompts_leave_the_batch_without_changing_an_answer(
    arms, sampling, llama, monkeypatch
):
    prompts = tiny.ragged(12, 2, 17)
    base = tiny.with_eos(llama, 100)
    bank = tiny.fill(LoraBank(llama.layers, arms, tiny.lora(), seed=0))

    def answered() -> tuple[list[list[int]], list[int]]:
        sizes = []
        with bank.applied():
            rows = generate(
                base, prompts, arms, sampling, noise(), lambda here, *_: sizes.append(len(here))
            )
        return rows, sizes

    left, fewer = answered()
    monkeypatch.setattr(generation, "COMPACT_BELOW", -1)
    stayed, all_of_them = answered()
    assert left == stayed
    assert set(all_of_them) == {12 * arms}
    assert fewer == sorted(fewer, reverse=True)
    assert fewer[-1] <= 3 * arms
    assert all(size % arms == 0 for size in fewer), "a prompt stays or goes in all arms"


def test_how_many_prompts_run_at_once_changes_no_answer(llama, monkeypatch):
    bank = tiny.fill(LoraBank(llama.layers, 2, tiny.lora(), seed=0))
    base = tiny.with_eos(llama, 100)
    with bank.applied():
        together = generate(base, PROMPTS, 2, Sampling(3, 12), noise())
        for room in (1, 100, 200):
            monkeypatch.setattr(generation, "sampling_tokens", lambda base, room=room: room)
            assert generate(base, PROMPTS, 2, Sampling(3, 12), noise()) == together


@pytest.mark.parametrize("name", tiny.ARCHITECTURES)
def test_what_watches_sees_the_log_probabilities_of_a_full_forward(name, tiny_bases):
    base = tiny_bases[name]
    bank = tiny.fill(LoraBank(base.layers, 2, tiny.lora(name), seed=0))
    prompts = tiny.ragged(8, 2, 17)
    seen = torch.zeros(16, 10)
    tokens = torch.zeros(16, 10, dtype=torch.long)

    def watch(rows: Tensor, column: Tensor, hidden: Tensor, logits: Tensor, chosen: Tensor) -> None:
        tiny.close(base.logits(hidden), logits)
        seen[rows, column] = logits.log_softmax(dim=-1).gather(1, chosen.unsqueeze(1)).squeeze(1)
        tokens[rows, column] = chosen

    with bank.applied():
        answers = generate(base, prompts, 2, Sampling(2, 10, ignore_eos=True), noise(), watch)
    for index, answer in enumerate(answers):
        arm, prompt = divmod(index, 8)
        assert tokens[index, : len(answer)].tolist() == answer
        with bank.applied([arm]), torch.no_grad():
            hidden = base.hidden(torch.tensor([[*prompts[prompt], *answer]]))[0]
        log_p = base.logits(hidden[len(prompts[prompt]) - 1 : -1]).log_softmax(dim=-1)
        expected = log_p.gather(1, torch.tensor(answer).unsqueeze(1)).squeeze(1)
        tiny.close(seen[index, : len(answer)], expected, 1e-4)


def test_a_cache_with_room_holds_what_transformers_own_holds():
    draw = torch.Generator().manual_seed(0)
    layers: tuple[Any, Any] = PreallocatedLayer(9), DynamicLayer()

    def update(rows: int, length: int) -> None:
        keys, values = (torch.randn(rows, 2, length, 5, generator=draw) for _ in range(2))
        (found, expected) = (layer.update(keys, values) for layer in layers)
        assert torch.equal(found[0], expected[0])
        assert torch.equal(found[1], expected[1])
        assert layers[0].get_seq_length() == layers[1].get_seq_length()

    update(3, 4)
    update(3, 1)
    for layer in layers:
        layer.batch_select_indices(torch.tensor([0, 2]))
    assert torch.equal(layers[0].keys, layers[1].keys)
    assert torch.equal(layers[0].values, layers[1].values)
    update(2, 1)
    update(2, 3)
    assert layers[0].keys.shape == (2, 2, 9, 5)


@torch.no_grad()
@pytest.mark.parametrize("name", tiny.ARCHITECTURES)
def test_a_model_reads_on_from_a_cache_with_room_as_from_its_own(name, tiny_bases):
    base = tiny_bases[name]
    decoder = base.model.get_decoder()
    rows = torch.tensor(tiny.ragged(3, 12, 12))
    caches = make_cache(base, 12), DynamicCache(config=base.model.config)
    assert {type(layer) for layer in caches[0].layers} == {PreallocatedLayer}
    for start, end in ((0, 7), (7, 8), (8, 12)):
        found, expected = (
            decoder(input_ids=rows[:, start:end], past_key_values=cache).last_hidden_state
            for cache in caches
        )
        assert torch.equal(found, expected)


def test_layers_of_another_kind_keep_transformers_own_cache(tiny_bases):
    config = AutoConfig.for_model("gemma2", num_hidden_layers=2, sliding_window=8)
    base = tiny_bases["llama"]

    class Model:
        def __init__(self) -> None:
            self.config = config

    sliding: Any = replace(base, model=cast(Any, Model()))
    own = [type(layer) for layer in DynamicCache(config=config).layers]
    assert len(set(own)) == 2
    expected = [PreallocatedLayer if kind is DynamicLayer else kind for kind in own]
    assert [type(layer) for layer in make_cache(sliding, 12).layers] == expected
