from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ethosteer.errors import InputError
from ethosteer.files import fingerprint
from ethosteer.models.identity import folder_fingerprint
from ethosteer.stages.stage import Stage
from ethosteer.stages.store import MANIFEST, Store

if TYPE_CHECKING:
    from ethosteer.stages.workspace import Workspace


@dataclass(frozen=True, eq=False)
class Note(Stage[str]):
    """A stage that leaves a file of text."""

    kind: ClassVar[str] = "steer"
    version: ClassVar[int] = 1

    arm: str
    text: str = ""

    @property
    def name(self) -> str:
        return self.arm

    @classmethod
    def run(cls, stages: Sequence[Note], workspace: Workspace) -> None:
        for stage in stages:
            with workspace.store.write(stage) as folder:
                (folder / "text").write_text(stage.text)

    def load(self, folder: Path) -> str:
        return (folder / "text").read_text()


A, B = Note("a"), Note("b")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "study" / "artifacts")


def write_and_fail(store: Store, stage: Note, fault: type[BaseException]) -> None:
    with store.write(stage) as folder:
        (folder / "weights").write_text("half")
        raise fault


def everything_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# --- fingerprints

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


def test_a_fingerprint_is_a_sha256_that_never_changes():
    # of the five bytes ["a"], as printf '["a"]' | sha256sum says
    assert fingerprint("a") == "0eb5b8d6f81bc677da8a08567cc4fa9a06a57e9ec8da85ed73a7f62727996002"


@pytest.mark.parametrize(
    "other",
    [
        ("steer", {"r": 8, "alpha": 16.5}, 0),  # another value inside
        ("steer", {"r": 8, "alfa": 16.0}, 0),  # another key
        ("steer", {"r": 8}, 0),  # a key less
        ("steer", {"r": "8", "alpha": 16.0}, 0),  # text instead of a number
        ("steer", {"r": 8, "alpha": 16.0}, False),
        ("steer", {"r": 8, "alpha": 16.0}, None),
        ({"r": 8, "alpha": 16.0}, "steer", 0),  # another order
        ("steer", [{"r": 8, "alpha": 16.0}, 0]),  # another nesting
        ("steer", {"r": 8, "alpha": 16.0}),
        ("steer", {"r": 8, "alpha": 16.0}, 0, 0),
    ],
)
def test_a_fingerprint_changes_with_anything_in_it(other: tuple[object, ...]):
    assert fingerprint(*other) != fingerprint("steer", {"r": 8, "alpha": 16.0}, 0)


def test_parts_do_not_run_into_each_other():
    assert len({fingerprint("ab", "c"), fingerprint("a", "bc"), fingerprint("abc")}) == 3


def test_the_order_of_keys_does_not_matter():
    assert fingerprint({"a": 1, "b": {"c": 2, "d": 3}}) == fingerprint(
        {"b": {"d": 3, "c": 2}, "a": 1}
    )


@settings(deadline=None)
@given(JSON_VALUES, JSON_VALUES)
def test_two_values_have_one_fingerprint_only_if_they_are_one_value(a, b):
    same_text = json.dumps(a, sort_keys=True) == json.dumps(b, sort_keys=True)
    assert (fingerprint(a) == fingerprint(b)) == same_text


# --- the identity of a model folder


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text('{"hidden": 8}')
    (folder / "model.safetensors").write_bytes(bytes(range(200)))
    return folder


def test_one_changed_byte_of_the_weights_is_another_model(model: Path):
    before = folder_fingerprint(model)
    assert folder_fingerprint(model) == before
    weights = bytearray(range(200))
    weights[100] ^= 1
    (model / "model.safetensors").write_bytes(bytes(weights))
    assert folder_fingerprint(model) != before


def test_a_changed_setting_renamed_or_added_file_is_another_model(model: Path):
    seen = {folder_fingerprint(model)}
    (model / "config.json").write_text('{"hidden": 9}')
    seen.add(folder_fingerprint(model))
    (model / "model.safetensors").rename(model / "other.safetensors")
    seen.add(folder_fingerprint(model))
    (model / "chat_template.jinja").write_text("{{ messages }}")
    seen.add(folder_fingerprint(model))
    (model / "chat_template.jinja").write_text("")
    seen.add(folder_fingerprint(model))
    assert len(seen) == 5


def test_a_byte_that_moves_from_one_file_to_the_next_is_another_model(tmp_path: Path):
    found = set()
    for split in (1, 2):
        folder = tmp_path / str(split)
        folder.mkdir()
        (folder / "a.txt").write_text("xyz"[:split])
        (folder / "b.txt").write_text("xyz"[split:])
        found.add(folder_fingerprint(folder))
    assert len(found) == 2


