"""What the README and the site's pages show is valid: studies load, commands and names exist."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.core import TyperGroup
from typer.main import get_command

import ethosteer
from ethosteer import catalog, errors
from ethosteer.benchmarks.files import free_answers
from ethosteer.benchmarks.harness import loading
from ethosteer.cli.app import app
from ethosteer.data import readers, text_files
from ethosteer.data.formats import comparisons
from ethosteer.models import adapters

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
PAGES = {path.name: path.read_text("utf-8") for path in sorted((ROOT / "docs").glob("*.md"))}
TEXTS = {"README.md": README, **PAGES}
HEAD = 'name = "mine"\nquestion = "?"\n'
ARMS, BENCHMARKS = "[arms.virtue]\n", "[benchmarks]\ntoxigen = {}\npreferences = {}\n"


def blocks(text: str, language: str = "") -> list[str]:
    """The fenced blocks of a page, of one language if it is given."""
    fenced = re.findall(r"^```(\w*)\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    return [content for name, content in fenced if not language or name == language]


def studies() -> Iterator[tuple[str, str]]:
    """Every block of TOML that is a study or some of its tables, with its page."""
    for page, text in TEXTS.items():
        for block in blocks(text, "toml"):
            if "[project." not in block:
                yield page, block


def commands() -> Iterator[tuple[str, str]]:
    """Every command line that a page shows, with the page."""
    for page, text in TEXTS.items():
        fenced = "\n".join(blocks(text))
        for line in re.findall(r"^(?:\$ )?(ethosteer .*)$", fenced, re.MULTILINE):
            yield page, line
        for line in re.findall(r"`(ethosteer [a-z][^`]*)`", re.sub(r"(?ms)^```.*?^```", "", text)):
            yield page, line


def whole(block: str) -> str:
    """A study's tables with those that every study needs."""
    head = "" if re.search(r"^name = ", block, re.MULTILINE) else HEAD
    arms = "" if "[arms" in block else ARMS
    return f"{head}{block}\n{arms}{'' if '[benchmarks' in block else BENCHMARKS}"


@pytest.mark.parametrize(("page", "block"), [pytest.param(*each, id=each[0]) for each in studies()])
def test_every_study_is_valid(page: str, block: str, tmp_path: Path):
    path = tmp_path / "mine.toml"
    path.write_text(whole(block), encoding="utf-8")
    settings = ethosteer.load_study(str(path))
    assert settings.name == "mine"
    assert catalog.study_benchmarks(settings)


def test_the_studies_are_found():
    assert {page for page, _ in studies()} >= {
        "README.md", "first-study.md", "own-data.md", "own-benchmark.md", "instruct-models.md",
        "large-models.md",
    }  # fmt: skip


def test_arms_and_benchmarks_are_read_as_the_pages_say(tmp_path: Path):
    path = tmp_path / "mine.toml"
    path.write_text(whole(blocks(PAGES["own-data.md"], "toml")[0]), encoding="utf-8")
    settings = ethosteer.load_study(str(path))
    assert settings.data_arms() == ("caution", "feedback")
    assert list(catalog.study_benchmarks(settings))[1:] == [
        "preferences:caution", "preferences:feedback",
    ]  # fmt: skip
    path.write_text(whole(blocks(PAGES["own-benchmark.md"], "toml")[0]), encoding="utf-8")
    settings = ethosteer.load_study(str(path))
    assert list(settings.benchmarks) == ["mine", "sums", "lm-eval:arc_easy"]
    assert settings.evaluate.include_path == (str(tmp_path / "tasks"),)


@pytest.mark.parametrize(("page", "line"), [pytest.param(*each, id=each[1]) for each in commands()])
def test_every_command_and_option_exists(page: str, line: str):
    command = get_command(app)
    words = shlex.split(line, comments=True)[1:]
    while isinstance(command, TyperGroup) and words and not words[0].startswith("-"):
        command = command.commands[words.pop(0)]
    options = {word for word in words if word.startswith("--")}
    known = {name for parameter in command.params for name in parameter.opts}
    known |= {name for parameter in command.params for name in parameter.secondary_opts}
    assert options <= known | {"--help", "--install-completion", "--show-completion"}


def test_every_command_is_in_the_readme():
    group = get_command(app)
    assert isinstance(group, TyperGroup)
    shown = {line.split()[1] for page, line in commands() if page == "README.md"}
    assert shown >= set(group.commands) - {"bench"}


def test_every_dataset_benchmark_and_public_name_is_there():
    words = set(re.findall(r"`([^`\n]+)`", PAGES["published-data.md"]))
    assert words >= set(catalog.dataset_names())
    assert words >= set(catalog.benchmark_names())
    assert set(re.findall(r"`([^`\n]+)`", PAGES["algorithms.md"])) >= set(catalog.algorithm_names())
    names = set(re.findall(r"\bethosteer\.(\w+)\(", "\n".join(TEXTS.values())))
    assert names <= set(ethosteer.__all__)


def test_links_of_the_readme_lead_somewhere():
    links = re.findall(r"\]\(([^)#]+)\)", README)
    assert links
    assert [link for link in links if "://" not in link and not (ROOT / link).exists()] == []


def test_the_limits_of_inputs_are_those_of_the_code():
    page = PAGES["robustness.md"]
    assert f"{text_files.LARGEST_FILE // 1024**3} GiB after decompression" in page
    assert f"| {text_files.LARGEST_TOML // 1024**2} MiB |" in page
    assert f"{readers.LARGEST_ROWS:,} rows" in page
    assert f"| {text_files.DEEPEST} levels |" in page
    assert f"| {comparisons.LARGEST_VOTES:,} |" in page
    assert f"| {loading.LARGEST_FOLDER:,} files, {loading.LARGEST_YAML // 1024**2} MiB of" in page
    for seconds in (free_answers.PATTERN_SECONDS, adapters.EXPRESSION_SECONDS):
        assert f"| {seconds:g} s of processor time |" in page
    assert f"| {errors.LONGEST:,} characters |" in page
