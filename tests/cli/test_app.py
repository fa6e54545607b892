"""The command line: what a user types, what comes back, and with which exit status."""

from __future__ import annotations

import gzip
import html
import re
import shutil
from collections.abc import Callable
from itertools import product
from pathlib import Path

import pytest

from ethosteer.data.sources import SAMPLE_DIR
from ethosteer.errors import InputError
from ethosteer.files import read_json, to_json
from ethosteer.report.numbers import signed
from ethosteer.report.view import View
from ethosteer.results.study import StudyResults
from ethosteer.study.finished import open_run
from tests.tiny_study import OVERRIDES

Edit = Callable[[Path], None]


def replace(old: str, new: str) -> Edit:
    def edit(path: Path) -> None:
        packed = path.suffix == ".gz"
        data = gzip.decompress(path.read_bytes()) if packed else path.read_bytes()
        text = data.decode("utf-8")
        assert old in text
        data = text.replace(old, new, 1).encode("utf-8")
        path.write_bytes(gzip.compress(data) if packed else data)

    return edit


def append(data: bytes) -> Edit:
    def edit(path: Path) -> None:
        packed = path.suffix == ".gz"
        before = gzip.decompress(path.read_bytes()) if packed else path.read_bytes()
        path.write_bytes(gzip.compress(before + data) if packed else before + data)

    return edit


MALFORMED: dict[str, tuple[str, Edit, str]] = {
    "deontology: a column is missing": (
        "ethics/deontology/deontology_train.csv", replace("excuse", "reason"), ":1: column 'excuse'"
    ),
    "virtue: an unknown label": (
        "ethics/virtue/virtue_train.csv", append(b'2,"A. [SEP] kind"\n'), "must be one of 0, 1"
    ),
    "utilitarianism: a third column": (
        "ethics/utilitarianism/util_train.csv", append(b"a,b,c\n"), "3 fields where 2"
    ),
    "harmless: a wrong type": (
        "hh-rlhf/harmless-base/train.jsonl.gz",
        append(b'{"chosen": 3, "rejected": "x"}\n'),
        "column 'chosen' must be text",
    ),
    "toxigen: not a number": (
        "toxigen/annotated_test.csv", replace("toxicity_human", "toxicity"), ":1: column"
    ),
    "wsc273: not JSON": ("winograd/wsc273.jsonl", append(b"{oops\n"), "not valid JSON"),
    "crows_pairs: an undecodable byte": (
        "crows_pairs/crows_pairs_anonymized.csv", append(b"\xff\n"), "byte 0xff is not utf-8"
    ),
    "ethics: an unknown label": (
        "ethics/commonsense/cm_test.csv", append(b"yes,I left.,True,False\n"), "one of 0, 1"
    ),
    "winogender: a column is missing": (
        "winogender/all_sentences.tsv", replace("sentence", "text"), ":1: column 'sentence'"
    ),
    "scruples: an unknown label": (
        "scruples/anecdotes/test.scruples-anecdotes.jsonl",
        append(b'{"id": "x", "title": "t", "text": "u", "binarized_label": "MAYBE"}\n'),
        "binarized_label",
    ),
    "conversations: neither messages nor text": (
        "conversations/guanaco_train.jsonl", append(b'{"question": "hello"}\n'), "'messages'"
    ),
}  # fmt: skip


