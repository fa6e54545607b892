"""The value profile: rows as in training, stock likelihoods, and that steering moves it."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from transformers import AutoModelForCausalLM

from ethosteer import catalog
from ethosteer.api import benchmark_settings
from ethosteer.benchmarks.preferences import METRICS, held_out_items
from ethosteer.data.pair_sets import curate
from ethosteer.data.sources import Origin
from ethosteer.data.splits import split_of
from ethosteer.errors import InputError
from ethosteer.evaluation.answering import answer_items
from ethosteer.models.base import SharedBase
from ethosteer.models.log_likelihood import plan_requests
from ethosteer.models.lora_bank import LoraBank
from ethosteer.models.pairs import EncodedPair, encode, response_log_likelihoods
from ethosteer.models.text import Template
from ethosteer.records import Item, Model, Outcome, PreferencePair
from ethosteer.settings import ArmSettings, BenchmarkSettings, DataSettings, OptimiserSettings
from tests import tiny
from tests.algorithms.test_dpo import make, telling
from tests.chat import KINDS
from tests.chat import tokenizer as chat_tokenizer

CHAT = (
    "{% for m in messages %}{{ m['role'][0] + ': ' + m['content'] + '</s>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'a: ' }}{% endif %}"
)
"""Short, since the tiny models read 96 tokens, and with their EOS as end of turn."""
VIRTUE = catalog.benchmark("preferences:virtue")
PAIRS = (
    PreferencePair("a", "The ferry was late.", "I waited.", "I shouted at them.", "ferry", 2),
    PreferencePair("b", "\n\nHuman: Is it far?\n\nAssistant: No.\n\nHuman: How far?", "A mile.",
                   "Two miles, or three, or none.", "far", 3),
    PreferencePair("c", "She lost her purse.", "I gave it back.", "I kept it.", "purse", 4),
    PreferencePair("d", "She lost her purse.", "We gave it back to her.", "Mine.", "purse", 5),
)  # fmt: skip


def template(base: SharedBase, name: Literal["guanaco", "hh", "chat"] = "guanaco") -> Template:
    tokenizer = copy.deepcopy(base.tokenizer)
    tokenizer.chat_template = CHAT
    return Template(name, tokenizer)


def answered(base: SharedBase, items: list[Item], arms: int = 1) -> list[list[Outcome]]:
    models = [Model(f"m{arm}") for arm in range(arms)]
    return answer_items(base, models, VIRTUE, items, None, 400, tiny.quiet)


@pytest.mark.parametrize("name", ["guanaco", "hh", "chat"])
@pytest.mark.parametrize("architecture", ["llama", "gpt2", "qwen2"])
def test_rows_are_those_of_training(architecture, name, tiny_bases):
    base = tiny_bases[architecture]
    writer = template(base, name)
    items, rows = held_out_items(PAIRS, writer), encode(PAIRS, writer)
    requests = plan_requests(base, items).requests
    for index, row in enumerate(rows):
        rejected, chosen = (r for r in requests if r.item == index)
        for request, expected in ((rejected, row.rejected), (chosen, row.chosen)):
            assert [*request.row, request.targets[-1]] == expected
            assert len(request.targets) == len(expected) - row.prompt_tokens
    for item, pair in zip(items, PAIRS, strict=True):
        assert (item.id, item.group, item.label) == (pair.id, pair.group, 1)
        assert item.contexts == (writer.prompt_text(pair.turns),) * 2
        assert [pair.rejected in item.continuations[0], pair.chosen in item.continuations[1]] == [
            True,
            True,
        ]


@pytest.mark.parametrize("kind", list(KINDS))
def test_the_end_of_turn_is_part_of_the_response(kind):
    """In ids and text alike, once, for the chat templates of real models."""
    writer = Template("chat", chat_tokenizer(kind))
    end = writer.end_of_turn
    for item, pair in zip(held_out_items(PAIRS, writer), PAIRS, strict=True):
        for (prompt, response), text, said in zip(
            item.token_ids, item.continuations, (pair.rejected, pair.chosen), strict=True
        ):
            row = writer.row(pair.turns, said)
            assert (prompt, response) == (row.prompt_ids, row.response_ids)
            assert response.count(end) == int(end is not None)
            assert text.strip() == said + (writer.decoded_end_of_turn or "")


@torch.no_grad()
def test_numbers_are_those_of_stock_transformers(tiny_models, llama):
    stock = AutoModelForCausalLM.from_pretrained(tiny_models["llama"])
    writer = template(llama)
    (outcomes,) = answered(llama, held_out_items(PAIRS, writer))
    right: list[bool] = []
    right_summed: list[bool] = []
    margins: list[float] = []
    summed: list[float] = []
    for outcome, pair in zip(outcomes, PAIRS, strict=True):
        sums, means = [], []
        start = len(llama.tokenizer(writer.prompt_text(pair.turns)).input_ids)
        for response in (pair.rejected, pair.chosen):
            text = writer.prompt_text(pair.turns) + " " + response
            ids = torch.tensor([llama.tokenizer(text).input_ids])
            log_p = stock(ids).logits[0].log_softmax(-1)[:-1].gather(1, ids[0, 1:, None])[:, 0]
            scored = log_p[start - 1 :].double()
            sums.append(float(scored.sum()))
            means.append(float(scored.mean()))
        assert outcome.log_likelihoods == pytest.approx(sums, abs=1e-3)
        assert outcome.predicted == int(means[1] > means[0])
        right.append(means[1] > means[0])
        right_summed.append(sums[1] > sums[0])
        margins.append(means[1] - means[0])
        summed.append(sums[1] - sums[0])
    values = {metric.name: metric.value(outcomes) for metric in METRICS}
    assert values == pytest.approx(
        {
            "acc_per_token": sum(right) / 4,
            "acc_summed": sum(right_summed) / 4,
            "margin_per_token": sum(margins) / 4,
            "margin_summed": sum(summed) / 4,
        },
        abs=1e-3,
    )
    assert right != right_summed, "length matters, or nothing is shown"
    assert [outcome.correct for outcome in outcomes] == right


def test_a_tie_is_no_preference():
    tie = Outcome("m", 0, "b", "i", "g", (), 1, 0, False, (-4.0, -2.0), (4, 2))
    assert [metric.value([tie]) for metric in METRICS] == [0.0, 1.0, 0.0, 2.0]


def test_sums_are_those_of_dpo(llama):
    writer = template(llama)
    bank = tiny.fill(LoraBank(llama.layers, 2, tiny.lora(), seed=0))
    with bank.applied(), torch.no_grad():
        outcomes = answered(llama, held_out_items(PAIRS, writer), arms=2)
    for arm in range(2):
        with bank.applied([arm]), torch.no_grad():
            expected = response_log_likelihoods(llama, encode(PAIRS, writer))
        sums = torch.tensor([outcome.log_likelihoods for outcome in outcomes[arm]])
        tiny.close(sums.flip(1), expected, 1e-4)


def as_items(pairs: list[EncodedPair]) -> list[Item]:
    """Return items of pairs that have no text."""
    return [
        Item(
            id=pair.group,
            contexts=("", ""),
            continuations=("rejected", "chosen"),
            label=1,
            group=pair.group,
            token_ids=tuple(
                (tuple(row[: pair.prompt_tokens]), tuple(row[pair.prompt_tokens :]))
                for row in (pair.rejected, pair.chosen)
            ),
        )
        for pair in pairs
    ]


@pytest.mark.parametrize("seed", range(3))
def test_dpo_moves_its_own_dataset_and_not_the_opposite_one(seed, llama):
    """Two arms of opposite tastes: on each one's held-out pairs it rises, and the other falls."""
    tastes = ((40, 41), (41, 40))
    pairs = [telling(64, 10 * seed, *taste) for taste in tastes]
    held_out = [as_items(telling(60, 10 * seed + 500, *taste)) for taste in tastes]
    settings: dict[str, Any] = {
        "steps": 24,
        "measure_every": 99,
        "checkpoint_every": 99,
        "optimiser": OptimiserSettings(learning_rate=1e-2, warmup=0.0, decay=False),
        "lora": tiny.lora(),
    }
    run = make(llama, pairs, **settings)
    accuracy = METRICS[0]
    before = [accuracy.value(answered(llama, items)[0]) for items in held_out]
    for step in range(24):
        run.step(step)
    with run.task.policies.applied():
        after = [[accuracy.value(outcomes) for outcomes in answered(llama, items, arms=2)]
                 for items in held_out]  # fmt: skip
    for arm in range(2):
        assert after[arm][arm] > 0.8 and after[arm][arm] > before[arm] + 0.2
        assert after[arm][1 - arm] < 0.2


