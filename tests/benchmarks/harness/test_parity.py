"""Tasks of lm-evaluation-harness, item by item against the harness's own run.

Both score the same tiny model of random weights; the harness through transformers, in batches.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ethosteer.api import evaluate
from ethosteer.settings import BaseSettings
from tests import tiny
from tests.benchmarks.harness.tasks import TASKS, write_tasks
from tests.chat import tokenizer

lm_eval = pytest.importorskip("lm_eval", reason="lm-evaluation-harness is not installed")

pytestmark = pytest.mark.filterwarnings("ignore")  # the harness's and its libraries'


@pytest.fixture(scope="module")
def include_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tasks(tmp_path_factory.mktemp("tasks"))


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return tiny models with room for few-shot examples: plain, and with a chat template."""
    from transformers import AutoTokenizer

    from ethosteer.models.identity import POCKET

    folders = {name: tmp_path_factory.mktemp(name) for name in ("plain", "chat")}
    tiny.save_llama(folders["plain"], AutoTokenizer.from_pretrained(POCKET), initializer_range=0.3)
    chatml = tokenizer("chatml")
    chatml.pad_token = "<|im_end|>"
    tiny.save_llama(
        folders["chat"],
        chatml,
        pad_token_id=chatml.pad_token_id,
        eos_token_id=chatml.eos_token_id,
        initializer_range=0.3,
        max_position_embeddings=1024,
    )
    return folders


@pytest.fixture(scope="module", params=["plain", "chat"])
def both(
    request: pytest.FixtureRequest, bases: dict[str, Path], include_path: Path
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the harness's samples and our evaluations of every task, by its name."""
    chat, folder = request.param == "chat", bases[request.param]
    names = [f"local_{name}" for name in TASKS]
    theirs = lm_eval.simple_evaluate(
        model="hf",
        model_args={"pretrained": str(folder), "dtype": "float32", "enable_thinking": False},
        tasks=names,
        batch_size=4,
        device="cpu",
        task_manager=lm_eval.tasks.TaskManager(
            include_path=str(include_path), include_defaults=False
        ),
        log_samples=True,
        bootstrap_iters=0,
        apply_chat_template=chat,
    )
    ours = evaluate(
        BaseSettings(model=str(folder), device="cpu"),
        [f"lm-eval:{name}" for name in names],
        include_path=[include_path],
        chat=chat,
        quiet=True,
    )
    return theirs, {item.result.name.removeprefix("lm-eval:local_"): item for item in ours}


@pytest.mark.parametrize("name", TASKS)
def test_every_item_is_the_harnesss(both: tuple[dict[str, Any], Any], name: str) -> None:
    theirs, ours = both
    evaluation = ours[name]
    outcomes = evaluation.outcomes["base"]
    samples: dict[str, list[dict[str, Any]]] = {}
    for sample in theirs["samples"][f"local_{name}"]:
        samples.setdefault(sample["filter"], []).append(sample)
    values = {cell.metric: cell.estimate.value for cell in evaluation.result.cells}
    for label, rows in samples.items():
        assert len(rows) == len(outcomes)
        for sample, outcome in zip(rows, outcomes, strict=True):
            metrics = sample["metrics"]
            if name == "generated":
                text = sample["resps"][0][0]
                assert outcome.text is not None and outcome.text.startswith(text.strip())
                index = ["digits", "whole"].index(label)
                assert outcome.scores[index] == sample["exact_match"]
                continue
            likelihoods = [response[0] for response in sample["filtered_resps"]]
            assert outcome.log_likelihoods == pytest.approx(likelihoods, abs=1e-4)
            if name == "cloze":
                assert bool(outcome.correct) == sample["filtered_resps"][0][1]
            else:
                assert outcome.predicted == likelihoods.index(max(likelihoods))
            if "acc" in metrics:
                assert bool(outcome.correct) == bool(sample["acc"])
        many = len(samples) > 1
        for metric in evaluation.result.metrics:
            base = metric.name.partition(" (")[0]
            if f"{base},{label}" in theirs["results"][f"local_{name}"] and (
                not many or metric.name.endswith(f"({label})")
            ):
                expected = theirs["results"][f"local_{name}"][f"{base},{label}"]
                assert values[metric.name] == pytest.approx(expected, abs=1e-9)


def test_the_models_answers_vary(both: tuple[dict[str, Any], Any]) -> None:
    """Agreement of constant answers would show little."""
    _, ours = both
    assert len({outcome.predicted for outcome in ours["texts"].outcomes["base"]}) > 1
    assert len({outcome.correct for outcome in ours["paired_contexts"].outcomes["base"]}) > 1


def test_metrics_that_are_no_mean_are_left_out_and_named(both: tuple[dict[str, Any], Any]) -> None:
    _, ours = both
    assert [metric.name for metric in ours["cloze"].result.metrics] == ["acc"]
    assert ours["cloze"].result.note == "Left out, since no mean over items: perplexity."
    assert [metric.name for metric in ours["yes_no"].result.metrics] == [
        "acc", "mcc", "balanced_acc", "auc", "margin",
    ]  # fmt: skip
    assert ours["yes_no"].result.note == "Left out, since no mean over items: f1."
    assert set(ours["yes_no"].result.baselines) == {"always no", "always yes"}
    assert [metric.name for metric in ours["few_shot"].result.metrics] == ["acc_norm", "acc"]
    assert [metric.name for metric in ours["generated"].result.metrics] == [
        "exact_match (digits)", "exact_match (whole)",
    ]  # fmt: skip
