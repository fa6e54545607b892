from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from pydantic import ValidationError

from ethosteer import catalog
from ethosteer.algorithms.best_of_n import BestOfNSettings
from ethosteer.algorithms.dpo import DPOSettings
from ethosteer.algorithms.ppo import PPOSettings
from ethosteer.algorithms.rloo import RLOOSettings
from ethosteer.errors import InputError
from ethosteer.records import Arm
from ethosteer.settings import (
    TEMPLATE_DATE,
    ArmSettings,
    BenchmarkSettings,
    DataSettings,
    ModelShape,
    Settings,
    StudySettings,
)
from ethosteer.study.load import STUDIES_DIR, bundled_studies, load_study, study_path

STUDY = """
name = "small"
question = "Which?"
seeds = [0, 1]
[arms.virtue]
[arms.careful]
dataset = "harmless"
pairs_per_group = 1
[benchmarks.toxigen]
[benchmarks.scruples]
limit = 50
[steer]
steps = 7
"""


@pytest.fixture
def study(tmp_path: Path) -> Path:
    path = tmp_path / "small.toml"
    path.write_text(STUDY, "utf-8")
    return path


def fault_of(path: Path, *overrides: str) -> str:
    with pytest.raises(InputError) as caught:
        load_study(str(path), overrides)
    message = str(caught.value)
    assert "\n" not in message
    return message


def rewritten(study: Path, old: str, new: str) -> Path:
    assert STUDY.count(old) == 1
    study.write_text(STUDY.replace(old, new), "utf-8")
    return study


# --- what loads


@pytest.mark.parametrize("name", bundled_studies())
def test_every_bundled_study_is_valid_and_bears_its_files_name(name: str):
    config = load_study(name)
    assert config.name == name
    assert config.question


def test_the_demo_is_bundled_and_holds_what_its_file_says():
    assert "demo" in bundled_studies()
    assert study_path("demo") == STUDIES_DIR / "demo.toml"
    table = tomllib.loads((STUDIES_DIR / "demo.toml").read_text("utf-8"))
    config = load_study("demo")
    assert list(config.arms) == list(table["arms"])
    assert list(config.benchmarks) == list(table["benchmarks"])
    assert config.steer.steps == table["steer"]["steps"]
    assert config.seeds == tuple(table["seeds"])


def test_a_study_file_and_its_defaults(study: Path):
    config = load_study(str(study))
    assert config.seeds == (0, 1)
    assert config.steer.steps == 7
    assert config.benchmarks["scruples"].limit == 50
    assert config.benchmarks["toxigen"].limit is None
    assert (config.base.model, config.steer.algorithm) == ("pocket", "ppo")
    ppo = config.steer.table(PPOSettings)
    assert (ppo.clip, ppo.gae_lambda) == (0.2, 0.95)
    assert config.steer.table(RLOOSettings).answers == 4
    assert config.steer.table(DPOSettings).beta == 0.1
    assert (config.steer.table(BestOfNSettings).n, config.steer.select) == (16, "step")
    assert config.track.trackers == ("tensorboard",)
    assert (config.steer.lora.r, config.reward.lora.r) == (16, 8)
    assert config.compare.control == "fine-tuned"


def test_arms_are_listed_seed_by_seed_with_their_datasets(study: Path):
    config = load_study(str(study))
    assert config.arm_seeds() == (
        Arm("virtue", 0),
        Arm("careful", 0),
        Arm("virtue", 1),
        Arm("careful", 1),
    )
    assert [config.dataset_of(name) for name in config.arms] == ["virtue", "harmless"]


def every_group(model: type[Settings]) -> list[type[Settings]]:
    inner = [field.annotation for field in model.model_fields.values()]
    groups = [part for part in inner if isinstance(part, type) and issubclass(part, Settings)]
    return [model, *(found for group in groups for found in every_group(group))]


