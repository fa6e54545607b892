"""What only a GPU shows: a study there, and memory that runs out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from torch import distributed
from transformers import LlamaConfig, LlamaForCausalLM

from ethosteer.data.sources import Origin
from ethosteer.models import loading
from ethosteer.models.base import SharedBase, pad_right
from ethosteer.models.fast import varlen
from ethosteer.models.fast.budget import fitting
from ethosteer.models.fast.packing import pack_rows
from ethosteer.models.fast.trees import pack, stack
from ethosteer.models.generation import Sampling, generate
from ethosteer.models.loading import share
from ethosteer.models.lora_bank import LoraBank
from ethosteer.models.noise import gumbel, uniforms
from ethosteer.models.pairs import EncodedPair
from ethosteer.models.reward_training import RewardTraining
from ethosteer.models.sharding import shard
from ethosteer.progress import Terminal
from ethosteer.settings import OptimiserSettings, RewardSettings
from ethosteer.study.load import load_study
from ethosteer.study.run import Study
from tests import tiny
from tests.tiny_study import ALGORITHMS

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


def finished(base: Path, runs: Path, *changes: str) -> Study:
    """Run the tiny study with an arm for each algorithm, to its end."""
    settings = load_study("demo", [f"base.model={base}", *ALGORITHMS, *changes])
    study = Study(settings, runs, Origin("sample"), Terminal(quiet=True))
    assert study.run()
    return study


def log_likelihoods(study: Study, model: str) -> np.ndarray:
    """Return a model's log-likelihoods of every item's choices, ``[items, choices]``."""
    rows = pq.read_table(study.folder / "outcomes.parquet").to_pylist()
    return np.array([row["log_likelihoods"] for row in rows if row["model"] == model])


def validation_losses(study: Study) -> list[float]:
    """Return the losses of every arm's reward model on its validation pairs."""
    arms = json.loads((study.folder / "results.json").read_text("utf-8"))["arms"]
    return [point["loss"] for arm in arms for point in arm["validation"]]


@pytest.fixture(scope="module")
def on_cpu(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Study:
    return finished(tiny_base, tmp_path_factory.mktemp("cpu"), "base.device=cpu")


def test_a_study_gives_the_numbers_of_the_processor(
    on_cpu: Study, tiny_base: Path, tmp_path: Path
) -> None:
    """No arm is compared that samples: one token chosen otherwise by rounding changes an answer."""
    on_gpu = finished(tiny_base, tmp_path, "base.device=cuda")
    for model in ("base", "fine-tuned", "v-dpo"):
        np.testing.assert_allclose(
            log_likelihoods(on_gpu, model), log_likelihoods(on_cpu, model), rtol=1e-3, atol=1e-3
        )
    assert validation_losses(on_gpu) == pytest.approx(validation_losses(on_cpu), rel=1e-3)


def test_a_study_in_bfloat16(tiny_base: Path, tmp_path: Path) -> None:
    """Steering asserts that KL is 0 and the first ratio 1 at its first step."""
    study = finished(tiny_base, tmp_path, "base.device=cuda", "base.dtype=bfloat16")
    assert (study.folder / "report.html").is_file()


@pytest.mark.parametrize("quantise", ["nf4", "int8"])
def test_a_study_on_a_quantised_base(tiny_base: Path, tmp_path: Path, quantise: str) -> None:
    pytest.importorskip("bitsandbytes")
    study = finished(
        tiny_base, tmp_path, "base.device=cuda", "base.dtype=bfloat16", f"base.quantise={quantise}"
    )
    assert (study.folder / "report.html").is_file()


@pytest.fixture
def little_memory() -> Iterator[None]:
    """Allow this process 2 GB of the GPU."""
    _, total = torch.cuda.mem_get_info()
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(2e9 / total)
    yield
    torch.cuda.set_per_process_memory_fraction(1.0)


def wide_base(dtype: torch.dtype = torch.float32, *, sharded: bool = False) -> SharedBase:
    """Return a base whose activations take about 180 kB a token."""
    torch.manual_seed(0)
    tokenizer = tiny.make_tokenizer("llama")
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=512,
        intermediate_size=1024,
        num_hidden_layers=4,
        num_attention_heads=8,
    )
    model = LlamaForCausalLM(config)
    if sharded:
        shard(model, torch.device("cuda"))
    model.to("cuda", dtype)  # type: ignore[arg-type]  # misread by the stubs
    return share(model, tokenizer)


def reward_losses(
    tokens: int, batch: int = 32, base: SharedBase | None = None
) -> tuple[list[float], int]:
    """Train a reward model two steps with a token budget; return its losses and the budget left."""
    base = base or wide_base()
    rows = tiny.ragged(4 * batch, 200, 500)
    pairs = [
        EncodedPair(row, row[:20] + other[20:], 20, str(index))
        for index, (row, other) in enumerate(zip(rows[::2], rows[1::2], strict=True))
    ]
    settings = RewardSettings(
        batch=batch,
        tokens_per_batch=tokens,
        lora=tiny.lora(),
        optimiser=OptimiserSettings(learning_rate=1e-3),
    )
    training = RewardTraining(base, [pairs], settings, seed=0)
    for step in range(2):
        training.step(step)
    return training.losses[0], fitting(base, "training", tokens)


