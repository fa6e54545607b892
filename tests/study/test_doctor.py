"""``ethosteer doctor``: the machine, and a run's files."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from ethosteer.files import file_hash
from ethosteer.study import doctor

Call = Callable[..., tuple[int, str, str]]
TOKEN = "hf_planted_0123456789abcdef"
FINGERPRINT = "0123456789abcdef"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """An invented run with one artifact."""
    folder = tmp_path / "a-run"
    artifact = folder / "artifacts" / "steer" / f"virtue-s0-{FINGERPRINT[:12]}"
    artifact.mkdir(parents=True)
    (folder / "study.toml").write_text("")
    (folder / "origin.json").write_text("{}")
    (folder / "manifest.json").write_text('{"steps": {}}')
    (artifact / "curve.json").write_text("[]")
    files = {"curve.json": {"sha256": file_hash(artifact / "curve.json"), "size": 2}}
    manifest = {
        "stage": "steer", "name": "virtue-s0", "fingerprint": FINGERPRINT, "seconds": 1.0,
        "files": files,
    }  # fmt: skip
    (artifact / "manifest.json").write_text(json.dumps(manifest))
    return folder


def _damaged(run: Path) -> list[str]:
    return [it.subject for it in doctor.run_files(run) if it.state == "damaged"]


def test_a_sound_run_is_said_to_be(run: Path) -> None:
    assert [it.state for it in doctor.run_files(run)] == ["good"]


def test_what_has_no_hashes_is_not_said_to_be_as_it_was_written(run: Path) -> None:
    (manifest,) = (run / "artifacts").glob("*/*/manifest.json")
    written = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**written, "files": None}))
    (finding,) = doctor.run_files(run)
    assert (finding.state, finding.subject) == ("note", "artifacts")
    assert finding.text == "1 of an earlier version, without hashes: not verified"


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("curve.json", "[1]"),
        ("curve.json", None),
        ("manifest.json", "{"),
        ("manifest.json", "[]"),
        ("manifest.json", None),
        ("manifest.json", '{"fingerprint": "other"}'),
    ],
)
def test_a_damaged_artifact_is_named_with_what_mends_it(
    run: Path, file: str, content: str | None
) -> None:
    artifact = next((run / "artifacts").glob("*/*"))
    (artifact / file).unlink()
    if content is not None:
        (artifact / file).write_text(content)
    (finding,) = [it for it in doctor.run_files(run) if it.state == "damaged"]
    assert finding.subject == f"steer/{artifact.name}"
    assert finding.mend == f"delete {artifact}, then `ethosteer run {run}` makes it again"


def test_a_checkpoint_that_is_removed_meanwhile_is_no_fault(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = run / "artifacts" / "steer" / ".virtue-s0-0123.checkpoint"
    monkeypatch.setattr(doctor, "checkpoint_folders", lambda _: [gone])
    assert [it for it in doctor.run_files(run) if it.state == "note"] == []


def test_unfinished_work_is_no_damage(run: Path) -> None:
    (run / "artifacts" / "steer" / ".virtue-s0.checkpoint").mkdir()
    (run / "manifest.json").unlink()
    assert _damaged(run) == []
    assert [it.state for it in doctor.run_files(run)] == ["note", "good", "note"]
    (run / "manifest.json").write_text("{")
    assert _damaged(run) == ["manifest.json"]


def test_the_exit_status_tells_of_damage(
    run: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise urllib.error.URLError("no route")

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr(urllib.request, "urlopen", unreachable)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    status, out, err = call("doctor", str(run))
    assert status == 0
    assert "does not answer: no route" in " ".join(out.split())
    assert TOKEN not in out + err
    next((run / "artifacts").glob("*/*/curve.json")).unlink()
    assert call("doctor", str(run))[0] == 2
    status, _, err = call("doctor", str(run / "artifacts"))
    assert (status, "no run's folder" in err) == (2, True)


def test_the_hub_is_not_asked_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr(urllib.request, "urlopen", lambda *_, **__: pytest.fail("asked"))
    assert doctor.hub().state == "note"


def test_an_unsupported_version_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "requires", lambda _: ["numpy<1", "pytest>=1 ; extra == 'dev'"])
    (numpy,) = [it for it in doctor.versions() if it.subject != "python"]
    assert (numpy.state, numpy.mend) == ("note", "pip install 'numpy<1'")


def test_a_checkpoint_is_of_other_settings_where_the_run_is_finished(run: Path) -> None:
    checkpoint = run / "artifacts" / "steer" / ".virtue-s0-0123.checkpoint"
    checkpoint.mkdir()
    (checkpoint / "00000001-0.safetensors").write_bytes(bytes(200_000))
    (finding,) = [it for it in doctor.run_files(run) if it.state == "note"]
    assert finding.text == "unfinished work, 0.2 MB, of other settings than the run's"
    assert finding.mend == f"delete {checkpoint}, unless those settings will be set back"
    manifest = run / "manifest.json"
    for change in (lambda: manifest.write_text('{"inputs": "others"}'), manifest.unlink):
        change()
        finding, *_, last = (it for it in doctor.run_files(run) if it.state == "note")
        assert (finding.text, finding.mend) == (
            "unfinished work, 0.2 MB", f"`ethosteer run {run}` continues it",
        )  # fmt: skip
        assert last.text == "is not finished"