def test_a_loaded_study_cannot_be_changed(study: Path):
    config: Any = load_study(str(study))
    for group, key, value in (
        (config, "name", "other"),
        (config.steer, "steps", 8),
        (config.steer.lora, "r", 2),
        (config.arms["virtue"], "max_pairs", 9),
    ):
        with pytest.raises(ValidationError, match="frozen"):
            setattr(group, key, value)
    assert config.steer.lora.targets == "all-linear"


def test_every_group_of_settings_is_frozen_strict_and_closed():
    groups: set[type[Settings]] = {
        *every_group(catalog.study_settings()),
        ArmSettings,
        BenchmarkSettings,
        ModelShape,
    }
    assert len(groups) > 8
    for group in groups:
        assert group.model_config.get("frozen") is True
        assert group.model_config.get("extra") == "forbid"
        assert group.model_config.get("strict") is True


# --- which file


def test_a_study_that_is_neither_file_nor_bundled(tmp_path: Path):
    with pytest.raises(InputError, match=r"'dmeo' is neither .* bundled study \(.*demo.*\)"):
        load_study("dmeo")
    with pytest.raises(InputError, match=r"nowhere\.toml: no such study file"):
        load_study(str(tmp_path / "nowhere.toml"))
    (tmp_path / "folder.toml").mkdir()
    with pytest.raises(InputError, match="no such study file"):
        load_study(str(tmp_path / "folder.toml"))


def test_a_file_that_is_not_toml_names_file_and_line(study: Path):
    message = fault_of(rewritten(study, "steps = 7", "steps = = 7"))
    assert message.startswith(f"{study}: not valid TOML: ")
    assert "line 13" in message
    study.write_bytes(b"name = '\xff'")
    assert fault_of(study) == f"{study}:1: byte 0xff is not utf-8; save the file as UTF-8"


def test_a_key_given_twice_is_not_toml(study: Path):
    assert "not valid TOML" in fault_of(rewritten(study, "steps = 7", "steps = 7\nsteps = 8"))