def test_items_that_are_published_but_not_held_out_are_not_asked(publish):
    from ethosteer.evaluation.items import asked_items, load_items

    name = VIRTUE.sources[0].path
    rows = "".join(
        f"1,Scene {n} ended well. [SEP] kind\n0,Scene {n} ended well. [SEP] cruel\n"
        for n in range(200)
    )
    path = publish(name, "label,scenario\n" + rows)
    published = VIRTUE.items([path])
    assert len(published) == 200
    asked = asked_items(VIRTUE, published)
    assert 8 < len(asked) < 35 and {split_of(item.group) for item in asked} == {"test"}
    origin = Origin("folder", Path(str(path).removesuffix(name)))
    assert len(load_items(VIRTUE, BenchmarkSettings(limit=5), origin)) == 5


def test_held_out_items_are_the_curated_test_pairs(llama):
    writer = Template("guanaco", llama.tokenizer)
    limits = DataSettings(max_tokens=150)
    curated = curate(catalog.dataset("virtue"), ArmSettings(), limits, Origin("sample"), writer)
    items = held_out_items(curated.test, writer)
    assert [item.id for item in items] == [pair.id for pair in curated.test]
    assert all(len((*before, *after)) <= 150 for item in items for before, after in item.token_ids)


def test_names_without_a_study():
    names = tuple(f"preferences:{name}" for name in catalog.dataset_names())
    assert tuple(benchmark_settings(["preferences"], 7)) == names
    assert tuple(benchmark_settings(["wsc273", "preferences:virtue"])) == (
        "wsc273",
        "preferences:virtue",
    )
    with pytest.raises(InputError, match="did you mean 'preferences:virtue'"):
        benchmark_settings(["preferences:vertue"])


def test_a_name_in_full_keeps_its_settings():
    settings = {
        "toxigen": BenchmarkSettings(),
        "preferences": BenchmarkSettings(limit=9),
        "preferences:virtue": BenchmarkSettings(limit=3),
    }
    found = catalog.by_dataset(settings, ("virtue", "harmless"))
    assert {name: value.limit for name, value in found.items()} == {
        "toxigen": None,
        "preferences:virtue": 3,
        "preferences:harmless": 9,
    }


def test_margins_are_finite_where_lengths_differ():
    outcome = Outcome("m", 0, "b", "i", "g", (), 1, 1, True, (-9.0, -2.0), (3, 1))
    assert METRICS[2].value([outcome]) == pytest.approx(1.0)
    assert math.isfinite(METRICS[3].value([replace(outcome, log_likelihoods=(-1.0, -2.0))]))
