"""Judgements on a file's pairs become an arm, with every stage run."""

from __future__ import annotations

import json
from pathlib import Path

from ethosteer.collect.database import collection_url
from ethosteer.collect.export import export
from ethosteer.collect.pool import read_pool
from ethosteer.collect.records import CollectionSettings, Preference
from ethosteer.collect.store import Store
from ethosteer.data.sources import Origin
from ethosteer.progress import Terminal
from ethosteer.study.load import load_study
from ethosteer.study.run import Study
from tests.collect.small import join
from tests.data.formats.small import jsonl
from tests.tiny_study import OVERRIDES

STUDY = """
name = "people"
question = "Which is better?"
[data]
origin = "sample"
conversations = "sample"
[arms.human]
collected = "collection"
[arms.virtue]
max_pairs = 24
[benchmarks]
preferences = {}
"""
TINY = (
    *(entry for entry in OVERRIDES if not entry.startswith(("arms", "benchmarks"))),
    "seeds=[0]",
    "evaluate.cross_pairs=8",
)


def test_judgements_are_an_arm_that_runs_through_every_stage(
    tiny_base: Path, tmp_path: Path
) -> None:
    rows = [
        {"prompt": f"May I, {n}?", "responses": ["Ask first.", "Sure." if n % 9 else "Do."]}
        for n in range(90)
    ]
    pool = read_pool(jsonl(tmp_path / "pool.jsonl", rows))
    settings = CollectionSettings(overlap=3, repeat_share=0.1, gold_share=0)
    folder = tmp_path / "collection"
    with Store.create(collection_url(str(folder)), settings, pool.pairs) as store:
        for taste in (2, 1, -1):  # the third annotator disagrees, where there is no tie
            annotator = join(store)
            while (shown := store.assign(annotator)) is not None:
                tied = shown.pair.second.text == "Do."
                preference: Preference = 0 if tied else taste
                store.judge(annotator, shown.id, preference, seconds=1)
        exported = export(store, folder / "export")
    assert exported.preferences == 80 and exported.left_out["tied"] == 10
    assert exported.left_out["hidden repeat"] > 0

    (tmp_path / "people.toml").write_text(STUDY, "utf-8")
    loaded = load_study(str(tmp_path / "people.toml"), (f"base.model='{tiny_base}'", *TINY))
    study = Study(loaded, tmp_path / "runs", Origin("sample"), Terminal(quiet=True))
    assert study.run()
    results = json.loads((study.folder / "results.json").read_text("utf-8"))
    card = results["cards"][0]
    assert card["name"] == "human" and card["format"].startswith("judgements of `ethosteer collect")
    assert sum(card["pairs"].values()) == 80
    assert card["dropped"] == exported.left_out
    assert card["agreement"]["annotators"] == 3 and card["agreement"]["pairs"] == 90
    assert results["models"][-2:] == ["human", "virtue"]
    assert "preferences:human" in {entry["name"] for entry in results["benchmarks"]}
    assert "judgements of `ethosteer collect`" in (study.folder / "report.html").read_text("utf-8")