BENCHMARKS = ("toxigen", "wsc273", "crows_pairs", "ethics_cm", "winogender", "scruples")


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_data_gives_one_line_and_status_2(
    case: str, tmp_path: Path, tiny_base: Path, call: Callable[..., tuple[int, str, str]]
) -> None:
    name, edit, expected = MALFORMED[case]
    data = tmp_path / "data"
    shutil.copytree(SAMPLE_DIR, data)
    edit(data / name)
    settings = [
        part for change in (f"base.model={tiny_base}", *OVERRIDES) for part in ("--set", change)
    ]
    status, _, err = call(
        "run", "demo", "--data-dir", str(data), "--runs-dir", str(tmp_path / "runs"), *settings,
        "--set", "arms={deontology={}, harmless={}, utilitarianism={}, virtue={}}",
        "--set", f"benchmarks={{{', '.join(f'{name}={{}}' for name in BENCHMARKS)}}}",
        "--set", "data.conversations='conversations/guanaco_train.jsonl'",
    )  # fmt: skip
    assert status == 2
    assert err.count("\n") == 1
    assert err.startswith(f"error: {data / name}")
    assert expected in err
    assert not list(tmp_path.rglob("*.safetensors"))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["run", "nothing"], "neither a .toml file nor a bundled study"),
        (["run", "missing.toml"], "no such study file"),
        (
            ["run", "demo", "--set", "steer.stepz=3"],
            "unknown key steer.stepz; did you mean 'steps'?",
        ),
        (["run", "demo", "--set", "steer.steps=many"], "steer.steps: "),
        (["run", "demo", "--set", "steer"], "write it as key.name=value"),
        (["run", "demo", "--set", "arms.duty={}"], "duty"),
        (["run", "demo", "--set", "benchmarks.toxgen={}"], "toxigen"),
        (["run", "demo", "--set", "benchmarks.scruples.source='x'"], "it has ethics-aita"),
        (
            ["run", "demo", "--set", "compare.primary=['toxgen']"],
            "names 'toxgen', which is not among",
        ),
        (["run", "demo", "--set", "steer.algorithm=grpo"], "there are best_of_n, dpo, ppo, rloo"),
        (["run", "demo", "--set", "arms.virtue.algorithm=grpo"], "arms.virtue.algorithm: "),
        (
            [
                "run",
                "demo",
                "--set",
                "arms.virtue.algorithm=rloo",
                "--set",
                "steer.batch=6",
                "--set",
                "steer.minibatches=2",
            ],
            "steer.batch must be a multiple of steer.rloo.answers",
        ),
        (
            ["run", "demo", "--set", "steer.select=kl", "--set", "steer.kl_target=none"],
            "select = 'kl' needs a kl_target",
        ),
        (["run", "demo", "--set", "steer.clip=0.2"], "unknown key steer.clip"),
        (["run", "demo", "--data-dir", "/no/such/folder"], "no such folder"),
        (["run", "demo", "--set", "base.model=/no/such/model"], "model /no/such/model"),
        (["curate", "duty"], "deontology"),
        (["report", "demo", "--runs-dir", "/tmp/none-such"], "not finished"),
    ],
)
def test_wrong_settings_give_one_line_and_status_2(
    arguments: list[str], expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    call: Callable[..., tuple[int, str, str]],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    status, out, err = call(*arguments)
    assert (status, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert expected in err


@pytest.mark.parametrize(
    ("trackers", "expected"),
    [
        ("['tensorbord']", "track.trackers: unknown tracker 'tensorbord'; known: "),
        ("['clearml']", "track.trackers: clearml is not installed (pip install clearml)"),
    ],
)
def test_a_tracker_that_cannot_be_had_is_told_before_any_model_is_loaded(
    trackers: str,
    expected: str,
    tmp_path: Path,
    tiny_base: Path,
    call: Callable[..., tuple[int, str, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def load(*_: object) -> None:
        pytest.fail("a model was loaded")

    monkeypatch.setattr("ethosteer.models.loading.load_base", load)
    changes = (f"base.model={tiny_base}", *OVERRIDES, f"track.trackers={trackers}")
    settings = [part for change in changes for part in ("--set", change)]
    status, out, err = call("run", "demo", "--runs-dir", str(tmp_path), *settings)
    assert (status, out) == (2, "")
    assert err.startswith(f"error: {expected}")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    "command",
    [
        ("run", "demo"),
        ("report", "demo"),
        ("evaluate", "--sample", "--benchmarks", "wsc273"),
        ("bench", "evaluate", "--sample", "--benchmarks", "wsc273"),
    ],
)
def test_commands_fetch_the_base_they_ask_for(
    command: tuple[str, ...],
    tmp_path: Path,
    call: Callable[..., tuple[int, str, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fetch(*_: object) -> None:
        raise InputError("no network")

    monkeypatch.setenv("ETHOSTEER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("ethosteer.models.cached._fetch_smollm2", fetch)
    if command[0] in {"run", "report"}:
        options: tuple[str, ...] = ("--runs-dir", str(tmp_path), "--set", "base.model=smollm2")
    else:
        options = ("--model", "smollm2")
    assert call(*command, *options) == (2, "", "error: no network\n")


def _publish(
    run: Path, folder: Path, common: list[str], call: Callable[..., tuple[int, str, str]]
) -> None:
    """Write a report without texts; what the run's own one has of them is in no published file."""
    finished = open_run(run)
    texts = [
        text
        for items in finished.item_records.values()
        for item in items
        for text in (*item.contexts, *item.continuations)
        if len(text) > 30
    ] + [answer.text for sample in finished.results.samples for answer in sample.answers]
    private = (run / "report.html").read_text("utf-8")
    assert call("report", *common, "--no-texts") == (
        2,
        "",
        "error: --no-texts: give a single study, and a folder by --out\n",
    )
    status, _, error = call("report", *common, "--no-texts", "--out", str(run))
    assert (status, "is the run's own folder" in error) == (2, True)
    assert call("report", *common, "--no-texts", "--out", str(folder))[0] == 0
    by_folder = folder.parent / "by-folder"
    assert call("report", str(run), "--no-texts", "--out", str(by_folder))[0] == 0
    assert (run / "report.html").read_text("utf-8") == private
    assert texts
    assert 'id="item-browser"' in private
    for path in filter(Path.is_file, folder.rglob("*")):
        published = path.read_text("utf-8")
        assert not [text for text in texts if text in html.unescape(published)]
        assert 'id="item-browser"' not in published
        assert (by_folder / path.relative_to(folder)).read_text("utf-8") == published
    results = read_json(folder / "results.json", StudyResults)
    assert to_json(results.comparisons) == to_json(finished.results.comparisons)


def test_the_life_of_a_study(
    tmp_path: Path, tiny_base: Path, call: Callable[..., tuple[int, str, str]]
) -> None:
    common = ["demo", "--runs-dir", str(tmp_path)]
    for change in (f"base.model={tiny_base}", *OVERRIDES, "seeds=[0]"):
        common += ["--set", change]
    status, out, _ = call("status", *common)
    assert status == 0
    assert "0/3" in out
    assert re.search(r"about \d.* left", out)
    status, out, _ = call("run", *common)
    assert status == 0
    *table, last = out.splitlines()
    assert last == f"done: {tmp_path / 'demo' / 'report.html'}"
    results = read_json(tmp_path / "demo" / "results.json", StudyResults)
    verdicts = [
        tuple(cell.strip() for cell in line.strip("│").split("│"))
        for line in table
        if line.startswith("│")
    ]
    assert [row[:2] for row in verdicts] == list(
        product(("deontology", "virtue"), ("toxigen", "wsc273", "scruples_three"))
    )
    view = View(results)
    for arm, name, difference, verdict in verdicts:
        benchmark = next(result for result in results.benchmarks if result.name == name)
        comparison = view.comparison(benchmark, arm, "fine-tuned")
        assert comparison is not None
        assert verdict == comparison.verdict
        assert difference.startswith(signed(comparison.difference.value))
    status, out, _ = call("run", *common)
    assert status == 0
    assert out.startswith("nothing to do")
    (tmp_path / "demo" / "report.md").unlink()
    assert call("report", *common)[0] == 0
    assert (tmp_path / "demo" / "report.md").is_file()
    _publish(tmp_path / "demo", tmp_path / "published", common, call)
    status, out, _ = call("chat", *common, "--prompt", "Hello [there]")
    assert status == 0
    assert "fine-tuned" in out
    assert "virtue" in out
    assert call("export", *common[:1], "virtue", str(tmp_path / "out"), *common[1:])[0] == 0
    assert (tmp_path / "out" / "adapter_model.safetensors").is_file()


@pytest.mark.parametrize("command", ["status", "evaluate", "collect"])
def test_a_command_for_one_process_is_refused_in_several(command, call, torchrun):
    torchrun(2, 0)
    status, out, error = call(command, "demo")
    assert (status, out) == (2, "")
    assert error == (
        f"error: ethosteer {command}: is for one process; torchrun and accelerate launch start "
        "`ethosteer run` alone\n"
    )


def test_workers_are_refused_in_several_processes(call, torchrun):
    torchrun(2, 0)
    status, _, error = call("run", "demo", "--workers", "2")
    assert status == 2 and error.startswith("error: --workers, --executor: each worker has a")
