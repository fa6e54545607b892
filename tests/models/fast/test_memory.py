"""Where a device runs out of memory, the budget is halved and the work repeated, equally."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from ethosteer import catalog
from ethosteer.algorithms.best_of_n import BestOfNSettings
from ethosteer.algorithms.dpo import DPOSettings
from ethosteer.errors import InputError
from ethosteer.evaluation.answering import answer_items
from ethosteer.models.base import SharedBase
from ethosteer.models.checks import runs_packed
from ethosteer.models.fast.budget import held_in_memory, within_memory
from ethosteer.models.finetuning import finetune
from ethosteer.models.generation import Sampling, generate
from ethosteer.models.lora_bank import LoraBank
from ethosteer.models.optimiser import ArmOptimiser
from ethosteer.models.pairs import EncodedPair
from ethosteer.models.reward_models import score_rows
from ethosteer.models.reward_training import RewardTraining
from ethosteer.records import Item, Model
from ethosteer.settings import FinetuneSettings, OptimiserSettings, RewardSettings
from tests import tiny


def fresh(base: SharedBase, **changes: Any) -> SharedBase:
    """Return a base on which nothing has run out of memory yet."""
    return replace(base, limits={}, **changes)


@contextmanager
def memory_for(base: SharedBase, tokens: int, *, training: int | None = None) -> Iterator[None]:
    """Run out of memory in a pass of more tokens; with gradients, of more than ``training``."""

    def run_out(module: torch.nn.Module, args: object, inputs: dict[str, torch.Tensor]) -> None:
        cached = inputs.get("attention_mask")  # sampling: what is cached counts
        count = (inputs["input_ids"] if cached is None else cached).numel()
        fits = tokens if training is None or not torch.is_grad_enabled() else training
        if count > fits:
            raise torch.OutOfMemoryError("simulated")

    hook = base.model.get_decoder().register_forward_pre_hook(run_out, with_kwargs=True)
    try:
        yield
    finally:
        hook.remove()


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "ethosteer"]


def test_the_budget_is_halved_until_the_work_fits_and_stays_so(llama, caplog):
    base, undone, tried = fresh(llama), [], []

    def run(tokens: int) -> int:
        tried.append(tokens)
        if tokens > 100:
            raise torch.OutOfMemoryError("simulated")
        return -tokens

    def undo() -> None:
        undone.append(tried[-1])

    sizes = [20, 60, 80, 80, 80]
    with caplog.at_level(logging.WARNING):
        assert within_memory(base, "training", 10_000, sizes, run, undo) == -80
    assert tried == [10_000, 160, 80], "a pass had at most 20 + 60 + 3 * 80 tokens"
    assert undone == [10_000, 160]
    assert lines(caplog) == [
        "training: the device is out of memory; repeating with at most 160 tokens in a pass",
        "training: the device is out of memory; repeating with at most 80 tokens in a pass",
    ]
    assert within_memory(base, "training", 10_000, sizes, run) == -80, "without another try"
    assert within_memory(base, "scoring", 90, sizes, run) == -90, "other work has its own budget"
    assert len(lines(caplog)) == 2


@pytest.mark.parametrize(
    "said",
    [
        "CUDA error: out of memory\nCUDA kernel errors might be reported at another call",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: "
        "you tried to allocate 8000000000000 bytes. Error code 12 (Cannot allocate memory)",
    ],
)
def test_what_libraries_say_of_used_up_memory_counts_as_that(llama, said):
    def run(tokens: int) -> int:
        if tokens > 100:
            raise RuntimeError(said)
        return tokens

    assert within_memory(fresh(llama), "training", 200, [50] * 6, run) == 100
    with pytest.raises(InputError, match=r"out of memory for adapters"), held_in_memory("adapters"):
        raise RuntimeError(said)


def test_a_text_that_does_not_fit_by_itself_is_refused_with_what_to_reduce(llama):
    def run(tokens: int) -> None:
        raise torch.OutOfMemoryError("simulated")

    with pytest.raises(InputError) as refused:
        within_memory(fresh(llama), "training", 4096, [300, 40], run)
    assert "\n" not in str(refused.value)
    for words in ("training: ", "out of memory", "one text of 300 tokens", "data.max_tokens"):
        assert words in str(refused.value)


@pytest.mark.parametrize(
    ("work", "mend"),
    [
        ("training", "lower the tokens_per_batch of finetune, reward or steer"),
        ("sampling", "lower data.max_prompt_tokens or steer.max_new_tokens"),
        ("evaluation", "lower evaluate.tokens_per_batch"),
    ],
)
def test_several_processes_end_with_what_to_reduce(llama, torchrun, work, mend):
    def run(tokens: int) -> None:
        raise torch.OutOfMemoryError("simulated")

    torchrun(2, 1)
    with pytest.raises(InputError, match=rf"{work}: process 1 is out of memory .* {mend}"):
        within_memory(fresh(llama), work, 100, [30, 40, 50], run)


def equal_under_pressure(
    base: SharedBase,
    run: Callable[[SharedBase], list[torch.Tensor]],
    caplog: pytest.LogCaptureFixture,
    work: str,
    tokens: int,
    training: int | None = None,
) -> None:
    """Assert that work gives the same numbers where memory runs out, and says so in one line."""
    expected = run(fresh(base))
    assert not lines(caplog)
    tight = fresh(base)
    with memory_for(base, tokens, training=training):
        found = run(tight)
    for ours, theirs in zip(found, expected, strict=True):
        tiny.close(ours, theirs, 1e-4)
    assert work in tight.limits
    said = [line for line in lines(caplog) if line.startswith(f"{work}: ")]
    assert said
    assert len(said) == len(set(said)), "each halving is told once"
    caplog.clear()
    with memory_for(base, 4), pytest.raises(InputError, match=r"out of memory even with one"):
        run(fresh(base))
    caplog.clear()


@pytest.mark.parametrize("packed", [True, False])
def test_a_repeated_step_of_a_reward_model_equals_the_undisturbed_one(llama, caplog, packed):
    rows = tiny.ragged(8, 8, 12)
    pairs = [EncodedPair(rows[i], [*rows[i][:4], *rows[i - 1][4:]], 4, str(i)) for i in range(8)]
    settings = RewardSettings(batch=8, epochs=2.0, lora=tiny.lora(dropout=0.1))

    def run(base: SharedBase) -> list[torch.Tensor]:
        training = RewardTraining(base, [pairs], settings, 0)
        for step in range(2):
            training.step(step)
        return training.optimisers[0].copy_parameters()

    equal_under_pressure(fresh(llama, runs_packed=packed), run, caplog, "training", 60)


def test_a_later_pass_that_fails_leaves_no_gradient(llama):
    rows = tiny.ragged(8, 8, 12)
    pairs = [EncodedPair(rows[i], [*rows[i][:4], *rows[i - 1][4:]], 4, str(i)) for i in range(8)]
    settings = RewardSettings(batch=8, lora=tiny.lora(), tokens_per_batch=64)

    def gradients(*, fails: bool) -> list[torch.Tensor]:
        training, calls = RewardTraining(fresh(llama), [pairs], settings, 0), [0]

        def run_out(*_: object) -> None:
            calls[0] += 1
            if fails and calls[0] == 2:  # after the gradients of a first pass
                raise torch.OutOfMemoryError("simulated")

        hook = llama.model.get_decoder().register_forward_pre_hook(run_out)
        try:
            training.step(0)
        finally:
            hook.remove()
        assert calls[0] > 2
        return training.optimisers[0].copy_parameters()

    for found, expected in zip(gradients(fails=True), gradients(fails=False), strict=True):
        tiny.close(found, expected)


def test_a_repeated_step_of_fine_tuning_equals_the_undisturbed_one(llama, caplog, tmp_path):
    rows = tiny.whole_rows(tiny.ragged(8, 8, 14))
    settings = FinetuneSettings(batch=4, epochs=1.0, lora=tiny.lora(dropout=0.1))
    runs = iter(range(9))

    def run(base: SharedBase) -> list[torch.Tensor]:
        bank, losses = finetune(base, rows, settings, tmp_path / str(next(runs)), tiny.quiet)
        return [*(part.detach() for part in bank.arm_parameters(0)), torch.tensor(losses)]

    equal_under_pressure(llama, run, caplog, "training", 30)


@pytest.mark.parametrize("algorithm", catalog.algorithm_names())
@pytest.mark.parametrize(("packed", "tokens", "training"), [(True, 10_000, 50), (False, 70, None)])
def test_a_repeated_step_of_steering_equals_the_undisturbed_one(
    llama, caplog, packed, tokens, training, algorithm
):
    def run(base: SharedBase) -> list[torch.Tensor]:
        steering = tiny.steering(
            algorithm,
            base,
            (0, 1),
            batch=16,
            dpo=DPOSettings(pairs=12),
            best_of_n=BestOfNSettings(n=4, prompts=8),
            lora=tiny.lora(dropout=0.1),
        )
        for step in range(2):
            steering.step(step)
        curves = [
            [point.reward, point.kl, point.entropy, point.loss]
            for curve in steering.curves
            for point in curve
        ]
        adapters = [tiny.flat(steering, arm) for arm in (0, 1)]
        return [*adapters, torch.tensor(curves)]

    base = fresh(llama, runs_packed=packed)
    # with ``training`` all fits that is read without gradients, until the learner's first pass
    equal_under_pressure(base, run, caplog, "training", tokens, training)


@pytest.mark.parametrize("is_exact", [True, False])
def test_the_first_ratio_is_one_where_memory_runs_out_in_the_first_update(llama, is_exact):
    base = fresh(llama, autocast=not is_exact)
    steering = tiny.steering("ppo", base, (0, 1), batch=16)
    with memory_for(llama, 10_000, training=50):
        rollout = tiny.observed(steering, 0)
        learned = steering.learner.learn(0, rollout)
    assert base.limits["training"] < 64
    assert [learned[arm].drift for arm in (0, 1)] == [0.0, 0.0]


def test_answers_sampled_in_smaller_batches_are_the_same(llama, caplog):
    bank = tiny.fill(LoraBank(llama.layers, 2, tiny.lora(), seed=0))
    prompts = tiny.ragged(12, 2, 9)

    def run(base: SharedBase) -> list[torch.Tensor]:
        stopping = tiny.with_eos(base, 100)
        sums = torch.zeros(24, 12)

        def observe(
            rows: torch.Tensor, column: torch.Tensor, hidden: torch.Tensor, *_: object
        ) -> None:
            sums[rows, column] = hidden.sum(dim=-1)

        with bank.applied():
            answers = generate(
                stopping, prompts, 2, Sampling(3, 12), torch.Generator().manual_seed(3), observe
            )
        sums *= torch.tensor([[i < len(answer) for i in range(12)] for answer in answers])
        return [
            torch.tensor([*map(len, answers)]),
            torch.tensor([token for answer in answers for token in answer]),
            sums,
        ]

    # too little for the last tokens alone: the first were sampled before
    equal_under_pressure(llama, run, caplog, "sampling", 24 * 10)


def test_rows_scored_in_smaller_passes_have_the_same_scores(llama, caplog):
    rewards = tiny.rewards(llama, [0, 1])
    rows = [*tiny.ragged(30, 5, 40, seed=3), *([7] * n for n in range(2, 9))]

    def run(base: SharedBase) -> list[torch.Tensor]:
        return [score_rows(base, rewards.bank, rewards.heads, 1, rows)]

    equal_under_pressure(llama, run, caplog, "scoring", 45)


def items(count: int) -> list[Item]:
    contexts = [
        f"{'Hens lay eggs, it is said. ' * (i % 3)}Question {i}: is it?" for i in range(count)
    ]
    return [Item(f"i{i}", (text, text), (" yes", " no"), i % 2, f"i{i}")
            for i, text in enumerate(contexts)]  # fmt: skip


@pytest.mark.parametrize("name", ["toxigen", "scruples_three"])
def test_a_benchmark_answered_in_smaller_passes_has_the_same_outcomes(llama, caplog, name):
    bank = tiny.fill(LoraBank(llama.layers, 2, tiny.lora(), seed=0))
    benchmark, models = catalog.benchmark(name), [Model("a"), Model("b")]

    def run(base: SharedBase) -> list[torch.Tensor]:
        with bank.applied():
            outcomes = answer_items(base, models, benchmark, items(12), None, 2048, tiny.quiet)
        flat = [outcome for answered in outcomes for outcome in answered]
        if benchmark.new_tokens:
            texts = [hash(outcome.text) % 10**6 for outcome in flat]
            return [torch.tensor(texts)]
        return [torch.tensor(np.array([outcome.log_likelihoods for outcome in flat]))]

    work = "sampling" if benchmark.new_tokens else "evaluation"
    equal_under_pressure(llama, run, caplog, work, 200)


def test_what_stays_in_memory_and_does_not_fit_is_one_line(llama, monkeypatch):
    bank = LoraBank(llama.layers, 1, tiny.lora(), seed=0)
    optimiser = ArmOptimiser.build(bank.arm_parameters(0), OptimiserSettings(), 3)

    def run_out(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("simulated")

    monkeypatch.setattr(optimiser.adamw, "step", run_out)
    with pytest.raises(InputError, match=r"for the optimiser's moments; lower lora\.r"):
        optimiser.step()


def test_other_errors_are_not_taken_for_too_little_memory():
    with pytest.raises(RuntimeError, match="shapes"), held_in_memory("adapters"):
        raise RuntimeError("shapes differ")


def test_the_tensors_of_a_pass_that_failed_are_freed_before_it_is_repeated(llama):
    references: list[weakref.ref[torch.Tensor]] = []

    def run(tokens: int) -> int:
        states = torch.ones(4, requires_grad=True) * 2
        references.append(weakref.ref(states))
        if tokens > 100:
            raise torch.OutOfMemoryError("simulated")
        return tokens

    def undo() -> None:
        assert references[-1]() is None, "the repeated pass would find no more memory"

    assert within_memory(fresh(llama), "training", 300, [50] * 6, run, undo) == 75
    assert len(references) == 3


def test_too_little_memory_is_not_taken_for_a_model_that_runs_no_packed_rows(llama):
    with memory_for(llama, 4), pytest.raises(torch.OutOfMemoryError):
        runs_packed(llama)
