from __future__ import annotations

import errno
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ethosteer import processes
from ethosteer.errors import InputError
from ethosteer.files import file_hash, fingerprint, publish_folder, remove
from ethosteer.models.identity import folder_fingerprint
from ethosteer.stages import store as stages_store
from ethosteer.stages.lock import LOCK
from ethosteer.stages.manifest import MANIFEST, DamagedArtifactError
from ethosteer.stages.stage import Stage
from ethosteer.stages.store import Store

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


A, B, C = Note("a"), Note("b"), Note("c")
ALL = "5ef5ef0364b6939c4ca61f34b393f7b368d1be8619647aaf83d5b395919ab629"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "study" / "artifacts")


def write_and_fail(store: Store, stage: Note, fault: BaseException | type[BaseException]) -> None:
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
    assert len(manifest.pop("checksum")) == 64
    assert manifest == {
        "stage": "steer",
        "name": "a",
        "fingerprint": A.fingerprint,
        "together": [],
        # of the three bytes "all", as printf all | sha256sum says
        "files": {"text": {"size": 3, "sha256": ALL}},
    }


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
    with pytest.raises(LookupError, match=f"steer/a-{A.fingerprint[:12]}"):
        store.path(A)
    store.folder(A).mkdir(parents=True)
    assert not store.has(A)
    with pytest.raises(DamagedArtifactError, match=f"steer/a-{A.fingerprint[:12]}"):
        store.path(A)


def test_another_fingerprint_is_another_artifact(store: Store):
    with store.write(A):
        pass
    assert store.missing([A, B, Note("a", "other"), Note("a")]) == [B, Note("a", "other")]


def test_checkpoints_stay_until_all_artifacts_are_stored(store: Store):
    def work(*stages: Note, fault: type[BaseException] | None = None) -> Path:
        with store.checkpoints([A, B]) as checkpoints:
            (checkpoints / "step 20").write_text("state")
            for stage in stages:
                with store.write(stage):
                    pass
            if fault:
                raise fault
        return checkpoints

    with pytest.raises(KeyboardInterrupt):
        work(A, fault=KeyboardInterrupt)
    assert store.together(B) == store.together(A) == (store.key(A), store.key(B))
    with store.checkpoints([Note("c")]) as other:
        pass
    store.tidy()
    kept = store.checkpoint_folder([A, B])
    assert (kept / "step 20").is_file()
    assert other.is_dir() and other != kept, "what is not stored may go on from them"
    with pytest.raises(KeyboardInterrupt):
        work(B, fault=KeyboardInterrupt)
    store.tidy()
    assert not kept.exists()
    assert work(A, B) == kept and not kept.exists()


def test_checkpoints_that_another_worker_still_writes_are_removed_in_the_end(
    store: Store, monkeypatch: pytest.MonkeyPatch
):
    """A worker that was taken for dead wakes up while the folder is emptied."""

    def meanwhile(path: Path) -> None:
        (path / ".late.part").write_text("")
        raise OSError(errno.ENOTEMPTY, "Directory not empty", str(path))

    with store.checkpoints([A]) as checkpoints:
        with store.write(A):
            pass
        monkeypatch.setattr(stages_store, "remove", meanwhile)
    assert checkpoints.is_dir() and store.has(A)
    monkeypatch.setattr(stages_store, "remove", remove)
    store.tidy()
    assert not checkpoints.exists()


# --- verification


def written(root: Path) -> Store:
    """Store both stages, and return the store as another process opens it."""
    store = Store(root)
    for stage in (A, B):
        with store.write(stage, together=(A, B)) as folder:
            (folder / "text").write_text("all")
            (folder / "inner").mkdir()
            (folder / "inner" / "weights").write_bytes(bytes(1000))
    return Store(root)


