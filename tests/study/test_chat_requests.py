"""Benchmarks through the chat template: a whole study, and `ethosteer evaluate --chat`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from ethosteer.data.sources import Origin
from ethosteer.errors import InputError
from ethosteer.evaluation import answering
from ethosteer.models.generation import generate
from ethosteer.progress import Terminal
from ethosteer.study.compare_studies import compare_runs, write_across
from ethosteer.study.finished import Run, open_run
from ethosteer.study.load import load_study
from ethosteer.study.run import Study
from tests import tiny
from tests.chat import tokenizer
from tests.tiny_study import OVERRIDES

CHANGES = (
    *OVERRIDES,
    "seeds=[0]",
    "finetune.enabled=false",
    "compare.control='base'",
    "benchmarks={toxigen={limit=6}, scruples_three={limit=3}}",
)
SENTENCE = "Requests were written by the base's chat template."


@pytest.fixture(scope="module")
def chat_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a tiny Llama that has a ChatML template."""
    folder = tmp_path_factory.mktemp("chat-base")
    chatml = tokenizer("chatml")
    chatml.pad_token = "<|im_end|>"
    tiny.save_llama(
        folder,
        chatml,
        pad_token_id=chatml.pad_token_id,
        eos_token_id=chatml.eos_token_id,
        initializer_range=0.3,
    )
    return folder


def a_study(base: Path, runs: Path, *changes: str) -> Study:
    settings = load_study("demo", [f"base.model={base}", *CHANGES, *changes])
    return Study(settings, runs, Origin("sample"), Terminal(quiet=True))


@pytest.fixture(scope="module")
def folders(chat_base: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Run a study with plain requests, and again with the chat template on what it has stored."""
    folder = tmp_path_factory.mktemp("runs")
    plain = a_study(chat_base, folder)
    assert plain.run()
    shutil.copytree(plain.folder, folder / "in-chat")
    chat = a_study(chat_base, folder, "name='in-chat'", "evaluate.chat=true")
    redone = {stage.kind for stage in chat.store.missing(chat.plan.stages)}
    assert redone == {"evaluate", "compare"}, "arms are steered alike"
    assert not chat.store.missing([*chat.plan.cross.values()])
    assert chat.store.has(chat.plan.samples)
    assert chat.run()
    return plain.folder, chat.folder


@pytest.fixture(scope="module")
def runs(folders: tuple[Path, Path]) -> tuple[Run, Run]:
    plain, chat = map(open_run, folders)
    return plain, chat


def test_a_report_says_how_requests_were_written(
    folders: tuple[Path, Path], runs: tuple[Run, Run]
) -> None:
    for folder, run, chat in zip(folders, runs, (False, True), strict=True):
        assert [result.chat for result in run.results.benchmarks] == [chat, chat]
        report = " ".join((folder / "report.md").read_text("utf-8").split())
        assert (SENTENCE in report) == chat
        assert ("Requests were plain text, without the base's chat template." in report) != chat
    plain, chat_items = (run.item_records["toxigen"] for run in runs)
    assert [item.id for item in plain] == [item.id for item in chat_items]
    for before, after in zip(plain, chat_items, strict=True):
        assert after.contexts[0] == (
            f"<|im_start|>user\n{before.contexts[0]}<|im_end|>\n<|im_start|>assistant\n"
        )
        assert after.continuations == ("No", "Yes")
    outcomes = [[outcome.log_likelihoods for outcome in run.outcome_records] for run in runs]
    assert outcomes[0] != outcomes[1]


def test_plain_and_chat_are_not_compared(runs: tuple[Run, Run], tmp_path: Path) -> None:
    across = compare_runs(runs)
    assert across.results.comparisons == ()
    assert {refusal.benchmark for refusal in across.refusals} == {
        result.title for result in runs[0].results.benchmarks
    }
    for refusal in across.refusals:
        assert refusal.reasons == ("the prompts", "the dialogue template")
    write_across(runs, tmp_path)
    assert "the dialogue template" in (tmp_path / "report.md").read_text("utf-8")


def test_a_base_without_a_chat_template_is_refused_before_any_work(
    tiny_models: dict[str, Path], tmp_path: Path
) -> None:
    fitting = ("data.max_tokens=96", "data.max_prompt_tokens=64")
    study = a_study(tiny_models["llama"], tmp_path, "evaluate.chat=true", *fitting)
    with pytest.raises(InputError, match=r"evaluate\.chat: .* has no chat template"):
        study.run()
    assert not list(tmp_path.rglob("manifest.json"))


# --- ethosteer evaluate --chat


def test_evaluate_in_chat_equals_stock_transformers(call, chat_base: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    status, _, _ = call(
        "evaluate", "--model", str(chat_base), "--sample", "--limit", "8", "--chat",
        "--benchmarks", "toxigen,preferences:virtue", "--out", str(out),
    )  # fmt: skip
    assert status == 0
    benchmarks = json.loads(out.read_text("utf-8"))["models"]["base"]["benchmarks"]
    assert {name: result["chat"] for name, result in benchmarks.items()} == {
        "toxigen": True,
        "preferences:virtue": False,
    }
    own = AutoTokenizer.from_pretrained(chat_base)
    model = AutoModelForCausalLM.from_pretrained(chat_base)
    items = a_study(chat_base, tmp_path, "benchmarks={toxigen={limit=8}}").plan.items["toxigen"]
    for item, result in zip(items.read(), benchmarks["toxigen"]["items"], strict=True):
        text = own.apply_chat_template(
            [{"role": "user", "content": item.contexts[0]}],
            tokenize=False,
            add_generation_prompt=True,
        )
        assert isinstance(text, str)
        start = len(own(text.rstrip()).input_ids)
        for choice, value in zip(("No", "Yes"), result["loglikelihoods"], strict=True):
            ids = torch.tensor([own(text + choice).input_ids])
            with torch.no_grad():
                log_p = model(ids).logits[0, :-1].log_softmax(-1)
            picked = log_p.gather(1, ids[0, 1:, None])[start - 1 :]
            assert value == pytest.approx(float(picked.sum()), abs=1e-4)


def test_answers_are_generated_after_the_generation_prompt(
    call, chat_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts: list[list[int]] = []

    def watched(base, rows, *others):
        prompts.extend(rows)
        return generate(base, rows, *others)

    monkeypatch.setattr(answering, "generate", watched)
    status, _, _ = call(
        "evaluate", "--model", str(chat_base), "--sample", "--limit", "2", "--chat",
        "--benchmarks", "scruples_three",
    )  # fmt: skip
    assert status == 0 and len(prompts) == 2
    own = AutoTokenizer.from_pretrained(chat_base)
    for text in map(str, map(own.decode, prompts)):
        assert text.startswith("<|im_start|>user\nSomeone tells")
        assert text.endswith("RIGHT or WRONG?<|im_end|>\n<|im_start|>assistant\n")
        assert "###" not in text


def test_evaluate_in_chat_needs_a_chat_template(call, tiny_models) -> None:
    found = call(
        "evaluate", "--model", str(tiny_models["llama"]), "--sample", "--chat",
        "--benchmarks", "toxigen",
    )  # fmt: skip
    assert found[:2] == (2, "")
    assert found[2].startswith("error: evaluate.chat: ") and found[2].count("\n") == 1