# --- what is wrong in it


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        # unknown keys, at every depth
        ("seeds = [0, 1]", "sedes = [0, 1]", "unknown key sedes; did you mean 'seeds'?"),
        ("steps = 7", "step = 7", "unknown key steer.step; did you mean 'steps'?"),
        (
            "steps = 7",
            "lora = { rank = 2 }",
            "unknown key steer.lora.rank; known: r, alpha, dropout, targets",
        ),
        (
            "steps = 7",
            "optimiser = { learning_rte = 1.0 }",
            "unknown key steer.optimiser.learning_rte; did you mean 'learning_rate'?",
        ),
        (
            "pairs_per_group = 1",
            "pair_per_group = 1",
            "unknown key arms.careful.pair_per_group; did you mean 'pairs_per_group'?",
        ),
        (
            "limit = 50",
            "limits = 50",
            "unknown key benchmarks.scruples.limits; did you mean",
        ),
        ("steps = 7", "clip = 0.2", "unknown key steer.clip; "),
        (
            "steps = 7",
            "ppo = { clp = 0.2 }",
            "unknown key steer.ppo.clp; did you mean 'clip'?",
        ),
        (
            "steps = 7",
            "best_of_n = { m = 4 }",
            "unknown key steer.best_of_n.m; known: steps, learning_rate, n, prompts",
        ),
        (
            "[steer]",
            "[track]\ntracker = ['aim']\n[steer]",
            "unknown key track.tracker; did you mean 'trackers'?",
        ),
        (
            "[steer]",
            "[base.shape]\nhiden = 8\nlayers = 1\nintermediate = 8\nvocabulary = 8\nhidden = 8\n"
            "[steer]",
            "unknown key base.shape.hiden; did you mean 'hidden'?",
        ),
        # wrong types: nothing is turned into something else
        ("steps = 7", 'steps = "7"', "steer.steps: Input should be a valid integer, found '7'"),
        ("steps = 7", "steps = 7.0", "steer.steps: Input should be a valid integer, found 7.0"),
        ("steps = 7", "steps = true", "steer.steps: Input should be a valid integer, found True"),
        (
            "steps = 7",
            "ppo = { clip = '0.2' }",
            "steer.ppo.clip: Input should be a valid number, found '0.2'",
        ),
        (
            "steps = 7",
            "ignore_eos = 1",
            "steer.ignore_eos: Input should be a valid boolean",
        ),
        ('name = "small"', "name = 3", "name: Input should be a valid string, found 3"),
        ("seeds = [0, 1]", "seeds = 0", "seeds: Input should be a list, as in [0, 1], found 0"),
        (
            "seeds = [0, 1]",
            'seeds = [0, "1"]',
            "seeds.1: Input should be a valid integer",
        ),
        (
            "steps = 7",
            "lora = { targets = 'q_proj' }",
            "steer.lora.targets: Input should be 'all-linear' or a list of layer names, found 'q_p",
        ),
        (
            "steps = 7",
            "lora = { targets = ['q_proj', 3] }",
            "steer.lora.targets: Input should be 'all-linear' or a list of layer names, found (",
        ),
        ("[steer]\nsteps = 7", "[reward]\nlora = 8", "reward.lora: Input should be"),
        # missing and out of range
        ('question = "Which?"\n', "", "question: Field required"),
        (
            "steps = 7",
            "steps = 0",
            "steer.steps: Input should be greater than or equal to 1",
        ),
        (
            "steps = 7",
            "ppo = { gamma = 1.5 }",
            "steer.ppo.gamma: Input should be less than or equal to 1",
        ),
        ("steps = 7", "rloo = { clip = 0 }", "steer.rloo.clip: Input should be greater than 0"),
        ("steps = 7", "dpo = { beta = 0 }", "steer.dpo.beta: Input should be greater than 0"),
        (
            "steps = 7",
            "best_of_n = { n = 1 }",
            "steer.best_of_n.n: Input should be greater than or equal to 2",
        ),
        ("seeds = [0, 1]", "seeds = []", "seeds: Tuple should have at least 1 item"),
        ('name = "small"', 'name = "../up"', "name: String should match pattern"),
        (
            "steps = 7",
            'algorithm = "grpo"',
            "steer.algorithm: no algorithm is called 'grpo'; there are best_of_n, dpo, ppo, rloo",
        ),
        (
            "pairs_per_group = 1",
            'algorithm = "reinforce"',
            "arms.careful.algorithm: no algorithm is called 'reinforce'; there are best_of_n, ",
        ),
        ("steps = 7", 'select = "best"', "steer.select: Input should be 'step' or 'kl', found"),
        # what does not go together
        ("seeds = [0, 1]", "seeds = [4, 4]", "seeds: must differ from each other, found (4, 4)"),
        (
            "steps = 7",
            "min_new_tokens = 9\nmax_new_tokens = 8",
            "steer: min_new_tokens must not exceed max_new_tokens",
        ),
        ("steps = 7", "batch = 10", "steer: batch must be a multiple of minibatches"),
        (
            "steps = 7",
            'algorithm = "rloo"\nbatch = 8\nrloo = { answers = 3 }',
            "steer.batch must be a multiple of steer.rloo.answers",
        ),
        ("[arms.virtue]", "[arms.base]", "arms.base is not a usable name for an arm"),
        ("[arms.virtue]", "[arms.fine-tuned]", "arms.fine-tuned is not a usable name for an arm"),
        ("[arms.virtue]", '[arms."a/b"]', "arms.a/b is not a usable name for an arm"),
    ],
)
def test_a_fault_names_the_file_the_key_and_the_mend(study: Path, old: str, new: str, problem: str):
    assert fault_of(rewritten(study, old, new)).startswith(f"{study}: {problem}")