def flip(path: Path, position: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["text", "inner/weights", MANIFEST])
@pytest.mark.parametrize("damage", ["cut off", "deleted", "flipped"])
def test_a_damaged_artifact_is_named_and_made_again(damage: str, name: str, tmp_path: Path):
    said: list[str] = []
    store = replace(written(tmp_path), say=said.append)
    path = store.folder(A) / name
    if damage == "cut off":
        path.write_bytes(path.read_bytes()[:-2])  # a manifest needs no newline at its end
    elif damage == "deleted":
        path.unlink()
    else:
        flip(path, path.stat().st_size // 2)
    with pytest.raises(DamagedArtifactError) as caught:
        store.load(A)
    line = str(caught.value)
    assert str(store.folder(A)) in line and name in line and "ethosteer run" in line
    assert line.count("\n") == 0
    assert store.missing([A, B]) == [A]
    seen_at_once = damage != "flipped" or name == MANIFEST
    assert len(said) == seen_at_once, "told once, where its sizes show it"
    assert store.damage(A) and store.damage(B) is None
    assert store.load(B) == "all"
    with store.write(A) as folder:
        (folder / "text").write_text("new")
    assert store.has(A) and store.load(A) == "new" and store.damage(A) is None


@given(st.integers(0, 10**6), st.integers(0, 7))
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_flipped_bit_of_a_manifest_gives_a_wrong_result(tmp_path: Path, position: int, bit: int):
    store = written(tmp_path / f"{position}-{bit}")
    path = store.folder(A) / MANIFEST
    content = bytearray(path.read_bytes())
    content[position % len(content)] ^= 1 << bit
    path.write_bytes(content)
    try:
        assert store.load(A) == "all"
        assert store.seconds(A) < 10
    except DamagedArtifactError:
        assert store.missing([A]) == [A]


def test_an_artifact_of_an_earlier_version_is_valid_and_not_verified(tmp_path: Path):
    store = written(tmp_path)
    path = store.folder(A) / MANIFEST
    manifest = json.loads(path.read_text("utf-8"))
    old = {name: manifest[name] for name in ("stage", "name", "fingerprint", "seconds")}
    path.write_text(json.dumps(old), "utf-8")
    (store.folder(A) / "text").write_text("other")
    assert store.has(A) and store.load(A) == "other"
    assert store.seconds(A) == old["seconds"]
    assert store.together(A) == ()
    (store.folder(A) / "text").unlink()
    damaged = Store(tmp_path)
    with pytest.raises(DamagedArtifactError, match="cannot be read"):
        damaged.load(A)
    assert damaged.missing([A, B]) == [A]


def test_a_file_that_was_added_is_named_and_nothing_is_made_again(tmp_path: Path):
    store = written(tmp_path)
    (store.folder(A) / "inner" / "more weights").write_bytes(b"planted")
    (store.folder(A) / ".DS_Store").write_bytes(b"a desktop's")
    with pytest.raises(InputError, match=r"inner/more weights: was not stored .*; delete it"):
        store.load(A)
    assert store.missing([A]) == []
    (store.folder(A) / "inner" / "more weights").unlink()
    assert store.load(A) == "all"


def test_an_artifact_is_hashed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    store = written(tmp_path)
    hashed: list[Path] = []

    def counted(path: Path) -> str:
        hashed.append(path)
        return file_hash(path)

    monkeypatch.setattr("ethosteer.stages.manifest.file_hash", counted)
    assert store.has(A) and store.seconds(A) >= 0 and hashed == [], "sizes are enough for status"
    for _ in range(3):
        store.load(A)
    assert sorted(path.name for path in hashed) == ["text", "weights"]


# --- links, full disks, folders that cannot be written


def test_planted_links_are_not_followed(store: Store, tmp_path: Path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "text").write_text("precious")
    final = store.folder(A)
    final.parent.mkdir(parents=True)
    final.with_name(f".{final.name}.part").symlink_to(elsewhere)
    final.symlink_to(elsewhere)
    store.checkpoint_folder([A]).symlink_to(elsewhere)
    (store.root / LOCK).symlink_to(elsewhere / "text")
    with store.lock(), store.checkpoints([A]), store.write(A) as folder:
        (folder / "text").write_text("mine")
    assert store.load(A) == "mine" and not final.is_symlink()
    assert everything_in(elsewhere) == ["text"]
    assert (elsewhere / "text").read_text() == "precious"


def test_a_file_in_place_of_an_unfinished_folder_is_removed(store: Store):
    final = store.folder(A)
    final.parent.mkdir(parents=True)
    final.with_name(f".{final.name}.part").write_text("planted")
    with store.write(A):
        pass
    assert store.has(A)


@pytest.mark.parametrize(
    "fault",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError("[Errno 28] Error writing bytes to file"),
        RuntimeError("Error while serializing: I/O error: no space (os error 28)"),
    ],
)
def test_a_full_disk_is_one_line_and_leaves_no_artifact(store: Store, fault: Exception):
    with pytest.raises(InputError, match=r"a-.*: cannot be written: No space left on device; fr"):
        write_and_fail(store, A, fault)
    assert everything_in(store.root / "steer") == []
    assert not store.has(A)


