"""ethosteer.run and ethosteer.evaluate: the command line's work for a program."""

from __future__ import annotations

from pathlib import Path

import pytest

import ethosteer
from ethosteer.data.sources import SAMPLE_DIR
from ethosteer.files import to_json
from tests.tiny_study import OVERRIDES


def test_a_study_is_run_and_reopened(tiny_base: Path, tmp_path: Path):
    changes = [f"base.model={tiny_base}", *OVERRIDES, "seeds=[0]"]
    settings = ethosteer.load_study("demo", changes)
    run = ethosteer.run(settings, runs_dir=tmp_path, quiet=True)
    assert run.results.models == ("base", "fine-tuned", "deontology", "virtue")
    assert {outcome.model for outcome in run.outcome_records} == set(run.results.models)
    again = ethosteer.run("demo", runs_dir=str(tmp_path), overrides=changes, quiet=True)
    reopened = ethosteer.open_run(str(tmp_path / "demo"))
    for other in (again, reopened):
        # as text, since nan differs from itself
        assert to_json(other.results) == to_json(run.results)
        assert (other.item_records, other.outcome_records) == (
            run.item_records,
            run.outcome_records,
        )
    assert set(run.item_records) == {"toxigen", "wsc273", "scruples_three"}


def test_models_are_evaluated(tiny_base: Path):
    toxigen, winograd = ethosteer.evaluate(
        str(tiny_base),
        {
            "toxigen": ethosteer.load_study("demo").benchmarks["toxigen"],
            "wsc273": ethosteer.load_study("demo").benchmarks["wsc273"],
        },
        data_dir=SAMPLE_DIR,
        quiet=True,
    )
    assert toxigen.result.name == "toxigen"
    assert [cell.model for cell in winograd.result.cells] == ["base"]
    assert len(winograd.outcomes["base"]) == winograd.result.items
    (sample,) = ethosteer.evaluate(str(tiny_base), ["toxigen"], sample=True, quiet=True)
    # as text, since the interval of a constant answer's balanced accuracy is nan
    assert to_json(sample.result) == to_json(toxigen.result)
    assert sample.outcomes == toxigen.outcomes


def test_invalid_arguments(tmp_path: Path):
    with pytest.raises(ethosteer.InputError, match="overrides apply to a study file"):
        ethosteer.run(ethosteer.load_study("demo"), overrides=["seeds=[1]"])
    with pytest.raises(ethosteer.InputError, match="no such folder"):
        ethosteer.run("demo", data_dir=tmp_path / "none")
    with pytest.raises(ethosteer.InputError, match="not both"):
        ethosteer.evaluate("pocket", ["toxigen"], data_dir=tmp_path, sample=True)
    with pytest.raises(ethosteer.InputError, match="no benchmark is named"):
        ethosteer.evaluate("pocket", [])
    with pytest.raises(ethosteer.InputError, match=r"no such file; run the study to its end"):
        ethosteer.open_run(tmp_path)
    arms = {"duty": ethosteer.load_study("demo").arms["virtue"]}
    renamed = ethosteer.load_study("demo").model_copy(update={"arms": arms})
    with pytest.raises(ethosteer.InputError, match="no dataset is called 'duty'"):
        ethosteer.run(renamed, runs_dir=tmp_path)
