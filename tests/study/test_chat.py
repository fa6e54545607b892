"""A whole study on a tiny chat model as it is: its own template, no fine-tuning."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
)

from ethosteer.data.sources import Origin
from ethosteer.errors import InputError
from ethosteer.files import read_json
from ethosteer.models.pairs import encode
from ethosteer.models.reward_models import load_rewards
from ethosteer.progress import Terminal
from ethosteer.records import Arm
from ethosteer.results.study import StudyResults
from ethosteer.study.export import export_arm
from ethosteer.study.load import load_study
from ethosteer.study.run import Study
from tests import tiny
from tests.chat import tokenizer
from tests.tiny_study import OVERRIDES

CHANGES = (
    *OVERRIDES,
    "seeds=[0]",
    "data.template='chat'",
    "finetune.enabled=false",
    "compare.control='base'",
    "steer.ignore_eos=false",
    "benchmarks={toxigen={limit=6}, toxigen_generation={limit=3}}",
)


@pytest.fixture(scope="module")
def chat_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a tiny Llama that pads with its end of turn, as SmolLM2 does."""
    folder = tmp_path_factory.mktemp("chat-base")
    chatml = tokenizer("chatml")
    chatml.pad_token = "<|im_end|>"
    tiny.save_llama(
        folder,
        chatml,
        pad_token_id=chatml.pad_token_id,
        eos_token_id=chatml.eos_token_id,
    )
    return folder


@pytest.fixture(scope="module")
def study(chat_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Study:
    settings = load_study("demo", [f"base.model={chat_base}", *CHANGES])
    study = Study(settings, tmp_path_factory.mktemp("runs"), Origin("sample"), Terminal(quiet=True))
    assert study.run()
    return study


def test_arms_start_from_the_base_as_it_is(study: Study) -> None:
    results = read_json(study.folder / "results.json", StudyResults)
    assert results.control == "base"
    assert results.models == ("base", "deontology", "virtue")
    assert {stage.kind for stage in study.plan.stages} == {
        "curate", "reward", "steer", "evaluate", "compare"
    }  # fmt: skip
    assert {comparison.b for comparison in results.reward_comparisons} == {"base"}
    assert len(results.reward_comparisons) == 4
    assert [answer.model for answer in results.samples[0].answers] == list(results.models)
    report = (study.folder / "report.md").read_text("utf-8")
    assert "from base, from which every arm starts" in " ".join(report.split())
    assert "fine-tuned" not in report.split("## Glossary")[0]
    assert not study.run(), "nothing is left to do"
    assert load_study(str(study.folder / "study.toml")) == study.settings


def test_a_control_that_is_not_trained_is_refused(chat_base: Path) -> None:
    with pytest.raises(InputError, match=r"compare\.control = 'fine-tuned' needs a fine-tuned"):
        load_study("demo", [f"base.model={chat_base}", *CHANGES, "compare.control='fine-tuned'"])


def test_every_row_that_is_scored_has_one_end_of_turn(study: Study) -> None:
    work, stage = study.workspace, study.plan.rewards_of(0)[0]
    template = stage.prompts.template(work)
    end = template.end_of_turn
    pairs = encode(work.store.load(stage.pairs).train, template)
    samples = stage.base_samples(work)
    prompts = study.plan.prompts.ids("train", work)
    for row in [*samples, *(row for pair in pairs for row in (pair.chosen, pair.rejected))]:
        assert row[-1] == end and row.count(end) == 2, "one of the question, one of the answer"
    assert len({len(row) for row in samples}) > 1
    assert all(any(row[: len(p)] == p for p in prompts) for row in samples)


@pytest.mark.parametrize("reward", [False, True])
def test_an_exported_arm_is_the_same_in_stock_libraries(
    study: Study, tmp_path: Path, reward: bool
) -> None:
    export_arm(study, "virtue", None, tmp_path / "out", reward=reward)
    work, base = study.workspace, study.workspace.base(study.plan.shared_base)
    stage = study.plan.steering[Arm("virtue", 0)]
    rows = sorted(stage.reward.base_samples(work)[:6], key=len)
    card = " ".join((tmp_path / "out" / "README.md").read_text("utf-8").split())
    assert "fine-tuned on dialogues" not in card
    if not reward:
        stock = AutoModelForCausalLM.from_pretrained(tmp_path / "out" / "base")
        model = PeftModel.from_pretrained(stock, tmp_path / "out").eval()
        ids = torch.tensor([rows[0]])
        with torch.no_grad(), work.adapters(base, {"virtue": study.store.path(stage)}):
            found = base.logits(base.hidden(ids))
            torch.testing.assert_close(found, model(input_ids=ids).logits, atol=1e-5, rtol=0)
        return
    assert "end with `<|im_end|>`, with nothing after it" in card
    own = AutoTokenizer.from_pretrained(tmp_path / "out" / "base")
    stock = AutoModelForSequenceClassification.from_pretrained(
        tmp_path / "out" / "base", num_labels=1
    )
    model = PeftModel.from_pretrained(stock, tmp_path / "out").eval()
    batch = own.pad({"input_ids": rows}, return_tensors="pt")
    assert len({len(row) for row in rows}) > 1
    with torch.no_grad():
        raw = model(**batch).logits[:, 0]
    rewards = load_rewards(base, [study.store.path(stage.reward)])
    score = rewards.score(base, 0, rows)
    torch.testing.assert_close(score, raw * rewards.gain[0] + rewards.bias[0], atol=1e-4, rtol=0)