def test_a_full_disk_at_the_manifest_leaves_no_artifact(
    store: Store, monkeypatch: pytest.MonkeyPatch
):
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(InputError, match="cannot be written: No space left"), store.write(A):
        pass
    assert everything_in(store.root / "steer") == []


def test_a_fault_of_the_work_is_not_called_one_of_writing(store: Store):
    with pytest.raises(PermissionError), store.write(A):
        raise PermissionError(errno.EACCES, "Permission denied", "data.csv")


@pytest.mark.parametrize("position", ["the runs folder", "the study's folder", "artifacts", LOCK])
def test_a_file_in_place_of_a_folder_is_one_line(position: str, tmp_path: Path):
    names = {"the runs folder": "runs", "the study's folder": "runs/a", "artifacts": "runs/a/b"}
    path = tmp_path / names.get(position, "runs/a/b/.lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    if position == LOCK:
        path.mkdir()
    else:
        path.write_text("a file")
    with (
        pytest.raises(InputError, match=f"{tmp_path}/runs/a: cannot be written: "),
        Store(tmp_path / "runs" / "a" / "b").lock(),
    ):
        pytest.fail("it cannot be locked")


def test_a_folder_that_may_only_be_read_is_not_locked(
    store: Store, monkeypatch: pytest.MonkeyPatch
):
    with store.lock():
        pass

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("filelock.FileLock.acquire", refuse)
    assert not store.is_locked()
    with pytest.raises(InputError, match="cannot be written: Read-only file system"), store.lock():
        pass


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


# --- several workers


def test_workers_write_in_folders_of_their_own(store: Store):
    slow, quick = (Store(store.root, writer=name) for name in ("slow", "quick"))

    def write_slowly() -> None:
        with slow.write(A) as theirs:
            (theirs / "text").write_text("old")
            quick.fence([A])
            with quick.write(A) as mine:
                assert mine != theirs
                (mine / "text").write_text("new")

    with pytest.raises(InputError, match="No such file"):
        write_slowly()
    assert store.load(A) == "new"
    assert everything_in(store.root / "steer") == [store.folder(A).name]


def test_what_is_no_longer_claimed_is_not_stored(store: Store):
    class Lost(BaseException):
        pass

    def confirm() -> None:
        raise Lost

    with pytest.raises(Lost), Store(store.root, writer="slow", confirm=confirm).write(A):
        pass
    assert everything_in(store.root / "steer") == []


def test_an_artifact_that_another_worker_mends_is_there_again(store: Store):
    with store.write(A) as folder:
        (folder / "text").write_text("all")
    other = Store(store.root)
    flip(store.folder(A) / "text", 0)
    with pytest.raises(DamagedArtifactError):
        other.load(A)
    assert not other.has(A)
    with store.write(A) as folder:
        (folder / "text").write_text("all")
    assert other.has(A) and other.load(A) == "all"


def test_a_folder_that_was_fenced_off_replaces_nothing(tmp_path: Path):
    final, unfinished = tmp_path / "final", tmp_path / ".final.part"
    final.mkdir()
    (final / "text").write_text("new")
    with pytest.raises(FileNotFoundError):
        publish_folder(unfinished, final)
    assert (final / "text").read_text() == "new"
    unfinished.mkdir()
    publish_folder(unfinished, final)
    assert everything_in(final) == [] and everything_in(tmp_path) == ["final"]


# --- several processes


def test_a_process_beside_the_main_one_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    store = written(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    monkeypatch.setattr(processes, "is_main", lambda: False)
    with store.checkpoints([A, C]) as checkpoints:
        assert checkpoints == store.checkpoint_folder([A, C])
        with store.write(C) as folder:
            (folder / "text").write_text("discarded")
    assert not folder.exists() and not store.has(C)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_what_the_main_process_saw_damaged_is_missing_until_it_is_replaced(tmp_path: Path):
    main, other = written(tmp_path), Store(tmp_path)
    assert other.load(A) == "all"
    other.distrust([A])
    assert other.missing([A, B]) == [A]
    with main.write(A) as folder:
        (folder / "text").write_text("made again")
    assert other.load(A) == "made again"