def test_memory_that_runs_out_halves_the_pass(
    little_memory: None, caplog: pytest.LogCaptureFixture
) -> None:
    expected, kept = reward_losses(2_000)
    assert kept == 2_000
    assert not [record for record in caplog.records if record.name == "ethosteer"]
    losses, halved = reward_losses(32_000)
    assert 1_000 <= halved < 32_000
    line = (
        f"training: the device is out of memory; repeating with at most {halved} tokens in a pass"
    )
    assert line in caplog.text
    assert losses == pytest.approx(expected, rel=1e-4)


def test_noise_is_that_of_the_processor() -> None:
    seeds = torch.randint(2**62, (40,), generator=torch.Generator().manual_seed(0))
    for index in (0, 9):
        column = torch.tensor([index])
        there = uniforms(seeds.cuda(), column.cuda(), 3001).cpu()
        assert torch.equal(there, uniforms(seeds, column, 3001))
        noise = gumbel(seeds.cuda(), column.cuda(), 3001).cpu()
        torch.testing.assert_close(noise, gumbel(seeds, column, 3001), rtol=1e-5, atol=1e-6)


def observed(
    base: SharedBase, sampling: Sampling, arms: int
) -> tuple[list[list[int]], torch.Tensor]:
    """Sample with random adapters; return the answers, and the largest logit of each token."""
    prompts = tiny.ragged(24, 3, 30)
    bank = tiny.fill(LoraBank(base.layers, arms, tiny.lora(), seed=0)).to(base.device)
    largest = torch.zeros(24 * arms, sampling.max_new_tokens, device=base.device)

    def observe(
        rows: torch.Tensor, column: torch.Tensor, _: torch.Tensor, logits: torch.Tensor, *__: object
    ) -> None:
        largest[rows, column] = logits.float().amax(dim=1)

    with bank.applied():
        noise = torch.Generator().manual_seed(3)
        return generate(base, prompts, arms, sampling, noise, observe), largest


@pytest.mark.parametrize("arms", [1, 3])
@pytest.mark.parametrize("ignore_eos", [True, False])
def test_a_token_as_one_graph_samples_the_same(arms: int, ignore_eos: bool) -> None:
    base = tiny.with_eos(wide_base(), 100)
    assert base.captures and base.runs_packed
    sampling = Sampling(1, 40, ignore_eos=ignore_eos)
    found, largest = observed(base, sampling, arms)
    expected, seen = observed(replace(base, captures=False), sampling, arms)
    assert found == expected
    written = torch.tensor([[c < len(row) for c in range(40)] for row in found], device="cuda")
    torch.testing.assert_close(largest[written], seen[written], rtol=1e-4, atol=1e-4)


def test_rows_and_trees_in_one_call_attend_as_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    base = wide_base(torch.bfloat16)
    assert base.runs_packed and varlen.AVAILABLE
    tokens, lengths = pad_right(tiny.ragged(12, 3, 90), base.device)
    bank = tiny.fill(LoraBank(base.layers, 1, tiny.lora(), seed=0)).to(base.device)

    def states_and_gradient() -> tuple[torch.Tensor, torch.Tensor]:
        bank.zero_grad()
        with bank.applied():
            hidden = base.hidden_packed(pack_rows(tokens, lengths)[0])
        hidden.float().square().mean().backward()
        gradient = torch.cat([p.grad.flatten() for p in bank.arm_parameters(0)])  # type: ignore[union-attr]
        return hidden.detach().float(), gradient

    def states_of_trees() -> torch.Tensor:
        stem = tuple(range(5, 45))
        rows = [(*stem, *range(start, start + 3 * start)) for start in range(50, 56)]
        trees = [*pack(rows, float("inf"), 1024), *pack(rows[:2], None, 1024)]
        with torch.no_grad(), bank.applied():
            return base.hidden_packed(stack(trees, base.device)).float()

    found = *states_and_gradient(), states_of_trees()
    monkeypatch.setattr(varlen, "AVAILABLE", False)
    for value, expected in zip(found, (*states_and_gradient(), states_of_trees()), strict=True):
        assert (value - expected).norm() <= 2e-2 * expected.norm()


def test_a_base_in_the_units_of_fsdp_has_the_numbers_of_a_plain_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one process, since NCCL takes no two on one GPU: its hooks, streams and packed passes."""
    monkeypatch.setattr(loading, "captures_tokens", lambda _: False)  # as in several processes
    plain = wide_base()
    distributed.init_process_group(
        "cpu:gloo,cuda:nccl", f"file://{tmp_path / 'store'}", rank=0, world_size=1
    )
    try:
        sharded = wide_base(sharded=True)
        assert sharded.runs_packed
        answers = [
            generate(base, tiny.PROMPTS, 1, Sampling(8, 8, True, greedy=True), torch.Generator())
            for base in (plain, sharded)
        ]
        assert answers[0] == answers[1]
        expected, _ = reward_losses(2_000, base=plain)
        losses, _ = reward_losses(2_000, base=sharded)
        assert losses == pytest.approx(expected, rel=1e-4)
    finally:
        distributed.destroy_process_group()
