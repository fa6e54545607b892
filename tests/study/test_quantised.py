"""A whole study on a quantised base: broken off, taken up again, and reported."""

from __future__ import annotations

from pathlib import Path

import pytest

from ethosteer.data.sources import Origin
from ethosteer.progress import Terminal
from ethosteer.study.export import export_arm
from ethosteer.study.load import load_study
from ethosteer.study.run import Study
from tests.tiny_study import OVERRIDES

pytest.importorskip("bitsandbytes")


def study(base: Path, runs: Path, *changes: str) -> Study:
    settings = load_study(
        "demo",
        [f"base.model={base}", *OVERRIDES, "seeds=[0]", "reward.lora.dropout=0.1", *changes],
    )
    return Study(settings, runs, Origin("sample"), Terminal(quiet=True))


@pytest.mark.parametrize("kind", ["nf4", "int8"])
def test_a_study_on_a_quantised_base_is_finished_and_reported(
    kind: str, tiny_base: Path, tmp_path: Path
) -> None:
    # bfloat16, and layers that run again, as on the cards that need it
    changes = (f"base.quantise={kind}", "base.dtype=bfloat16", "base.gradient_checkpointing=true")
    run = study(tiny_base, tmp_path, *changes)
    assert run.run()
    report = (run.folder / "report.html").read_text("utf-8")
    assert f"bfloat16, weights in {kind}" in report
    export_arm(run, "virtue", None, tmp_path / "virtue")
    card = (tmp_path / "virtue" / "README.md").read_text("utf-8")
    assert f"its weights quantised ({kind}), which takes bitsandbytes" in card
    plain = study(tiny_base, tmp_path, *changes[1:])
    stages, others = run.plan.stages, plain.plan.stages
    trained = [stage for stage in stages if stage.kind in {"reward", "steer"}]
    assert trained
    assert not {stage.fingerprint for stage in trained} & {stage.fingerprint for stage in others}
    again = study(tiny_base, tmp_path, *changes[:2])
    assert [stage.fingerprint for stage in again.plan.stages] == [s.fingerprint for s in stages]
