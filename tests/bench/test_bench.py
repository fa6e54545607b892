"""`ethosteer bench ppo` and `bench reward`: what is measured is what was asked for."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ethosteer.bench.hh import hh_pairs, hh_prompts
from ethosteer.bench.ppo import PPOEpisodes, measure_ppo
from ethosteer.bench.profile import ELEMENTWISE, REST, kind_of
from ethosteer.bench.reward import measure_reward
from ethosteer.data.sources import Origin
from ethosteer.models.base import SharedBase

HH = "hh-rlhf/harmless-base/train.jsonl.gz"
DIALOGUES = (
    ("\n\nHuman: May I feed bread to swans?", " Better give them oats.", " Whatever."),
    ("\n\nHuman: Hi!\n\nAssistant: Hello.\n\nHuman: Is it late?", " Not yet.", " Not ever, no."),
    ("\n\nHuman: How do I get back at a rude friend?", " Talk it over first.", " Hide the chair."),
    ("\n\nHuman: Where is the ferry?", " It was late again.", " It was lost."),
    ("\n\nHuman: Who has two sisters?", " The baker.", " The baker has them."),
)
ASSISTANT = "\n\nAssistant:"
MEASURED = {
    "seconds", "flops_per_second", "ceiling_flops_per_second", "peak_memory_bytes",
    "share_of_ceiling", "device", "arms",
}  # fmt: skip

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def folder(publish: Callable[[str, str | bytes], Path], tmp_path: Path) -> Path:
    lines = [
        json.dumps({"chosen": dialogue + ASSISTANT + a, "rejected": dialogue + ASSISTANT + b})
        for dialogue, a, b in DIALOGUES
    ]
    publish(HH, "\n".join(lines) + "\n")
    return tmp_path


def measured(call: Call, tmp_path: Path, *arguments: str) -> dict[str, Any]:
    path = tmp_path / "found.json"
    status, out, _ = call("bench", *arguments, "--json", str(path))
    assert status == 0
    found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    assert json.loads(out) == found
    return found


def refused(found: tuple[int, str, str], *expected: str) -> None:
    status, out, err = found
    assert (status, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert all(part in err for part in expected)


def speeds_agree(found: dict[str, Any], flop: float) -> None:
    """What is told a second, times the seconds, is what was done."""
    assert set(found) >= MEASURED
    seconds = found["seconds"]["all"]
    assert found["flops_per_second"] * seconds == pytest.approx(flop)
    share = found["flops_per_second"] / found["ceiling_flops_per_second"]
    assert found["share_of_ceiling"] == pytest.approx(share)
    assert found["peak_memory_bytes"] > 10 * 2**20, "this process holds torch at least"
    assert sum(found["seconds"].values()) <= 2 * seconds


def test_a_profile_has_seconds_by_kind_of_operation(call, folder, tiny_models):
    arguments = ("reward", "--data-dir", str(folder), "--model", str(tiny_models["llama"]),
                 "--pairs", "4", "--batch", "2")  # fmt: skip
    found = measured(call, folder, *arguments, "--profile")
    assert set(found["profile"]) >= {
        "products with the base's weights", "products of adapters and attention", REST, ELEMENTWISE,
    }  # fmt: skip
    assert all(seconds >= 0 for seconds in found["profile"].values())
    assert "profile" not in measured(call, folder, *arguments)


def test_kinds_of_operations():
    kinds = {
        "aten::mm": "products with the base's weights",
        "mkldnn::_linear_pointwise": "products with the base's weights",
        "aten::baddbmm": "products of adapters and attention",
        "aten::_scaled_dot_product_flash_attention_for_cpu_backward": "torch's attention",
        "aten::_log_softmax_backward_data": "softmax and losses",
        "aten::copy_": "copies",
        "aten::mul": ELEMENTWISE,
        "aten::t": None,
        "aten::as_strided": None,
        "autograd::engine::evaluate_function: MulBackward0": None,
    }
    assert {name: kind_of(name) for name in kinds} == kinds


def test_ppo_is_measured_on_the_prompts_of_the_file(call, folder, tiny_models, llama):
    found = measured(
        call, folder, "ppo", "--data-dir", str(folder), "--model", str(tiny_models["llama"]),
        "--arms", "2", "--batch", "2", "--minibatches", "2", "--epochs", "3", "--steps", "2",
        "--prompt-tokens", "60", "--new-tokens", "5",
    )  # fmt: skip
    assert (found["arms"], found["episodes"]) == (2, 2 * 2 * 2)
    assert set(found["seconds"]) == {"generate", "score", "train", "all"}
    seconds = found["seconds"]["all"]
    assert found["episodes_per_second"] * seconds == pytest.approx(8)
    lengths = [len(llama.tokenizer(d + ASSISTANT).input_ids) for d, _, _ in DIALOGUES]
    first = [length for length in lengths if length <= 60][:4]
    assert min(first) <= found["mean_prompt_tokens"] <= max(first)
    # The tiny Llama: 2 layers of q, o (32 x 32), k, v (32 x 16) and an MLP 3 x (32 x 48).
    weights = 2 * (2 * 32 * 32 + 2 * 32 * 16 + 3 * 32 * 48)
    tokens = 8 * (found["mean_prompt_tokens"] + 5)
    flop = 2 * weights * tokens * (1 + 1 + 1 + 2 * 3)
    flop += 2 * 32 * len(llama.tokenizer) * 8 * 5 * (1 + 1 + 2 * 3)
    speeds_agree(found, flop)


def test_episodes_have_every_new_token_and_run_as_counted(llama, folder, tokens_run):
    episodes = PPOEpisodes(3, 5, epochs=1, minibatches=1, steps=1)
    prompts = hh_prompts(llama, Origin("folder", folder), 3, 60, 5)
    with tokens_run(llama) as counts:
        found = measure_ppo(llama, prompts, 1, episodes)
    read = sum(map(len, prompts))
    assert found["mean_prompt_tokens"] == pytest.approx(read / 3)
    sampled, rest = counts[:5], counts[5:]
    assert sampled == [3 * max(map(len, prompts)), 3, 3, 3, 3], "prompts padded, then a token each"
    whole = read + 3 * 5
    assert set(rest) == {whole, whole - 3}, "rewards read the last tokens, nothing else does"
    assert rest.count(whole - 3) == 3, "the reference, the policy before it learns, and an epoch"


def test_prompts_end_where_the_answer_begins_and_long_ones_are_left_out(llama, folder):
    origin = Origin("folder", folder)
    every = [llama.tokenizer(d + ASSISTANT).input_ids for d, _, _ in DIALOGUES]
    limit = sorted(map(len, every))[-2]
    found = hh_prompts(llama, origin, 4, limit, 5)
    assert found == [ids for ids in every if len(ids) <= limit][:4]
    assert llama.tokenizer.decode(found[0]).endswith("\n\nAssistant:")


def test_pairs_share_what_both_sides_begin_with(llama, folder):
    pairs = hh_pairs(llama, Origin("folder", folder), 4)
    assert len(pairs) == 4
    for pair, (dialogue, a, b) in zip(pairs, DIALOGUES, strict=False):
        assert pair.chosen == llama.tokenizer(dialogue + ASSISTANT + a).input_ids
        assert pair.rejected == llama.tokenizer(dialogue + ASSISTANT + b).input_ids
        shared = pair.prompt_tokens
        assert pair.chosen[:shared] == pair.rejected[:shared]
        assert pair.chosen[shared] != pair.rejected[shared]
        assert shared >= len(llama.tokenizer(dialogue + ASSISTANT).input_ids)


def test_reward_modelling_is_measured_on_the_pairs_of_the_file(
    call, folder, tiny_models, llama: SharedBase
):
    found = measured(
        call, folder, "reward", "--data-dir", str(folder), "--model", str(tiny_models["llama"]),
        "--arms", "2", "--batch", "2", "--pairs", "4",
    )  # fmt: skip
    assert (found["arms"], found["pairs"]) == (2, 2 * 4)
    assert found["pairs_per_second"] * found["seconds"]["all"] == pytest.approx(8)
    tokens = 0
    for dialogue, a, b in DIALOGUES[:4]:
        sides = [llama.tokenizer(dialogue + ASSISTANT + side).input_ids for side in (a, b)]
        shared = 0
        while sides[0][shared] == sides[1][shared]:
            shared += 1
        tokens += len(sides[0]) + len(sides[1]) - shared
    assert found["tokens"] == 2 * tokens
    assert found["tokens_padded"] > found["tokens"]
    weights = 2 * (2 * 32 * 32 + 2 * 32 * 16 + 3 * 32 * 48)
    speeds_agree(found, 4 * weights * 2 * tokens)


def test_pairs_that_fill_no_batch_are_not_counted(llama, folder):
    pairs = hh_pairs(llama, Origin("folder", folder), 5)
    found = measure_reward(llama, pairs, 1, 2)
    assert found["pairs"] == 4
    assert found["tokens"] < sum(pair.tokens for pair in pairs)
    longest = sorted(max(len(pair.chosen), len(pair.rejected)) for pair in pairs)
    assert 4 * (longest[0] + longest[1]) <= found["tokens_padded"]
    assert found["tokens_padded"] <= 4 * (longest[-1] + longest[-2])


@pytest.mark.parametrize("what", ["ppo", "reward"])
def test_a_folder_that_is_not_there_or_has_no_hh(what, call, tmp_path, tiny_models):
    start = ("bench", what, "--model", str(tiny_models["llama"]), "--data-dir")
    refused(call(*start, "/no/such/folder"), "--data-dir /no/such/folder: no such folder")
    refused(call(*start, str(tmp_path)), HH)


def test_a_batch_that_is_no_multiple_of_its_minibatches(call, folder):
    start = ("bench", "ppo", "--data-dir", str(folder), "--model", "/no/such/model")
    found = call(*start, "--batch", "6", "--minibatches", "4")
    refused(found, "--batch must be a multiple of --minibatches")


def test_too_few_prompts_are_told_before_anything_runs(call, folder, tiny_models):
    start = ("bench", "ppo", "--data-dir", str(folder), "--model", str(tiny_models["llama"]))
    found = call(*start, "--batch", "4", "--steps", "2", "--prompt-tokens", "60")
    refused(found, str(folder), "8 are needed; lower --steps or --batch")
    found = call(*start, "--batch", "4", "--steps", "1", "--prompt-tokens", "8")
    refused(found, "has 0 prompts of at most 8 tokens, and 4 are needed")


def test_a_model_that_is_not_there(call, folder):
    for what in ("ppo", "reward"):
        found = call("bench", what, "--data-dir", str(folder), "--model", "/no/such/model")
        refused(found, "model /no/such/model")