def test_a_whole_number_will_do_for_a_number(study: Path):
    config = load_study(str(rewritten(study, "steps = 7", "ppo = { gamma = 1 }")))
    gamma = config.steer.table(PPOSettings).gamma
    assert isinstance(gamma, float)
    assert gamma == 1.0


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        (
            "[arms.virtue]",
            "[arms.vertue]",
            "no dataset is called 'vertue' (did you mean 'virtue'?)",
        ),
        ('"harmless"', '"harmles"', "no dataset is called 'harmles' (did you mean 'harmless'?)"),
        (
            "[benchmarks.toxigen]",
            "[benchmarks.toxgen]",
            "no benchmark is called 'toxgen' (did you mean 'toxigen'?)",
        ),
        (
            "limit = 50",
            'source = "zzz"',
            "scruples has no source 'zzz'; it has ethics-aita",
        ),
    ],
)
def test_names_that_nobody_knows(study: Path, old: str, new: str, problem: str):
    assert problem in fault_of(rewritten(study, old, new))


def test_a_study_needs_arms_and_benchmarks(study: Path):
    study.write_text('name = "a"\nquestion = "?"\n[arms]\n[benchmarks.toxigen]\n', encoding="utf-8")
    assert "arms: Dictionary should have at least 1 item" in fault_of(study)
    study.write_text('name = "a"\nquestion = "?"\n[arms.virtue]\n[benchmarks]\n', encoding="utf-8")
    assert "benchmarks: Dictionary should have at least 1 item" in fault_of(study)


# --- --set


def test_set_takes_numbers_booleans_text_lists_and_none(study: Path):
    config = load_study(
        str(study),
        [
            "steer.steps=3",
            "steer.ppo.clip=0.1",
            "track.trackers=[]",
            "arms.virtue.algorithm=dpo",
            "steer.optimiser.learning_rate=1e-6",
            "steer.ignore_eos=false",
            "base.model=some/model",
            "base.device = cpu",
            'question="Is a=b?"',
            "seeds=[4, 5, 6]",
            'finetune.lora.targets=["q_proj"]',
            "steer.kl_target=none",
            "compare.margin=0.05",
            "arms.virtue.max_pairs=9",
            "arms.duty.dataset=deontology",
            "benchmarks.wsc273={}",
        ],
    )
    assert config.steer.steps == 3
    assert config.steer.table(PPOSettings).clip == 0.1
    assert config.track.trackers == ()
    assert [config.algorithm_of(name) for name in config.arms] == ["dpo", "ppo", "ppo"]
    assert config.steer.optimiser.learning_rate == 1e-6
    assert config.steer.ignore_eos is False
    assert (config.base.model, config.base.device) == ("some/model", "cpu")
    assert config.question == "Is a=b?"
    assert config.seeds == (4, 5, 6)
    assert config.finetune.lora.targets == ("q_proj",)
    assert config.steer.kl_target is None
    assert config.compare.margin == 0.05
    assert config.arms["virtue"].max_pairs == 9
    assert config.dataset_of("duty") == "deontology"
    assert list(config.benchmarks) == ["toxigen", "scruples", "wsc273"]


def test_set_changes_that_one_value_and_the_last_one_counts(study: Path):
    before = load_study(str(study)).model_dump()
    after = load_study(str(study), ["steer.batch=8", "steer.batch=32"]).model_dump()
    assert after["steer"].pop("batch") == 32
    assert before["steer"].pop("batch") == 64
    assert after == before


