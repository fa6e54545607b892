"""What the README shows is valid: its study file loads, its commands and names exist."""

from __future__ import annotations

import re
from pathlib import Path

from typer.core import TyperGroup
from typer.main import get_command

import ethosteer
from ethosteer import catalog
from ethosteer.cli.app import app

README = (Path(__file__).parents[1] / "README.md").read_text("utf-8")


def test_the_study_file_is_valid(tmp_path: Path):
    (text,) = re.findall(r"```toml\n(.*?)```", README, re.DOTALL)
    path = tmp_path / "mine.toml"
    path.write_text(text, encoding="utf-8")
    settings = ethosteer.load_study(str(path))
    assert settings.name == "mine"
    assert set(settings.arms) == {"deontology", "virtue", "virtue-dpo"}


def test_the_arms_with_files_are_valid(tmp_path: Path):
    (block,) = [block for block in README.split("\n```")[1::2] if "[arms.caution]" in block]
    path = tmp_path / "mine.toml"
    rest = "[benchmarks]\ntoxigen = {}\npreferences = {}\n"
    path.write_text(f'name = "mine"\nquestion = "?"\n{block}\n{rest}', encoding="utf-8")
    settings = ethosteer.load_study(str(path))
    assert settings.data_arms() == ("caution", "feedback")
    assert list(catalog.study_benchmarks(settings))[1:] == [
        "preferences:caution", "preferences:feedback",
    ]  # fmt: skip


def test_the_benchmarks_with_files_are_valid(tmp_path: Path):
    (block,) = [block for block in README.split("\n```")[1::2] if "[benchmarks.mine]" in block]
    path = tmp_path / "mine.toml"
    path.write_text(f'name = "mine"\nquestion = "?"\n[arms.virtue]\n{block}\n', encoding="utf-8")
    settings = ethosteer.load_study(str(path))
    assert list(settings.benchmarks) == ["mine", "sums", "lm-eval:arc_easy"]
    assert settings.evaluate.include_path == (str(tmp_path / "tasks"),)


def test_every_command_exists():
    group = get_command(app)
    assert isinstance(group, TyperGroup)
    commands = set(group.commands)
    fenced = "\n".join(README.split("\n```")[1::2])
    mentioned = set(re.findall(r"^ethosteer ([a-z]+)", fenced, re.MULTILINE))
    mentioned |= set(re.findall(r"`ethosteer ([a-z]+)", README))
    assert mentioned <= commands
    assert mentioned >= commands - {"bench"}


def test_every_dataset_benchmark_and_public_name_is_there():
    words = set(re.findall(r"`([^`\n]+)`", README))
    assert words >= set(catalog.dataset_names())
    assert words >= set(catalog.benchmark_names())
    names = set(re.findall(r"\bethosteer\.(\w+)\(", README))
    assert names <= set(ethosteer.__all__)


def test_links_lead_somewhere():
    root = Path(__file__).parents[1]
    links = re.findall(r"\]\(([^)#]+)\)", README)
    assert links
    assert [link for link in links if "://" not in link and not (root / link).exists()] == []