def test_where_the_folder_stands_and_what_else_is_in_it_do_not_matter(model: Path):
    before = folder_fingerprint(model)
    (model / "README.md").write_text("about it")
    (model / "logs").mkdir()
    moved = model.rename(model.with_name("elsewhere"))
    assert folder_fingerprint(moved) == before


# --- artifacts


def test_an_artifact_is_found_once_it_is_whole(store: Store):
    assert not store.has(A)
    with store.write(A) as folder:
        assert everything_in(folder) == []
        (folder / "text").write_text("all")
        assert not store.has(A)  # not before the end
    assert store.has(A)
    path = store.root / "steer" / f"a-{A.fingerprint[:12]}"
    assert store.path(A) == path
    assert store.load(A) == "all"
    assert everything_in(path) == [MANIFEST, "text"]
    assert everything_in(path.parent) == [path.name]
    manifest = json.loads((path / MANIFEST).read_text("utf-8"))
    assert manifest.pop("seconds") == store.seconds(A) < 10
    assert manifest == {"stage": "steer", "name": "a", "fingerprint": A.fingerprint}


def test_work_done_before_the_block_keeps_its_time(store: Store):
    with store.write(A, seconds=12.34567):
        pass
    assert store.seconds(A) == 12.346


@pytest.mark.parametrize("fault", [RuntimeError, KeyboardInterrupt])
def test_a_fault_while_writing_leaves_nothing(store: Store, fault: type[BaseException]):
    with pytest.raises(fault):
        write_and_fail(store, A, fault)
    assert not store.has(A)
    assert everything_in(store.root / "steer") == []


def test_a_fault_while_writing_again_keeps_what_stood_there(store: Store):
    with store.write(A) as folder:
        (folder / "text").write_text("first")
    with pytest.raises(RuntimeError):
        write_and_fail(store, A, RuntimeError)
    assert store.load(A) == "first"
    with store.write(A) as folder:
        (folder / "other").write_text("third")
    assert everything_in(store.path(A)) == [MANIFEST, "other"]


def test_what_a_killed_process_left_is_neither_found_nor_kept(store: Store):
    final = store.folder(A)
    unfinished = final.with_name(f".{final.name}.part")
    unfinished.mkdir(parents=True)
    (unfinished / "left over").write_text("half")
    assert not store.has(A)
    with store.write(A) as folder:
        assert everything_in(folder) == []
    assert everything_in(final) == [MANIFEST]
    assert everything_in(final.parent) == [final.name]


def test_a_folder_without_a_manifest_is_no_artifact(store: Store):
    store.folder(A).mkdir(parents=True)
    assert not store.has(A)
    with pytest.raises(LookupError, match=f"steer/a-{A.fingerprint[:12]}"):
        store.path(A)


def test_another_fingerprint_is_another_artifact(store: Store):
    with store.write(A):
        pass
    assert store.missing([A, B, Note("a", "other"), Note("a")]) == [B, Note("a", "other")]


def test_checkpoints_stay_until_all_artifacts_are_written(store: Store):
    def work(fault: type[BaseException] | None) -> Path:
        with store.checkpoints([A, B]) as checkpoints:
            for stage in (A, B):
                with store.write(stage):
                    pass
            if fault:
                (checkpoints / "step 20").write_text("state")
                raise fault
            assert (checkpoints / "step 20").read_text() == "state"
        return checkpoints

    with pytest.raises(KeyboardInterrupt):
        work(KeyboardInterrupt)
    with store.checkpoints([B]) as other, pytest.raises(KeyboardInterrupt):
        work(KeyboardInterrupt)
    checkpoints = work(None)
    assert checkpoints != other
    assert [path for path in (store.root / "steer").iterdir() if path.name.startswith(".")] == []


# --- the lock

HOLD = """
import sys
from pathlib import Path
from ethosteer.stages.store import Store
with Store(Path(sys.argv[1])).lock():
    print("held", flush=True)
    sys.stdin.readline()
"""


def test_a_study_that_another_process_runs_is_an_input_error(store: Store):
    assert not store.is_locked()
    assert not store.root.exists()  # looking makes nothing
    with store.lock():
        pass
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(store.root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with (
            pytest.raises(InputError, match="another process is running this study") as caught,
            store.lock(),
        ):
            pytest.fail("two processes hold one study")
        assert str(store.root.parent) in str(caught.value)
        assert store.is_locked()
        holder.communicate("go\n", timeout=20)
    assert holder.returncode == 0
    assert not store.is_locked()
    with store.lock():  # free again
        pass


def test_a_fault_under_the_lock_frees_it(store: Store):
    with pytest.raises(RuntimeError), store.lock():
        raise RuntimeError
    with store.lock():
        assert store.root.is_dir()