@pytest.mark.parametrize("override", ["steer.steps", "=3", "steer..steps=3", ".=1", "steer.=1", ""])
def test_a_malformed_set_says_how_to_write_it(study: Path, override: str):
    message = fault_of(study, override)
    assert message.startswith("--set")
    assert override in message
    assert "key.name=value" in message


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("name.first=1", "--set name.first=1: name is a value, not a table"),
        (
            "steer.steps.more.still=1",
            "--set steer.steps.more.still=1: steps is a value, not a table",
        ),
        ("steer.stepz=1", "unknown key steer.stepz; did you mean 'steps'?"),
        ("ster.steps=1", "unknown key ster; did you mean 'steer'?"),
        ("steer.steps=many", "steer.steps: Input should be a valid integer, found 'many'"),
        ("steer.steps=none", "steer.steps: Input should be a valid integer, found None"),
        ("steer=5", "steer: Input should be"),
        ("arms.vertue.max_pairs=9", "no dataset is called 'vertue'"),
        ("seeds=[1, 1]", "seeds: must differ"),
        (
            "arms.careful.algorithm=ppoo",
            "arms.careful.algorithm: no algorithm is called 'ppoo' (did you",
        ),
    ],
)
def test_what_is_set_is_checked_like_the_file(study: Path, override: str, problem: str):
    assert problem in fault_of(study, override)


def test_a_rule_needs_what_it_goes_by(study: Path):
    message = fault_of(study, "steer.select=kl", "steer.kl_target=none")
    assert message == f"{study}: steer: select = 'kl' needs a kl_target"
    assert load_study(str(study), ["steer.select=kl"]).steer.kl_target == 6.0


def test_only_an_arm_that_answers_in_groups_needs_a_batch_of_whole_groups(study: Path):
    odd = ["steer.batch=6", "steer.minibatches=2"]
    assert load_study(str(study), odd).steer.batch == 6
    message = fault_of(study, *odd, "arms.careful.algorithm=rloo")
    assert message == f"{study}: steer.batch must be a multiple of steer.rloo.answers"
    load_study(str(study), [*odd, "arms.careful.algorithm=rloo", "steer.rloo.answers=3"])


# --- algorithms


def test_an_algorithm_has_its_own_pace_where_it_is_given_one(study: Path):
    config = load_study(
        str(study),
        [
            "steer.dpo={steps=40, learning_rate=2e-4}",
            "steer.best_of_n.steps=3",
            "steer.optimiser.learning_rate=1e-5",
        ],
    )
    own = {name: config.steer.for_algorithm(name) for name in catalog.algorithm_names()}
    assert all(settings.algorithm == name for name, settings in own.items())
    paces = {name: (s.steps, s.optimiser.learning_rate) for name, s in own.items()}
    assert paces == {"ppo": (7, 1e-5), "rloo": (7, 1e-5), "dpo": (40, 2e-4), "best_of_n": (3, 1e-5)}
    for settings in own.values():
        kept = {"algorithm", "steps", "optimiser"}
        assert settings.model_dump(exclude=kept) == config.steer.model_dump(exclude=kept)


def test_arms_with_the_same_pairs_share_them_whatever_steers_them(study: Path):
    config = load_study(
        str(study),
        [
            "arms={virtue={max_pairs=9}, dpo={dataset='virtue', max_pairs=9, algorithm='dpo'}, "
            "more={dataset='virtue', max_pairs=10}, ppo={dataset='virtue', max_pairs=9}}"
        ],
    )
    assert {name: config.data_of(name) for name in config.arms} == {
        "virtue": "virtue",
        "dpo": "virtue",
        "more": "more",
        "ppo": "virtue",
    }
    assert config.data_arms() == ("virtue", "more")
    assert [config.dataset_of(name) for name in config.arms] == ["virtue"] * 4


