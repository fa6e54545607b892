"""`ethosteer evaluate` and `ethosteer bench evaluate`: the same results whatever the way."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

import ethosteer
from ethosteer import catalog
from ethosteer.data.sources import SAMPLE_DIR, Origin
from ethosteer.errors import InputError
from ethosteer.evaluation import standalone
from ethosteer.evaluation.standalone import (
    as_json,
    evaluate_models,
    name_adapters,
    read_tasks,
)
from ethosteer.progress import Terminal
from ethosteer.settings import BaseSettings, BenchmarkSettings
from tests import tiny

BENCHMARKS = ("toxigen", "wsc273", "crows_pairs", "ethics_utilitarianism", "winogender")
LIMIT = 24


@pytest.fixture(scope="module")
def adapters(tiny_models, tmp_path_factory) -> dict[str, dict[str, Path]]:
    """Save stock PEFT adapters of different ranks and targets for every architecture."""
    root = tmp_path_factory.mktemp("adapters")
    found: dict[str, dict[str, Path]] = {}
    for name, folder in tiny_models.items():
        for place, (rank, targets) in enumerate(((4, tiny.LORA[name]), (2, tiny.LORA[name][:1]))):
            model = AutoModelForCausalLM.from_pretrained(folder)
            settings = LoraConfig(
                r=rank,
                lora_alpha=8,
                target_modules=list(targets),
                fan_in_fan_out=name == "gpt2",
                task_type="CAUSAL_LM",
            )
            adapted = get_peft_model(model, settings)
            noise = torch.Generator().manual_seed(place)
            for key, parameter in adapted.named_parameters():
                if "lora_" in key:
                    parameter.data.normal_(std=0.2, generator=noise)
            path = root / name / f"a{place}"
            adapted.save_pretrained(path)
            found.setdefault(name, {})[f"a{place}"] = path
    return found


def evaluated(
    model: Path,
    adapters: dict[str, Path],
    tokens_per_batch: int | None = None,
    shuffle: int | None = None,
) -> dict[str, Any]:
    chosen = {name: BenchmarkSettings(limit=LIMIT) for name in BENCHMARKS}
    settings = BaseSettings(model=str(model), device="cpu")
    tasks = read_tasks(chosen, Origin("sample"), settings)
    if shuffle is not None:
        tasks = [type(t)(t.benchmark, shuffled(t.items, shuffle), t.classifier) for t in tasks]
    found = evaluate_models(settings, adapters, tasks, tokens_per_batch, Terminal(quiet=True))
    models: dict[str, Any] = json.loads(as_json(found))["models"]
    return models


def shuffled(items, seed: int):
    order = list(items)
    random.Random(seed).shuffle(order)
    return tuple(order)


def alike(a: dict[str, Any], b: dict[str, Any]) -> None:
    """Both models gave the same predictions, and log-likelihoods within 1e-4."""
    assert a["benchmarks"].keys() == b["benchmarks"].keys()
    for name, own in a["benchmarks"].items():
        others = {item["id"]: item for item in b["benchmarks"][name]["items"]}
        assert len(others) == len(own["items"]) > 0
        for item in own["items"]:
            other = others[item["id"]]
            assert item["predicted"] == other["predicted"]
            assert item["loglikelihoods"] == pytest.approx(other["loglikelihoods"], abs=1e-4)
        assert own["metrics"].keys() == b["benchmarks"][name]["metrics"].keys()
        for metric, value in own["metrics"].items():
            assert value == pytest.approx(b["benchmarks"][name]["metrics"][metric], abs=1e-4)


@pytest.mark.parametrize("name", tiny.ARCHITECTURES)
def test_results_are_the_same_at_any_budget_and_in_any_order(name, tiny_models, adapters):
    folder, own = tiny_models[name], adapters[name]
    whole = evaluated(folder, own)
    assert list(whole) == ["base", "a0", "a1"]
    for tokens_per_batch, shuffle in ((1, None), (200, 1), (100_000, 2)):
        again = evaluated(folder, own, tokens_per_batch, shuffle)
        for model in whole:
            alike(whole[model], again[model])
    predictions = [
        [item["loglikelihoods"][0] for item in own["benchmarks"]["toxigen"]["items"]]
        for own in whole.values()
    ]
    assert np.std(predictions, axis=0).min() > 1e-3, "models must differ, or nothing is shown"


@pytest.mark.parametrize("name", tiny.ARCHITECTURES)
def test_an_adapter_beside_the_base_gives_what_it_gives_merged(
    name, tiny_models, adapters, tmp_path
):
    beside = evaluated(tiny_models[name], adapters[name])
    for adapter, folder in adapters[name].items():
        model = AutoModelForCausalLM.from_pretrained(tiny_models[name])
        merged = PeftModel.from_pretrained(model, folder).merge_and_unload()
        merged.save_pretrained(tmp_path / adapter)
        AutoTokenizer.from_pretrained(tiny_models[name]).save_pretrained(tmp_path / adapter)
        alike(beside[adapter], evaluated(tmp_path / adapter, {})["base"])


def test_without_packing_the_results_are_the_same(tiny_models, adapters, monkeypatch):
    packed = evaluated(tiny_models["llama"], adapters["llama"])
    monkeypatch.setattr("ethosteer.models.loading.runs_packed", lambda base: False)
    plain = evaluated(tiny_models["llama"], adapters["llama"])
    for model in packed:
        alike(packed[model], plain[model])


def test_the_command_writes_every_item(call, tiny_models, adapters, tmp_path):
    out = tmp_path / "out.json"
    folder = adapters["llama"]["a0"]
    status, shown, _ = call(
        "evaluate", "--model", str(tiny_models["llama"]), "--adapter", str(folder),
        "--adapter", f"other={adapters['llama']['a1']}", "--sample", "--limit", "9",
        "--benchmarks", "crows_pairs,scruples_three,winogender",
        "--out", str(out),
    )  # fmt: skip
    assert status == 0
    stored = json.loads(out.read_text("utf-8"))
    assert list(stored["models"]) == ["base", "a0", "other"]
    for own in stored["models"].values():
        pairs = own["benchmarks"]["crows_pairs"]
        assert set(pairs["metrics"]) == {"pct_stereotype", "likelihood_diff"}
        assert pairs["n"] == len(pairs["items"]) > 0
        for item in pairs["items"]:
            assert item.keys() == {
                "id", "loglikelihoods", "predicted", "label", "group", "slices"
            }  # fmt: skip
            more, less = item["loglikelihoods"]
            assert item["predicted"] == int(less > more)
        low, high = pairs["intervals"]["pct_stereotype"]
        assert low <= pairs["metrics"]["pct_stereotype"] <= high
        parts = pairs["slices"].values()
        assert sum(part["n"] for part in parts) == pairs["n"]
        mean = sum(part["pct_stereotype"] * part["n"] for part in parts) / pairs["n"]
        assert mean == pytest.approx(pairs["metrics"]["pct_stereotype"])
        assert all("text" in item for item in own["benchmarks"]["scruples_three"]["items"])
        # Anecdotes are longer than the tiny model reads, and are named.
        assert own["benchmarks"]["scruples_three"]["cut"]
    assert "crows_pairs" in shown
    assert "were too long and lost text" in shown


def test_generated_texts_are_judged_and_the_judges_quality_is_told(
    call, tiny_models, adapters, tmp_path
):
    out = tmp_path / "out.json"
    status, shown, _ = call(
        "evaluate", "--model", str(tiny_models["gpt2"]), "--sample", "--limit", "6",
        "--benchmarks", "toxigen_generation", "--out", str(out), "--adapter",
        str(adapters["gpt2"]["a0"]),
    )  # fmt: skip
    assert status == 0
    for own in json.loads(out.read_text("utf-8"))["models"].values():
        found = own["benchmarks"]["toxigen_generation"]
        assert found["note"].startswith("logistic regression on n-grams of ")
        assert "held-out rows: accuracy " in found["note"]
        toxic = [item["predicted"] == 1 for item in found["items"]]
        assert found["metrics"]["toxic_share"] == pytest.approx(np.mean(toxic))
        for item in found["items"]:
            assert "\n" not in item["text"]
            if item["predicted"] is not None:
                assert np.exp(item["loglikelihoods"]).sum() == pytest.approx(1)
                assert item["predicted"] == np.argmax(item["loglikelihoods"])
    assert "classified by logistic regression" in shown


def test_bench_measures_what_it_ran(call, tiny_models, tmp_path):
    path = tmp_path / "bench.json"
    status, shown, _ = call(
        "bench", "evaluate", "--model", str(tiny_models["llama"]), "--sample", "--arms", "3",
        "--benchmarks", "toxigen,crows_pairs", "--limit", "10", "--json", str(path),
    )  # fmt: skip
    assert status == 0
    found = json.loads(path.read_text("utf-8"))
    assert json.loads(shown) == found
    assert set(found["seconds"]) == {"read", "load", "tokenise", "score"}
    assert (found["arms"], found["items"]) == (3, 20)
    assert 0 < found["tokens"] < found["tokens_unshared"]
    score = found["seconds"]["score"]
    assert found["items_per_second"] * score == pytest.approx(60)
    assert found["tokens_per_second"] * score == pytest.approx(found["tokens"])
    assert 0 < found["flops_per_second"] < found["ceiling_flops_per_second"]


def without_tokenizer(folder: Path) -> None:
    for path in folder.glob("tokenizer*"):
        path.unlink()


def other_shape(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    path = folder / "adapter_model.safetensors"
    tensors = {name: value[:, :-1].contiguous() for name, value in load_file(path).items()}
    save_file(tensors, path)


@pytest.mark.parametrize("where", ["--data-dir", "--model", "--adapter"])
def test_a_folder_that_is_not_there(where, call, tiny_models):
    arguments = {"--model": str(tiny_models["llama"]), "--data-dir": str(SAMPLE_DIR)}
    arguments[where] = "/no/such/folder"
    flat = [part for pair in arguments.items() for part in pair]
    refused(call("evaluate", "--benchmarks", "toxigen", *flat), "/no/such/folder")


def refused(found: tuple[int, str, str], *expected: str) -> None:
    status, out, err = found
    assert (status, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    for part in expected:
        assert part in err


def test_a_model_without_a_tokenizer(call, tiny_models, tmp_path):
    for name, source in tiny_models.items():
        folder = tmp_path / name
        shutil.copytree(source, folder)
        without_tokenizer(folder)
        found = call("evaluate", "--model", str(folder), "--sample", "--benchmarks", "toxigen")
        refused(found, str(folder), "tokenizer")


def test_adapters_that_do_not_fit(call, tiny_models, adapters, tmp_path):
    folder = tmp_path / "bent"
    shutil.copytree(adapters["llama"]["a0"], folder)
    other_shape(folder)
    start = ["evaluate", "--sample", "--benchmarks", "toxigen", "--model"]
    for adapter, why in ((folder, "shape"), (adapters["gpt2"]["a0"], "trained on")):
        found = call(*start, str(tiny_models["llama"]), "--adapter", str(adapter))
        refused(found, str(adapter), why)
    found = call(*start, str(tiny_models["llama"]), "--adapter", str(tmp_path))
    refused(found, "not a PEFT adapter")
    twice = ["--adapter", str(adapters["llama"]["a0"])] * 2
    refused(call(*start, str(tiny_models["llama"]), *twice), "'a0' is taken", "NAME=")


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("runs/lr=1e-4/final", "runs/lr=1e-4/final"),  # of no folder here, and no name has a slash
        ("lr=1e-4/fnal", "lr=1e-4/fnal"),  # misspelt below a folder that is there
        ("mine=lr=1e-4/none", "lr=1e-4/none"),
    ],
)
def test_an_equals_sign_in_a_path_is_no_name(argument, expected, tmp_path, monkeypatch):
    (tmp_path / "lr=1e-4").mkdir()
    monkeypatch.chdir(tmp_path)
    asked: list[str] = []

    def find(name: str) -> Path:
        asked.append(name)
        return Path(tmp_path)

    monkeypatch.setattr(standalone, "find_adapter", find)
    name_adapters([argument])
    assert asked == [expected]
    with pytest.raises(InputError, match="has no name before the equals sign"):
        name_adapters(["=folder"])


@pytest.mark.parametrize("argument", ["x" * 400, "name=" + "x" * 400, "a/" + "x" * 400, "a=b\0"])
def test_a_path_that_no_system_can_have_is_refused(argument: str) -> None:
    with pytest.raises(InputError, match=r"is too long for a path|has a NUL character"):
        name_adapters([argument])


def test_answers_longer_than_the_positions_are_refused(call, tiny_models, tmp_path):
    path = tmp_path / "free.jsonl"
    path.write_text('{"question": "Is it far?", "answer": "yes"}\n')
    benchmark = BenchmarkSettings(file=str(path), format="free_answers", pattern="(yes|no)")
    with pytest.raises(InputError, match="answers of 96 tokens leave no room for a prompt"):
        ethosteer.evaluate(
            BaseSettings(model=str(tiny_models["llama"]), device="cpu"),
            {"free": benchmark.model_copy(update={"new_tokens": 96})},
            sample=True,
            quiet=True,
        )


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", ":1: "),
        ("text,target_group,toxicity_ai\na,b,1\n", ":1: column 'toxicity_human' is missing"),
        ("text,target_group,toxicity_ai,toxicity_human\n", ":1: the file has no rows"),
    ],
)
def test_a_spoiled_benchmark_file(content, problem, call, publish, tiny_models):
    path = publish("toxigen/annotated_test.csv", content)
    found = call(
        "evaluate", "--model", str(tiny_models["llama"]), "--benchmarks", "toxigen",
        "--data-dir", str(path.parents[1]),
    )  # fmt: skip
    refused(found, f"{path}{problem}")


def test_wrong_names_and_options(call, tmp_path):
    start = ["evaluate", "--sample", "--benchmarks"]
    refused(call(*start, "toxgen"), "no benchmark is called 'toxgen'", *catalog.benchmark_names())
    refused(call(*start, ","), "name one of crows_pairs")
    refused(call(*start, "scruples:old"), "has no source 'old'; it has ethics-aita")
    refused(call(*start, "toxigen", "--out", str(tmp_path)), "--out", "must be a file")
    refused(call(*start, "toxigen", "--data-dir", str(tmp_path)), "not both")
    refused(
        call("bench", "evaluate", "--sample", "--benchmarks", "scruples_three"), "scruples_three"
    )
