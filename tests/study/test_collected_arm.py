"""From a study's answers to an arm of the judgements on them, with every stage run."""

from __future__ import annotations

import json
from pathlib import Path

from ethosteer.collect.export import export
from ethosteer.collect.pool import read_pool
from ethosteer.collect.records import CollectionSettings, Preference
from ethosteer.collect.store import Store
from ethosteer.data.sources import Origin
from ethosteer.progress import Terminal
from ethosteer.study.load import load_study
from ethosteer.study.run import Study
from tests.collect.small import join
from tests.tiny_study import OVERRIDES

STUDY = """
name = "{name}"
question = "Which is better?"
[data]
origin = "sample"
conversations = "sample"
[arms.virtue]
max_pairs = 24
{arm}
[benchmarks]
preferences = {{}}
"""
TINY = (
    *(entry for entry in OVERRIDES if not entry.startswith(("arms", "benchmarks"))),
    "seeds=[0]",
    "evaluate.cross_pairs=8",
    "evaluate.sample_prompts=100",
    "steer.dpo.pairs=8",
)


def run(folder: Path, base: Path, name: str, arm: str) -> Study:
    path = folder / f"{name}.toml"
    path.write_text(STUDY.format(name=name, arm=arm), "utf-8")
    settings = load_study(str(path), (f"base.model='{base}'", *TINY))
    study = Study(settings, folder / "runs", Origin("sample"), Terminal(quiet=True))
    assert study.run()
    return study


def test_judgements_of_a_studys_answers_are_an_arm_of_the_next(
    tiny_base: Path, tmp_path: Path
) -> None:
    first = run(tmp_path, tiny_base, "first", "[arms.harmless]\nmax_pairs = 24")
    pool = read_pool(first.folder)
    folder = first.folder / "collection"
    settings = CollectionSettings(overlap=3, repeat_share=0.1, gold_share=0)
    with Store.create(f"sqlite:///{folder / 'collection.sqlite'}", settings, pool.pairs) as store:
        for taste in (1, 1, -1):  # the longer answer is better, and the third annotator disagrees
            annotator = join(store)
            while (shown := store.assign(annotator)) is not None:
                lengths = [len(answer.text) for answer in (shown.pair.first, shown.pair.second)]
                better = taste * ((lengths[0] > lengths[1]) - (lengths[0] < lengths[1]))
                preference: Preference = 2 if better > 0 else -2 if better < 0 else 0
                store.judge(annotator, shown.id, preference, seconds=1)
        exported = export(store, folder / "export")
    assert exported.preferences > 50

    second = run(tmp_path, tiny_base, "second", '[arms.human]\ncollected = "runs/first/collection"')
    results = json.loads((second.folder / "results.json").read_text("utf-8"))
    card = results["cards"][-1]
    assert card["name"] == "human" and card["format"].startswith("judgements of `ethosteer collect")
    dropped = card["dropped"]
    later = sum(count for reason, count in dropped.items() if reason not in exported.left_out)
    assert sum(card["pairs"].values()) + later == exported.preferences
    assert {reason: dropped[reason] for reason in exported.left_out} == exported.left_out
    assert card["agreement"]["annotators"] == 3
    assert {arm["name"] for arm in results["arms"]} == {"virtue", "human"}
    assert "human" in (second.folder / "report.html").read_text("utf-8")