def test_reading_a_study_loads_no_model_library():
    code = (
        "import sys; from ethosteer.study.load import load_study; load_study('demo'); "
        "print(sorted({'torch', 'transformers', 'peft'} & set(sys.modules)))"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert loaded.stdout.strip() == "[]"


def test_without_fine_tuning_the_base_is_the_control():
    study = {"name": "s", "question": "?", "arms": {"virtue": {}}, "benchmarks": {"toxigen": {}}}
    settings = StudySettings.model_validate(study)
    assert (settings.compare.control, settings.controls) == ("fine-tuned", ("base", "fine-tuned"))
    study["finetune"] = {"enabled": False}
    settings = StudySettings.model_validate(study)
    assert (settings.compare.control, settings.controls) == ("base", ("base",))
    study["compare"] = {"alpha": 0.01}
    assert StudySettings.model_validate(study).compare.control == "base"
    study["compare"] = {"control": "fine-tuned"}
    with pytest.raises(ValidationError, match=r"compare\.control = 'fine-tuned' needs"):
        StudySettings.model_validate(study)


@pytest.mark.parametrize("date", ["yesterday", "26.07.2024", "2024-13-01"])
def test_a_date_is_a_date(date):
    assert DataSettings().date == TEMPLATE_DATE
    with pytest.raises(ValidationError, match="must be a date, such as 2024-07-26"):
        DataSettings(date=date)


# --- numbers, names and paths that nothing could use


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("finetune.epochs=inf", "finetune.epochs: Input should be a finite number, found inf"),
        ("reward.epochs=nan", "reward.epochs: Input should be a finite number, found nan"),
        ("steer.optimiser.learning_rate=-inf", "steer.optimiser.learning_rate: Input should be a"),
        ("steer.ppo.clip=inf", "steer.ppo.clip: Input should be a finite number, found inf"),
        ("finetune.epochs=1e9", "finetune.epochs: Input should be less than or equal to 1000"),
        ("compare.resamples=2000000000", "compare.resamples: Input should be less than or equal"),
        ("compare.overlap_ngram=1000", "compare.overlap_ngram: Input should be less than or equal"),
        ("steer.lora.r=100000", "steer.lora.r: Input should be less than or equal to 4096"),
        (
            "data.max_tokens=100000000",
            "data.max_tokens: Input should be less than or equal to 1048",
        ),
        (
            "steer.max_new_tokens=9000000",
            "steer.max_new_tokens: Input should be less than or equal",
        ),
        ("steer.temperature=1e-300", "steer.temperature: Input should be greater than or equal to"),
        ("steer.optimiser.learning_rate=10", "steer.optimiser.learning_rate: Input should be less"),
        ("evaluate.sample_prompts=1000000", "evaluate.sample_prompts: Input should be less than"),
        ("compare.margin=50", "compare.margin: differences of proportions are below 1, found 50; "),
        ("compare.effect=1", "compare.effect: differences of proportions are below 1, found 1; "),
        ("seeds=[-1]", "seeds: a seed must be from 0 to 2**32 - 1, and -1 is not"),
        ("seeds=[4294967296]", "seeds: a seed must be from 0 to 2**32 - 1, and 4294967296 is not"),
        ("name=NUL", "name: is no name of a folder on Windows; choose another"),
        ("name=com1.study", "name: is no name of a folder on Windows; choose another"),
        ("name=study.", "name: is no name of a folder on Windows; choose another"),
        ("name=" + "x" * 101, "name: String should have at most 100 characters"),
        (
            f"arms.{'x' * 81}.dataset=virtue",
            "arms.xxxxxxxxxxxxxxxxxxxx...: a name has at most 80 b",
        ),
        (
            f"benchmarks.{'y' * 99}.limit=9",
            "benchmarks.yyyyyyyyyyyyyyyyyyyy...: a name has at most",
        ),
        (
            f"arms.{'ü' * 41}.dataset=virtue",
            "arms.üüüüüüüüüüüüüüüüüüüü...: a name has at most 80 b",
        ),
        ("data.date=2024-W30-5", "data.date: must be a date, such as 2024-07-26"),
        ("data.date=20240726", "data.date: Input should be a valid string"),
        ('data.date="20240726"', "data.date: must be a date, such as 2024-07-26"),
        ('base.model=""', "base.model: is an empty path"),
        ("base.model=" + "x" * 300, "base.model: is too long for a path: 300 characters"),
        ('base.model="a\\u0000b"', "base.model: has a NUL character"),
        ("compare.published=" + "x/" * 4000, "compare.published: is too long for a path: 8000 cha"),
        ('compare.primary=["toxigen", "toxigen"]', "compare.primary names a benchmark twice"),
        (
            'steer.lora.targets=[""]',
            "steer.lora.targets: Input should be 'all-linear' or a list of",
        ),
        ("steer.steps=" + "1" * 5000, "steer.steps: Input should be a valid integer, found '111"),
        ("steer.steps=0x" + "f" * 9000, "steer.steps: Input should be a valid integer, found '0xf"),
        ("steer.steps=" + "[" * 9000, "steer.steps: Input should be a valid integer, found '[[["),
        ("steer.steps=3\nsteer.batch=1", "steer.steps: Input should be a valid integer, found '3"),
    ],
)
def test_what_nothing_could_use_is_refused_by_its_key(study: Path, override: str, problem: str):
    assert fault_of(study, override).startswith((f"--set: {problem}", f"{study}: {problem}"))


