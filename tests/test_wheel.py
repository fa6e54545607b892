"""The wheel holds every file of the package, so that an installed one does what the clone does."""

from __future__ import annotations

import shutil
import subprocess
import sys
from email.parser import Parser
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel of the files that git knows, in a folder where nothing was built before."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("needs a clone and git")
    folder = tmp_path_factory.mktemp("wheel")
    for name in tracked():
        (folder / "clone" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, folder / "clone" / name)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--wheel-dir", folder, folder / "clone"], check=True)
    (path,) = folder.glob("*.whl")
    return path


def tracked() -> list[str]:
    """The files of the package and of its build, as git lists them."""
    paths = ["src", "pyproject.toml", "README.md", "LICENSE"]
    done = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", *paths],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return [name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_it_has_every_file_of_the_package(wheel: Path):
    package = {name.removeprefix("src/") for name in tracked() if name.startswith("src/")}
    with ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert names == package
    kinds = {Path(name).suffix for name in names}
    assert kinds >= {".py", ".j2", ".css", ".js", ".toml", ".safetensors", ".jsonl", ".typed"}


def test_its_metadata_say_what_it_runs_on(wheel: Path):
    with ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("/METADATA"))
        metadata = Parser().parsestr(archive.read(name).decode())
        (entry,) = (name for name in archive.namelist() if name.endswith("/entry_points.txt"))
        assert "ethosteer = ethosteer.cli.app:main" in archive.read(entry).decode()
    assert metadata["Requires-Python"] == ">=3.11"
    extras = {"collect", "dev", "docs", "gguf", "lm-eval", "postgres", "ray"}
    assert set(metadata.get_all("Provides-Extra") or ()) == extras
    classifiers = metadata.get_all("Classifier") or ()
    for minor in (11, 12, 13):
        assert f"Programming Language :: Python :: 3.{minor}" in classifiers
