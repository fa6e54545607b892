"""The whole pipeline on a tiny model and the bundled sample: what runs, what is left alone, what
comes out."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from peft import PeftModel
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    OPTConfig,
    OPTForCausalLM,
    PreTrainedModel,
)

from ethosteer.algorithms.loop import checkpoints
from ethosteer.data.sources import Origin
from ethosteer.data.splits import unit_hash
from ethosteer.errors import InputError
from ethosteer.evaluation.items import read_items
from ethosteer.files import read_json
from ethosteer.models.adapters import load_bank, read_adapter
from ethosteer.models.generation import generate
from ethosteer.models.identity import POCKET
from ethosteer.models.optimiser import generator
from ethosteer.models.reward_models import load_rewards
from ethosteer.models.stock import load_peft
from ethosteer.models.weights import load_weights
from ethosteer.progress import Terminal
from ethosteer.records import CONTROLS, Arm
from ethosteer.results.steering import SteeringResult
from ethosteer.results.study import StudyResults
from ethosteer.settings import StudySettings
from ethosteer.stages.finetune import Finetune
from ethosteer.stages.steer import AT_KL
from ethosteer.statistics.slopes import slope
from ethosteer.study.export import export_arm
from ethosteer.study.load import load_study
from ethosteer.study.run import FILES, Study
from tests.tiny_study import ALGORITHMS, OVERRIDES


def open_study(base: Path, runs: Path, *changes: str) -> Study:
    config = load_study("demo", [f"base.model={base}", *OVERRIDES, *changes])
    return Study(config, runs, Origin("sample"), Terminal(quiet=True))


LOADED: list[str] = []
"""The models whose weights the finished study loaded."""


@pytest.fixture(scope="module")
def finished(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Study:
    study = open_study(tiny_base, tmp_path_factory.mktemp("runs"))

    def load(kind: Any, subject: str, name: str, *rest: Any) -> PreTrainedModel:
        LOADED.append(name)
        return load_weights(kind, subject, name, *rest)

    with pytest.MonkeyPatch.context() as patch:
        for module in ("loading", "stock"):
            patch.setattr(f"ethosteer.models.{module}.load_weights", load)
        assert study.run()
    return study


def test_a_whole_study_loads_its_base_once(finished: Study, tiny_base: Path) -> None:
    assert [str(tiny_base)] == LOADED
    work, plan = finished.workspace, finished.plan
    assert work.base(plan.shared_base).model is work.base(plan.base).model
    assert isinstance(plan.shared_base, Finetune)
    artifact = finished.store.path(plan.shared_base)
    kept = {path.name for path in artifact.rglob("*.safetensors")}
    assert kept == {"adapter_model.safetensors"}


def test_a_base_whose_last_state_is_projected_runs_through_all_stages(tmp_path: Path) -> None:
    """OPT-350m is one: rewards and values are read from a state narrower than its layers."""
    tokenizer = AutoTokenizer.from_pretrained(POCKET)
    config = OPTConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        ffn_dim=48,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=256,
        word_embed_proj_dim=16,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    torch.manual_seed(0)
    OPTForCausalLM(config).save_pretrained(tmp_path / "opt")
    tokenizer.save_pretrained(tmp_path / "opt")
    changes = ("seeds=[0]", "arms={virtue={max_pairs=16}}", "benchmarks={toxigen={limit=6}}",
               "finetune.max_steps=1")  # fmt: skip
    assert open_study(tmp_path / "opt", tmp_path / "runs", *changes).run()


def test_a_finished_run_leaves_its_files(finished: Study) -> None:
    assert all((finished.folder / name).stat().st_size > 0 for name in FILES)
    results = read_json(finished.folder / "results.json", StudyResults)
    assert results.models == ("base", "fine-tuned", "deontology", "virtue")
    assert [(arm.arm, arm.seed) for arm in results.arms] == [
        ("deontology", 0), ("virtue", 0), ("deontology", 1), ("virtue", 1),
    ]  # fmt: skip
    assert {c.name for c in results.benchmarks} == set(finished.settings.benchmarks)


def test_the_written_study_file_is_the_study(finished: Study) -> None:
    config = load_study(str(finished.folder / "study.toml"))
    assert config == finished.settings


def test_every_model_answers_every_item(finished: Study) -> None:
    table = pq.read_table(finished.folder / "outcomes.parquet").to_pandas()
    items = table.groupby(["benchmark", "model", "seed"])["item"].agg(frozenset)
    for _, of_benchmark in items.groupby("benchmark"):
        assert of_benchmark.nunique() == 1
        assert len(of_benchmark) == 2 + 2 * 2


def test_accuracy_in_the_results_is_that_of_the_outcomes(finished: Study) -> None:
    table = pq.read_table(finished.folder / "outcomes.parquet").to_pandas()
    results = read_json(finished.folder / "results.json", StudyResults)
    toxigen = next(b for b in results.benchmarks if b.name == "toxigen")
    for cell in toxigen.cells:
        if cell.metric == "acc":
            own = table[(table.benchmark == "toxigen") & (table.model == cell.model)]
            assert cell.estimate.value == pytest.approx(own.correct.mean())


def test_ppo_starts_as_the_reference_exactly(finished: Study) -> None:
    for arm in finished.settings.arm_seeds():
        curve = finished.store.load(finished.plan.steering[arm]).curve
        assert [point.step for point in curve] == [0, 1]
        assert curve[0].kl == 0.0
        assert curve[0].kl_k3 == 0.0
        assert curve[1].kl != 0.0


def test_arms_of_one_seed_start_from_the_same_samples(finished: Study) -> None:
    lengths = {
        arm: finished.store.load(stage).curve[0].response_tokens
        for arm, stage in finished.plan.steering.items()
    }
    assert lengths[Arm("deontology", 0)] == lengths[Arm("virtue", 0)]


def test_a_second_run_does_nothing(finished: Study, tiny_base: Path) -> None:
    before = {p: p.stat().st_mtime_ns for p in finished.folder.rglob("*") if p.is_file()}
    again = open_study(tiny_base, finished.folder.parent)
    assert not again.run()
    after = {p: p.stat().st_mtime_ns for p in finished.folder.rglob("*") if p.is_file()}
    assert {p for p in after if p.name != ".lock" and after[p] != before.get(p)} == set()


def test_a_changed_benchmark_setting_redoes_only_what_rests_on_it(
    finished: Study, tiny_base: Path, tmp_path: Path
) -> None:
    shutil.copytree(finished.folder, tmp_path / "demo")
    changed = open_study(tiny_base, tmp_path, "benchmarks.toxigen.limit=10")
    missing = changed.store.missing(changed.plan.stages)
    assert {stage.kind for stage in missing} == {"evaluate", "compare"}
    assert all(stage.name.startswith("toxigen-") for stage in missing if stage.kind == "evaluate")
    kept = {p: p.stat().st_mtime_ns for p in (tmp_path / "demo").rglob("*.safetensors")}
    assert changed.run()
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "demo").rglob("*.safetensors")} == kept
    results = read_json(changed.folder / "results.json", StudyResults)
    toxigen = next(b for b in results.benchmarks if b.name == "toxigen")
    assert toxigen.items == 10


def test_what_is_declared_once_outcomes_are_known_is_told(
    finished: Study, tiny_base: Path, tmp_path: Path
) -> None:
    results = read_json(finished.folder / "results.json", StudyResults)
    assert results.deviations == ()
    shutil.copytree(finished.folder, tmp_path / "demo")
    late = open_study(tiny_base, tmp_path, "compare.margin=0.25", "compare.resamples=300")
    assert {stage.kind for stage in late.store.missing(late.plan.stages)} == {"compare"}
    assert late.run()
    results = read_json(late.folder / "results.json", StudyResults)
    assert results.deviations == ("compare.margin (preregistered 0.15, now 0.25)",)
    assert "Changed after outcomes were known" in (late.folder / "report.md").read_text("utf-8")
    assert late.settings.compare.margin == 0.25
    first = open_study(tiny_base, tmp_path)
    assert first.run()
    assert "Changed after outcomes" not in (first.folder / "report.md").read_text("utf-8")


def test_published_counts_are_added_to_the_report_and_redo_nothing(
    finished: Study, tiny_base: Path, tmp_path: Path, call: Callable[..., tuple[int, str, str]]
) -> None:
    shutil.copytree(finished.folder, tmp_path / "demo")
    assert "Published results" not in (finished.folder / "report.md").read_text("utf-8")
    changed = open_study(tiny_base, tmp_path, "compare.published=published-2024")
    assert changed.store.missing(changed.plan.stages) == []
    assert changed.run()
    for name in ("report.md", "report.html"):
        assert "Published results: published-2024" in (changed.folder / name).read_text("utf-8")
    assert read_json(changed.folder / "results.json", StudyResults).deviations == ()
    assert not changed.run()
    (changed.folder / "report.md").unlink()
    assert call("report", str(changed.folder))[0] == 0
    assert "Published results" in (changed.folder / "report.md").read_text("utf-8")


def test_items_stand_beside_the_outcomes_with_what_results_rest_on(finished: Study) -> None:
    items = read_items(finished.folder / "items.parquet")
    outcomes = pq.read_table(finished.folder / "outcomes.parquet").to_pandas()
    assert {name: len(own) for name, own in items.items()} == {
        "toxigen": 12, "wsc273": 8, "scruples_three": 6,
    }  # fmt: skip
    for name, own in items.items():
        assert [item.id for item in own] == list(
            outcomes[(outcomes.benchmark == name) & (outcomes.model == "base")].item
        )
    results = read_json(finished.folder / "results.json", StudyResults)
    bases = {each.name: each.comparability for each in results.benchmarks}
    assert all(bases.values())
    assert len({own.tokenizer for own in bases.values() if own}) == 1
    assert len({own.prompts for own in bases.values() if own}) == 3
    shown = next(each.example for each in results.benchmarks if each.name == "toxigen")
    assert shown == f"{items['toxigen'][0].contexts[0]} → « No» | « Yes»"


@pytest.mark.parametrize(
    ("change", "first_stage"),
    [
        ("compare.resamples=300", "compare"),
        ("evaluate.sample_prompts=1", "evaluate"),
        ("steer.steps=3", "steer"),
        ("reward.batch=4", "reward"),
        ("finetune.max_steps=2", "finetune"),
        ("arms.virtue.max_pairs=20", "curate"),
        ("steer.max_new_tokens=7", "reward"),
    ],
)
def test_fingerprints_follow_what_a_stage_rests_on(
    finished: Study, tiny_base: Path, change: str, first_stage: str
) -> None:
    changed = open_study(tiny_base, finished.folder.parent, change)
    missing = changed.store.missing(changed.plan.stages)
    assert missing[0].kind == first_stage


def test_a_stopped_run_goes_on_where_it_was(
    finished: Study, tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(finished.folder, tmp_path / "demo")
    for folder in (tmp_path / "demo" / "artifacts" / "steer").iterdir():
        shutil.rmtree(folder)
    stopped = open_study(tiny_base, tmp_path)
    monkeypatch.setattr(checkpoints.Steered, "write", _interrupt)
    with pytest.raises(KeyboardInterrupt):
        stopped.run()
    assert not any(
        (path / "manifest.json").exists()
        for path in (tmp_path / "demo" / "artifacts" / "steer").iterdir()
    )
    monkeypatch.undo()
    assert open_study(tiny_base, tmp_path).run()
    for arm in finished.settings.arm_seeds():
        one = finished.store.load(finished.plan.steering[arm])
        two = open_study(tiny_base, tmp_path).store.load(finished.plan.steering[arm])
        assert one == two


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def test_files_that_are_gone_are_written_again(finished: Study, tiny_base: Path) -> None:
    (finished.folder / "report.html").unlink()
    again = open_study(tiny_base, finished.folder.parent)
    assert again.run()
    assert (finished.folder / "report.html").is_file()


def test_a_damaged_input_ends_the_run_before_any_training(tiny_base: Path, tmp_path: Path) -> None:
    from ethosteer.data.sources import SAMPLE_DIR

    data = tmp_path / "data"
    shutil.copytree(SAMPLE_DIR, data)
    toxigen = data / "toxigen" / "annotated_test.csv"
    toxigen.write_text(toxigen.read_text("utf-8").replace("toxicity_human", "toxicity"), "utf-8")
    config = load_study("demo", [f"base.model={tiny_base}", *OVERRIDES])
    study = Study(config, tmp_path / "runs", Origin("folder", data), Terminal(quiet=True))
    with pytest.raises(InputError, match=r"annotated_test\.csv:1: column 'toxicity_human'"):
        study.run()
    assert not list((tmp_path / "runs").rglob("*.safetensors"))


def test_held_out_pairs_are_never_trained_on(finished: Study) -> None:
    for name in finished.settings.arms:
        curated = finished.store.load(finished.plan.pairs[name])
        groups = [
            {pair.group for pair in pairs}
            for pairs in (curated.train, curated.validation, curated.test)
        ]
        assert not groups[0] & groups[1]
        assert not groups[0] & groups[2]
        assert not groups[1] & groups[2]


def test_reward_normalisation_makes_base_answers_standard(finished: Study) -> None:
    study, work = finished, finished.workspace
    base = work.base(study.plan.shared_base)
    arms = [arm for arm in finished.settings.arm_seeds() if arm.seed == 0]
    rewards = load_rewards(base, [study.store.path(study.plan.rewards[arm]) for arm in arms])
    samples = study.plan.rewards_of(0)[0].base_samples(work)
    scores = torch.stack([rewards.score(base, arm, samples) for arm in range(len(arms))])
    torch.testing.assert_close(scores.mean(dim=1), torch.zeros(2), atol=1e-3, rtol=0)
    torch.testing.assert_close(scores.std(dim=1), torch.ones(2), atol=1e-3, rtol=0)


def test_an_exported_arm_is_the_arm_in_stock_peft(finished: Study, tmp_path: Path) -> None:
    study, work, arm = finished, finished.workspace, Arm("virtue", 1)
    base = work.base(study.plan.shared_base)
    export_arm(study, arm.name, arm.seed, tmp_path / "out")
    ids = torch.tensor([study.plan.prompts.ids("test", work)[0]])
    model = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(tmp_path / "out" / "base"), tmp_path / "out"
    )
    with torch.no_grad():
        expected = model(input_ids=ids).logits
    with torch.no_grad():
        stage = study.plan.steering[Arm("virtue", 1)]
        with work.adapters(base, {"virtue": stage.checkpoint(study.store.path(stage), "step")}):
            found = base.logits(base.hidden(ids))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    bare = base.logits(base.hidden(ids))
    assert (found - bare).abs().max() > 1e-5
    card = (tmp_path / "out" / "README.md").read_text("utf-8")
    assert card.startswith("---\nlibrary_name: peft\n")
    with pytest.raises(InputError, match="exists already"):
        export_arm(study, arm.name, arm.seed, tmp_path / "out")


def test_an_exported_reward_model_scores_the_same_in_stock_peft(
    finished: Study, tmp_path: Path
) -> None:
    study, work, arm = finished, finished.workspace, Arm("deontology", 0)
    base = work.base(study.plan.shared_base)
    export_arm(study, arm.name, None, tmp_path / "out", reward=True)
    stock = AutoModelForSequenceClassification.from_pretrained(
        tmp_path / "out" / "base", num_labels=1
    )
    model = PeftModel.from_pretrained(stock, tmp_path / "out").eval()
    rewards = load_rewards(base, [study.store.path(study.plan.rewards[arm])])
    for row in study.plan.rewards_of(0)[0].base_samples(work)[:4]:
        with torch.no_grad():
            raw = model(input_ids=torch.tensor([row])).logits[0, 0]
        score = rewards.score(base, 0, [row])[0]
        torch.testing.assert_close(
            score, raw * rewards.gain[0] + rewards.bias[0], atol=1e-4, rtol=0
        )


def test_an_unknown_arm_is_named(finished: Study, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="arms: deontology, virtue; seeds: 0, 1"):
        export_arm(finished, "duty", None, tmp_path / "out")


def test_the_manifest_says_what_was_done(finished: Study) -> None:
    manifest = json.loads((finished.folder / "manifest.json").read_text("utf-8"))
    steps = finished.plan.stages
    assert len(manifest["steps"]) == len(steps)
    assert manifest["fingerprint"] == finished.plan.comparison.fingerprint


def test_the_bundled_llama_study_has_the_2024_settings() -> None:
    config: StudySettings = load_study("llama2-13b")
    assert (config.reward.lora.r, config.reward.lora.alpha, config.reward.lora.dropout) == (
        8, 32, 0.1,
    )  # fmt: skip
    assert config.reward.optimiser.learning_rate == 2e-5
    assert (config.steer.lora.r, config.steer.optimiser.learning_rate) == (16, 1.4e-5)
    assert (config.steer.kl_coefficient, config.steer.epochs, config.steer.steps) == (0.2, 4, 400)
    assert (config.steer.min_new_tokens, config.steer.max_new_tokens) == (32, 128)
    assert config.steer.ignore_eos


# --- arms steered by every algorithm, evaluated at equal KL


STEERED_BY = {
    "deontology": "ppo",
    "virtue": "ppo",
    "v-rloo": "rloo",
    "v-dpo": "dpo",
    "v-best": "best_of_n",
}
JUDGES = ("deontology", "virtue")


@pytest.fixture(scope="module")
def algorithms(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Study:
    config = load_study("demo", [f"base.model={tiny_base}", *ALGORITHMS])
    runs = tmp_path_factory.mktemp("algorithms")
    study = Study(config, runs, Origin("sample"), Terminal(quiet=True))
    assert study.run()
    return study


def results_of(study: Study) -> StudyResults:
    return read_json(study.folder / "results.json", StudyResults)


def steered_by(study: Study, name: str) -> SteeringResult:
    return study.store.load(study.plan.steering[Arm(name, 0)])


def test_every_algorithm_steers_its_arm_from_the_reference_on(algorithms: Study) -> None:
    found = {name: steered_by(algorithms, name) for name in STEERED_BY}
    assert {name: own.algorithm for name, own in found.items()} == STEERED_BY
    for own in found.values():
        assert [point.step for point in own.curve] == [0, 1, 2, 3, 4]
        assert own.curve[0].kl == 0.0
        assert own.curve[-1].kl != 0.0
        assert own.checkpoints["step"].step == 5
        assert all(set(point.rewards) == set(JUDGES) for point in own.curve)
        assert own.stopped == ""
    for name in STEERED_BY:  # held-out answers may stay the same after so few steps
        folder = algorithms.store.path(algorithms.plan.steering[Arm(name, 0)])
        layers, _ = read_adapter(folder)
        assert any(b.any() for _, b in layers.values()), "B is 0 at the start"
    starts = [own.curve[0] for name, own in found.items() if name != "v-rloo"]
    assert len({point.rewards["virtue"] for point in starts}) == 1, "the same prompts and noise"
    assert all(own.start == found["virtue"].start for name, own in found.items() if "v-" in name)


def test_the_checkpoint_at_equal_kl_is_the_last_that_was_within_it(algorithms: Study) -> None:
    target = algorithms.settings.steer.kl_target
    assert target is not None
    earlier = 0
    for name in STEERED_BY:
        own = steered_by(algorithms, name)
        ends = own.checkpoints["step"].kl
        within = [point.step for point in own.curve if point.kl <= target]
        last = 5 if sum(ends) / len(ends) <= target else max(within)
        assert own.checkpoints["kl"].step == last
        if last == 5:
            assert own.checkpoints["kl"] == own.checkpoints["step"]
        else:
            assert own.checkpoints["kl"].kl != own.checkpoints["step"].kl
            earlier += 1
    assert 0 < earlier < len(STEERED_BY), "both cases are seen, or the test means less"
    for result in results_of(algorithms).arms:
        own = steered_by(algorithms, result.arm)
        at_kl = own.checkpoints["kl"]
        assert (result.select, result.step) == ("kl", at_kl.step)
        assert result.algorithm == STEERED_BY[result.arm]
        assert result.reward_model == ("deontology" if result.arm == "deontology" else "virtue")
        assert result.end.value == pytest.approx(sum(at_kl.rewards) / len(at_kl.rewards))
        assert result.kl.value == pytest.approx(sum(at_kl.kl) / len(at_kl.kl))


def test_arms_of_one_dataset_share_its_pairs_and_its_reward_model(algorithms: Study) -> None:
    artifacts = algorithms.folder / "artifacts"
    kept = {
        stage: list((artifacts / stage).glob("*/manifest.json")) for stage in ("curate", "reward")
    }
    assert [len(own) for own in kept.values()] == [2 + 1, 2]  # two datasets, and the prompts
    results = results_of(algorithms)
    assert len(results.cards) == 2
    accuracies = {own.arm: own.accuracy for own in results.arms}
    assert len({accuracies[name] for name in STEERED_BY if name != "deontology"}) == 1


def test_every_model_is_judged_by_every_reward_model(algorithms: Study) -> None:
    results, crossed = (
        results_of(algorithms),
        algorithms.store.load(algorithms.plan.cross[0]),
    )
    models = {*CONTROLS, *STEERED_BY}
    cells = {(cell.name, cell.reward_model): cell.estimate for cell in results.cross_rewards}
    assert set(cells) == {(model, judge) for model in models for judge in JUDGES}
    for (model, judge), estimate in cells.items():
        own = crossed.rewards[model][judge]
        assert len(own) == estimate.n == algorithms.settings.steer.held_out_prompts
        assert estimate.value == pytest.approx(sum(own) / len(own))
    accuracies = {
        (cell.name, cell.reward_model): cell.estimate.value for cell in results.cross_accuracies
    }
    assert set(accuracies) == {(data, judge) for data in JUDGES for judge in JUDGES}
    for judge in JUDGES:
        stage = algorithms.plan.rewards[Arm(judge, 0)]
        held_out = algorithms.store.load(stage)
        right = [c > r for c, r in zip(held_out.chosen, held_out.rejected, strict=True)]
        pairs = algorithms.store.load(algorithms.plan.pairs[judge]).test
        by_hash = sorted(range(len(pairs)), key=lambda i: (unit_hash(pairs[i].group), pairs[i].id))
        right = [right[place] for place in by_hash[:8]]
        assert crossed.correct[judge][judge] == right
        assert accuracies[judge, judge] == pytest.approx(sum(right) / 8)


@pytest.mark.parametrize("model", ["base", "fine-tuned", "virtue", "v-rloo"])
def test_a_model_is_judged_as_it_would_be_alone_at_its_chosen_checkpoint(
    algorithms: Study, model: str
) -> None:
    study, work = algorithms, algorithms.workspace
    base = work.base(study.plan.shared_base)
    stages = study.plan.rewards_of(0)
    rewards = load_rewards(base, [study.store.path(stage) for stage in stages])
    prompts = study.plan.prompts.ids("test", work)[:8]
    noise = generator(0, "cross")
    sampling = stages[0].sampling.sampling()
    if model in CONTROLS:
        control = work.base(study.plan.base) if model == "base" else base
        answers = generate(control, prompts, 1, sampling, noise)
    else:
        folder = study.store.path(study.plan.steering[Arm(model, 0)]) / AT_KL
        with load_bank(base, {model: folder}).applied():
            answers = generate(base, prompts, 1, sampling, noise)
    template = study.plan.prompts.template(work)
    rows = sampling.scored_rows(base, template, prompts, answers)
    crossed = study.store.load(study.plan.cross[0])
    for place, judge in enumerate(stage.arm.name for stage in stages):
        expected = rewards.score(base, place, rows).tolist()
        assert crossed.rewards[model][judge] == pytest.approx(expected, abs=1e-4)


def test_slopes_are_those_of_the_curves(algorithms: Study) -> None:
    found = {(own.a, own.b): own for own in results_of(algorithms).slopes}
    assert set(found) == {*((name, "") for name in STEERED_BY), ("deontology", "virtue")}
    curves = {
        name: {point.step: point.reward for point in steered_by(algorithms, name).curve}
        for name in STEERED_BY
    }
    for name, curve in curves.items():
        assert found[name, ""].slope == slope([(list(curve), list(curve.values()))])
    less = [curves["deontology"][step] - curves["virtue"][step] for step in range(5)]
    difference = found["deontology", "virtue"]
    assert difference.slope == slope([(list(range(5)), less)])
    assert difference.adjusted_p == pytest.approx(difference.slope.p)


@torch.no_grad()
def test_both_checkpoints_of_every_arm_give_the_same_logits_in_stock_peft(
    algorithms: Study,
) -> None:
    study, work = algorithms, algorithms.workspace
    base = work.base(study.plan.shared_base)
    ids = torch.tensor([study.plan.prompts.ids("test", work)[0]])
    bare = base.logits(base.hidden(ids))
    for name in STEERED_BY:
        whole = study.store.path(study.plan.steering[Arm(name, 0)])
        found = []
        for folder in (whole, whole / AT_KL):
            expected = load_peft(study.settings.base, folder)(input_ids=ids).logits
            with load_bank(base, {name: folder}).applied():
                found.append(base.logits(base.hidden(ids)))
            torch.testing.assert_close(found[-1], expected, atol=1e-5, rtol=0)
            assert not torch.equal(found[-1], bare)
        checkpoints = steered_by(algorithms, name).checkpoints
        same = checkpoints["step"].step == checkpoints["kl"].step
        assert torch.equal(*found) == same
        assert study.plan.steering[Arm(name, 0)].checkpoint(whole, "kl") == whole / AT_KL


def test_an_export_is_of_the_checkpoint_that_was_evaluated(
    algorithms: Study, tmp_path: Path
) -> None:
    study, own = algorithms, steered_by(algorithms, "v-rloo")
    export_arm(study, "v-rloo", None, tmp_path / "out")
    folder = study.store.path(study.plan.steering[Arm("v-rloo", 0)])
    exported, at_kl, last = (
        read_adapter(path)[0] for path in (tmp_path / "out", folder / AT_KL, folder)
    )
    rank = study.settings.finetune.lora.r  # of the adapter below
    for layer, (a, _) in at_kl.items():
        assert torch.equal(exported[layer][0][rank:], a)
        assert not torch.equal(last[layer][0], a)
    card = (tmp_path / "out" / "README.md").read_text("utf-8")
    assert "tags: [ethosteer, rloo, lora]" in card
    assert f"after {own.checkpoints['kl'].step} steps of rloo" in card


def test_trackers_hold_the_curves(
    algorithms: Study, read_events: Callable[[Path], dict[str, list[tuple[int, float]]]]
) -> None:
    for name, algorithm in STEERED_BY.items():
        events = read_events(algorithms.folder / "tracking" / f"{algorithm}-s0")
        for scalar in ("reward", "kl", "loss"):
            found = dict(events[f"{Arm(name, 0).label}/{scalar}"])
            curve = steered_by(algorithms, name).curve
            assert found == pytest.approx({point.step: getattr(point, scalar) for point in curve})


def test_another_rule_shows_the_other_checkpoints_and_trains_nothing(
    algorithms: Study, tiny_base: Path, tmp_path: Path
) -> None:
    shutil.copytree(algorithms.folder, tmp_path / "demo")
    changes = [f"base.model={tiny_base}", *ALGORITHMS, "steer.select=step"]
    changed = Study(load_study("demo", changes), tmp_path, Origin("sample"), Terminal(quiet=True))
    missing = changed.store.missing(changed.plan.stages)
    assert {stage.kind for stage in missing} == {"evaluate", "compare"}
    kept = {p: p.stat().st_mtime_ns for p in (tmp_path / "demo").rglob("*.safetensors")}
    assert changed.run()
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "demo").rglob("*.safetensors")} == kept
    for result in results_of(changed).arms:
        own = steered_by(changed, result.arm).checkpoints["step"]
        assert (result.select, result.step) == ("step", 5)
        assert result.end.value == pytest.approx(sum(own.rewards) / len(own.rewards))
    before, after = (
        {
            (cell.name, cell.reward_model): cell.estimate.value
            for cell in results_of(study).cross_rewards
        }
        for study in (algorithms, changed)
    )
    for model in CONTROLS:
        for judge in JUDGES:
            assert before[model, judge] == pytest.approx(after[model, judge], abs=1e-5)