def test_a_fault_names_what_set_the_value_the_file_or_an_override(study: Path):
    assert fault_of(study, "steer.step=3").startswith("--set: unknown key steer.step; did you")
    assert fault_of(study, "arms={virtue={pairs=3}}").startswith("--set: unknown key arms.virtue.p")
    study.write_text(study.read_text("utf-8").replace("[steer]", "[steer]\nstep = 3"), "utf-8")
    assert fault_of(study, "data.max_tokens=64").startswith(f"{study}: unknown key steer.step")


def test_seeds_and_names_reach_to_their_bounds(study: Path):
    name, arm = "x" * 100, "a" * 80
    config = load_study(
        str(study), [f"seeds=[0, {2**32 - 1}]", f"name={name}", f"arms.{arm}.dataset=virtue"]
    )
    assert (config.seeds, config.name) == ((0, 2**32 - 1), name)
    assert arm in config.arms


def test_a_margin_of_scores_that_are_no_proportions_may_be_large(study: Path):
    overrides = ["benchmarks={'lm-eval:mine'={}}", "compare.margin=2.5"]
    assert load_study(str(study), overrides).compare.margin == 2.5
    load_study(str(study), ["compare.margin=0.999"])


def test_a_key_of_a_hundred_parts_is_no_setting(study: Path):
    message = fault_of(study, ".".join("a" * 100) + "=1")
    assert message.startswith("--set a.a.a") and "no setting has a name of 100 parts" in message


# --- [rollout]

SERVED = ("rollout.engine=vllm", "rollout.version=0.32.0")


def test_ethosteer_samples_unless_an_engine_is_named(study: Path):
    assert load_study(str(study)).rollout.sampler is None
    switched_off = ["rollout.engine=ethosteer", "rollout.url=http://a"]
    assert load_study(str(study), switched_off).rollout.sampler is None
    served = load_study(str(study), [*SERVED, "rollout.url=http://127.0.0.1:8000/v1/"])
    assert served.rollout.sampler == "vllm 0.32.0"
    assert served.rollout.url == "http://127.0.0.1:8000"
    written = tomli_w.dumps(served.model_dump(mode="json", exclude_none=True))
    (study.parent / "written.toml").write_text(written, "utf-8")
    assert "memory = 0.3" in written, "which is refused beside a url where it is another"
    assert load_study(str(study.parent / "written.toml")) == served


def test_an_interpreter_is_beside_the_study_file_and_no_link_of_it_is_followed(study: Path):
    table = 'engine = "vllm"\nversion = "0.32.0"\npython = "env/bin/python"\n'
    study.write_text(f"{STUDY}\n[rollout]\n{table}", "utf-8")
    python = study.parent / "env" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    assert load_study(str(study)).rollout.python == str(python)


