"""The memory of a study's stages, counted by hand from its shape and settings."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ethosteer.models.fast import activations, budget
from ethosteer.models.geometry import adapter_parameters, base_parameters
from ethosteer.settings import LoraSettings, ModelShape, StudySettings
from ethosteer.study.footprint import CONTEXT, Footprint, Lengths, Machine, stage_disk
from ethosteer.study.load import load_study
from ethosteer.study.text_sizes import Pairs, Texts

SHAPE = ModelShape(
    hidden=4, layers=3, intermediate=10, vocabulary=50, heads=2, key_value_heads=1, head_size=2
)
TEXTS = Texts(
    {"virtue": Pairs(100, 9, 12, tokens=50, answer_share=0.4, longest=90)},
    item_tokens=1000,
    conversation_tokens=500,
    conversation_length=25,
)
GPU = Machine(on_gpu=True, memory=80e9)
CPU = Machine(on_gpu=False, memory=16e9)


def study(*overrides: str) -> StudySettings:
    return load_study("demo", ["arms={virtue={}}", *overrides])


def footprint(machine: Machine, *overrides: str, shape: ModelShape = SHAPE) -> Footprint:
    return Footprint(study(*overrides), shape, TEXTS, machine)


def lora(**settings: object) -> LoraSettings:
    return LoraSettings.checked(r=2, **settings)


def test_parameters_by_hand() -> None:
    # a layer: queries and outputs 4 * 4, keys and values 4 * 2, 3 * 4 * 10 of the MLP;
    # embeddings of 50 * 4, twice
    assert base_parameters(SHAPE) == 3 * (2 * 16 + 2 * 8 + 120) + 2 * 200
    assert base_parameters(SHAPE.model_copy(update={"tied": True})) == 3 * (48 + 120) + 200
    assert adapter_parameters(SHAPE, lora(targets=("q_proj", "v_proj", "up_proj"))) == 3 * 2 * (
        (4 + 4) + (4 + 2) + (4 + 10)
    )
    everywhere = 2 * (4 + 4) + 2 * (4 + 2) + 3 * (4 + 10)
    assert adapter_parameters(SHAPE, lora()) == 3 * 2 * everywhere
    one = lora(targets=("model.layers.1.mlp.down_proj", "self_attn.k_proj"))
    assert adapter_parameters(SHAPE, one) == 2 * ((4 + 10) + 3 * (4 + 2))


def test_heads_and_their_width_have_defaults() -> None:
    plain = ModelShape(hidden=256, layers=1, intermediate=1, vocabulary=1)
    assert (plain.query_heads, plain.head_width, plain.key_value_width) == (4, 64, 256)
    tiny = ModelShape(hidden=8, layers=1, intermediate=1, vocabulary=1)
    assert (tiny.query_heads, tiny.head_width) == (1, 8)
    assert (SHAPE.query_width, SHAPE.key_value_width) == (4, 2)


def test_an_update_of_unequal_texts_has_one_of_greatest_length() -> None:
    assert Lengths(longest=90, mean=50, count=8, learned=1).total == 90 + 7 * 50
    assert Lengths(longest=30, mean=50, count=8, learned=1).total == 8 * 30


def test_a_processor_keeps_two_further_layouts_of_the_base(monkeypatch: pytest.MonkeyPatch) -> None:
    held = footprint(CPU).base
    assert held["frozen base, once"] == 4 * base_parameters(SHAPE)
    # the embedding of tokens is looked up, not multiplied
    assert held["further layouts of it"] == 2 * 4 * (base_parameters(SHAPE) - 200)
    assert "further layouts of it" not in footprint(GPU).base
    assert footprint(GPU).base["CUDA's context"] == CONTEXT
    monkeypatch.setattr(budget, "machine_memory", lambda: 1)
    assert "further layouts of it" not in footprint(CPU).base


def test_a_server_that_the_study_starts_takes_its_share_of_the_gpu() -> None:
    served = ("rollout.engine=vllm", "rollout.version=0.32.0")
    started = (*served, "rollout.memory=0.25", "rollout.python=p")
    finetune, *others = footprint(GPU, *started).stages
    assert [stage.held.get("vLLM's server") for stage in others] == [20e9, 20e9, 20e9]
    assert "vLLM's server" not in finetune.held, "it starts with the first reward model"
    for counted in (
        footprint(GPU, *served, "rollout.url=http://a"),
        footprint(CPU, *started),
        footprint(GPU),
    ):
        assert all("vLLM's server" not in stage.held for stage in counted.stages)


def test_a_training_pass_has_the_tokens_that_the_run_gives_it() -> None:
    adapter = lora(targets=("q_proj",))
    kept = activations.activation_bytes(
        SHAPE, adapter, 4, activations.score_bytes(SHAPE, 4, 30, on_gpu=False)
    )
    token = kept + 0.5 * 12 * 50
    lengths = Lengths(longest=60, mean=30, count=100, learned=0.5)
    on_cpu = footprint(CPU)
    for setting, tokens in ((None, 1024), (200, 200), (10, 60), (10**6, 60 + 99 * 30)):
        work = on_cpu.training({}, adapter, setting, lengths)
        assert work.bytes == pytest.approx(tokens * token)
        assert work.least == pytest.approx(60 * token), "a text is never cut"


def test_a_gpus_training_pass_fills_three_fifths_of_what_is_free() -> None:
    adapter = lora()
    token = activations.activation_bytes(SHAPE, adapter, 4, 4 * 2) + 12 * 50
    lengths = Lengths(longest=60, mean=30, count=10**6, learned=1.0)
    held = {"a": 75e9, "b": 4.99e9}
    work = footprint(GPU).training(held, adapter, None, lengths)
    assert work.bytes == pytest.approx(0.6 * 10e6, rel=token / 6e6)
    few = replace(lengths, count=100)
    assert footprint(GPU).training({}, adapter, None, few).bytes == pytest.approx(few.total * token)


def test_steering_holds_what_its_arms_learn_with() -> None:
    settings = load_study(
        "demo",
        ["arms={virtue={}, duty={dataset='deontology'}, v={dataset='virtue', algorithm='ppo'}}"],
    )
    texts = replace(TEXTS, pairs={**TEXTS.pairs, "duty": TEXTS.pairs["virtue"]})
    counted = Footprint(settings, SHAPE, texts, GPU)
    adapter = 4 * adapter_parameters(SHAPE, settings.steer.lora)
    dpo, ppo = counted.steer("dpo"), counted.steer("ppo")
    # weights, two moments and two snapshots of each arm; one gradient, one adapter applied
    assert dpo.held["policies and their optimisers"] == (2 * 5 + 4) * adapter
    assert ppo.held["policies and their optimisers"] == (5 + 4) * adapter
    reward = 4 * adapter_parameters(SHAPE, settings.reward.lora)
    assert dpo.held["reward models"] == ppo.held["reward models"] == 2 * reward
    assert [stage.stage for stage in counted.stages] == [
        "finetune", "reward", "steer, dpo", "steer, ppo", "evaluate",
    ]  # fmt: skip
    plain = load_study("demo", ["finetune.enabled=false", "compare.control=base"])
    assert "finetune" not in [
        stage.stage
        for stage in Footprint(plain, SHAPE, replace(TEXTS, pairs=dict.fromkeys(
            plain.data_arms(), TEXTS.pairs["virtue"])), GPU).stages
    ]  # fmt: skip


def test_dpo_learns_from_pairs_and_ppo_from_answers() -> None:
    settings = ("steer.dpo.pairs=3", "steer.minibatches=2", "steer.batch=8")

    def training(algorithm: str) -> float:
        counted = footprint(CPU, f"steer.algorithm={algorithm}", *settings)
        return counted.steer(algorithm).work["a training pass"].bytes

    counted = footprint(CPU, *settings)
    steer, longest_prompt = counted.settings.steer, counted.settings.data.max_prompt_tokens
    row = longest_prompt + steer.max_new_tokens
    pairs = Lengths(longest=90, mean=50, count=3, learned=0.4)
    answers = Lengths(row, longest_prompt / 2 + 24, count=4, learned=steer.max_new_tokens / row)
    assert training("dpo") == counted.training({}, steer.lora, None, pairs).bytes
    assert training("ppo") == counted.training({}, steer.lora, None, answers).bytes


def test_the_cache_of_sampling_is_cut_as_the_run_cuts_it() -> None:
    counted = footprint(GPU, "data.max_prompt_tokens=60", "steer.max_new_tokens=40")
    # keys and values of 3 layers, 2 wide, in fp32: 48 bytes a token, 4,800 an answer
    free = 80e9 - sum(counted.base.values())
    held = {**counted.base, "others": free - 1e6}
    # 60 % of 1 MB has 41 prompts of 3 arms; 100 prompts are three passes of at most 34
    assert counted.prompts_at_once(held, arms=3, answers=100) == 34
    assert counted.prompts_at_once(counted.base, arms=3, answers=100) == 100
    assert counted.prompts_at_once({**held, "more": 1e6}, arms=3, answers=100) == 1
    on_cpu = footprint(CPU, "data.max_prompt_tokens=60", "steer.max_new_tokens=40")
    # 128 MiB at least
    assert on_cpu.prompts_at_once(on_cpu.base, 1, 10**6) == pytest.approx(2**27 / 4800, rel=0.02)


def test_a_stages_peak_counts_one_kind_of_work() -> None:
    stage = footprint(GPU, "steer.algorithm=ppo").steer("ppo")
    held, works = sum(stage.held.values()), stage.work.values()
    assert stage.peak == held + max(work.bytes for work in works)
    assert held < stage.least <= stage.peak


@pytest.mark.parametrize(("arms", "measured"), [(1, 54.7e9), (4, 56.4e9)])
def test_ppo_on_a_base_of_13_billion_takes_what_was_measured_on_an_h100(
    arms: int, measured: float
) -> None:
    """By ``python speed/gpu.py --arms 1 4``: torch's peak, without CUDA's context."""
    names = ("deontology", "harmless", "utilitarianism", "virtue")[:arms]
    settings = load_study(
        "llama2-13b",
        [
            f"arms={{{', '.join(f'{name}={{}}' for name in names)}}}",
            "data.max_prompt_tokens=128",
            "steer.minibatches=4",
            "steer.min_new_tokens=128",
            "steer.held_out_prompts=64",
            "steer.lora.dropout=0.0",
        ],
    )
    assert settings.base.shape is not None
    texts = replace(TEXTS, pairs=dict.fromkeys(names, TEXTS.pairs["virtue"]))
    stage = Footprint(settings, settings.base.shape, texts, GPU).steer("ppo")
    assert stage.peak - CONTEXT == pytest.approx(measured, rel=0.05)


def test_fine_tuning_keeps_an_adapter_not_a_base() -> None:
    settings = study("finetune.lora.r=2")
    disk = stage_disk(settings, SHAPE, TEXTS)
    assert disk["finetune"] == 4 * adapter_parameters(SHAPE, settings.finetune.lora)
    assert stage_disk(study("finetune.enabled=false", "compare.control=base"), SHAPE, TEXTS)[
        "finetune"
    ] == 0  # fmt: skip