@pytest.mark.parametrize(
    ("overrides", "problem"),
    [
        (("rollout.engine=sglang",), "rollout.engine: Input should be 'ethosteer' or 'vllm'"),
        (("rollout.engine=vllm",), "rollout: engine = 'vllm' needs vLLM's version"),
        (("rollout.url=http://a",), "rollout: url: of an engine; set engine = 'vllm' too"),
        (("rollout.python=p",), "rollout: python: of an engine; set engine = 'vllm' too"),
        (("rollout.memory=0.3", "rollout.max_length=9"), "rollout: max_length, memory: of an eng"),
        ((*SERVED, "rollout.url=http://a", "rollout.memory=0.5"), "rollout: memory is for a serv"),
        ((*SERVED, "rollout.url=http://a", "rollout.max_length=9"), "leave max_length out"),
        (SERVED, "rollout: engine = 'vllm' needs either url"),
        ((*SERVED, "rollout.url=http://a", "rollout.python=p"), "leave one of them out"),
        (
            ("rollout.version=newest",),
            "rollout.version: must be a release of vLLM such as '0.32.0'",
        ),
        (("rollout.url=127.0.0.1:8000",), "rollout.url: must be an address such as"),
        (("rollout.url=ftp://host",), "rollout.url: must be an address such as"),
        (("rollout.url=http://me:word@host",), "VLLM_API_KEY"),
        (("rollout.memory=1.5",), "rollout.memory: Input should be less than 1"),
    ],
)
def test_what_samples_is_checked(study: Path, overrides: tuple[str, ...], problem: str):
    assert problem in fault_of(study, *overrides)
    assert "word" not in fault_of(study, "rollout.url=http://me:word@host")


def test_a_server_with_other_weights_than_the_trainers_is_refused(study: Path):
    quantised = (*SERVED, "base.quantise=nf4")
    assert "leave base.quantise out" in fault_of(study, *quantised, "rollout.python=p")
    # the user's server may hold the same weights: it is compared with the base
    assert load_study(str(study), [*quantised, "rollout.url=http://a"]).base.quantise == "nf4"
    unused = ["base.quantise=nf4", "rollout.engine=ethosteer", "rollout.python=p"]
    assert load_study(str(study), unused).rollout.sampler is None


@pytest.mark.parametrize("name", ["", "x" * 300 + ".toml", "x" * 5000, "a\0.toml", "/" * 5000])
def test_a_study_that_no_system_could_have_is_refused(name: str):
    with pytest.raises(InputError, match=r"is an empty path|is too long|has a NUL"):
        study_path(name)


def test_a_study_file_with_a_byte_order_mark_is_read(study: Path):
    study.write_bytes(b"\xef\xbb\xbf" + study.read_bytes())
    assert load_study(str(study)).name == "small"


def test_a_file_of_a_home_that_is_not_there_is_refused_by_its_key(study: Path):
    message = fault_of(study, "arms.mine.file=~nobody-of-this-name/x.csv")
    assert message.startswith("--set: arms.mine.file: ")
    study.write_text(
        STUDY.replace("[steer]", "[arms.mine]\nfile = '~nobody-of-this-name/x.csv'\n[steer]"),
        encoding="utf-8",
    )
    assert fault_of(study).startswith(f"{study}: arms.mine.file: ")


def test_a_key_of_steers_own_tables_leaves_the_others_at_steers_defaults(study: Path):
    steer = load_study(str(study), ["steer.lora.alpha=8", "steer.optimiser.weight_decay=0.1"]).steer
    assert (steer.lora.r, steer.lora.alpha, steer.lora.dropout) == (16, 8.0, 0.05)
    assert (steer.optimiser.learning_rate, steer.optimiser.weight_decay) == (1.4e-5, 0.1)
    assert (steer.optimiser.warmup, steer.optimiser.decay) == (0.0, False)
    reward = load_study(str(study), ["reward.lora.alpha=8"]).reward
    assert (reward.lora.r, reward.lora.alpha, reward.lora.dropout) == (8, 8.0, 0.0)
