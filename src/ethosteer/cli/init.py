"""``ethosteer init``: a commented study file from a few questions."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from ethosteer import catalog
from ethosteer.benchmarks.preferences import PREFERENCES
from ethosteer.cli.completion import complete_algorithm, complete_benchmarks, complete_datasets
from ethosteer.errors import InputError
from ethosteer.files import usable_path, write_atomic
from ethosteer.settings import StudySettings
from ethosteer.study.load import load_study
from ethosteer.study.starter import Starter, study_file

if TYPE_CHECKING:
    from ethosteer.bench.machine import Precision

POCKET = "pocket"
DATASETS = "harmless, virtue"
BENCHMARKS = "preferences, toxigen, wsc273"
UNNAMED = re.compile(r"[^A-Za-z0-9_-]+")
"""What neither a study's nor an arm's name has."""
FILE = re.compile(r"[./\\]")
"""What the name of a file has, and that of no built-in dataset."""

T = TypeVar("T")


StudyFile = Annotated[Path, typer.Argument(help="The study file to write; it must not exist yet.")]
Yes = Annotated[
    bool, typer.Option("--yes", "-y", help="Ask nothing: take the options and defaults.")
]
Model = Annotated[
    str | None,
    typer.Option(
        help="`pocket` (bundled), `smollm2`, a model folder, a `.gguf` file, or a hub id."
    ),
]
Chat = Annotated[
    bool | None,
    typer.Option(help="Whether the base follows instructions and has a chat template."),
]
Sample = Annotated[
    bool | None,
    typer.Option(help="Read the bundled, invented data instead of the published files."),
]
Datasets = Annotated[
    str | None,
    typer.Option(
        help="Preference datasets, or files of your own, separated by commas.",
        autocompletion=complete_datasets,
    ),
]
Algorithm = Annotated[
    str | None,
    typer.Option(help="How arms are steered.", autocompletion=complete_algorithm),
]
Seeds = Annotated[int | None, typer.Option(min=1, help="The number of seeds.")]
Benchmarks = Annotated[
    str | None,
    typer.Option(help="Benchmarks, separated by commas.", autocompletion=complete_benchmarks),
]
Margin = Annotated[
    str | None,
    typer.Option(help="Differences within it count as equivalent; `none` declares none."),
]


def init(
    file: StudyFile = Path("study.toml"),
    yes: Yes = False,
    model: Model = None,
    chat: Chat = None,
    sample: Sample = None,
    datasets: Datasets = None,
    algorithm: Algorithm = None,
    seeds: Seeds = None,
    benchmarks: Benchmarks = None,
    margin: Margin = None,
) -> None:
    """Write a commented study file from a few questions.

    Options answer questions beforehand; `--yes` takes the defaults of the others. By default it is
    a study that needs no download: the pocket model and the bundled sample.

    Example: `ethosteer init mine.toml --yes --datasets deontology,virtue`
    """
    _check_new(file)
    ask = partial(_answer, takes_default=yes)
    base = ask("base model", model, POCKET, _read_text)
    pocket = base == POCKET
    precision = None if pocket else _precision()
    starter = Starter(
        name=UNNAMED.sub("-", file.stem).strip("_-") or "study",
        model=base,
        chat=ask("does it follow instructions, as a chat model?", chat, not pocket, _read_bool),
        bfloat16=precision is not None and precision.pays,
        sample=ask("read the bundled sample, not published files?", sample, pocket, _read_bool),
        arms=ask("datasets, or files of your own", datasets, DATASETS, _read_arms),
        algorithm=ask("algorithm", algorithm, "dpo", _read_algorithm),
        seeds=ask("number of seeds", seeds, 3, _read_count),
        benchmarks=ask("benchmarks", benchmarks, BENCHMARKS, _read_benchmarks),
        margin=ask("equivalence margin, or none", margin, "0.05", _read_margin),
    )
    write_atomic(file, study_file(starter, str(file)))
    settings = _loaded(file)
    typer.echo(f"done: {file}, a study of {len(settings.arm_seeds())} trained models")
    if precision is not None:
        typer.echo(f"base.dtype = {settings.base.dtype!r}: {precision}")
    typer.echo(f"next: ethosteer plan {file}; ethosteer run {file}")


def _precision() -> Precision:
    """Measure which number format the weights of a base should have on this machine."""
    from ethosteer.bench.machine import measure_precision
    from ethosteer.models.loading import choose_device

    return measure_precision(choose_device("auto"))


def _check_new(file: Path) -> None:
    """Raise InputError where no new study file can be written at ``file``."""
    if usable_path(file).suffix != ".toml":
        raise InputError(f"{file}: a study file's name ends in .toml")
    if file.exists():
        raise InputError(f"{file}: exists already; name a new file")
    if not file.absolute().parent.is_dir():
        raise InputError(f"{file}: its folder does not exist")


def _answer(
    question: str, given: object, default: object, read: Callable[[str], T], *, takes_default: bool
) -> T:
    """Return the option, the default, or the first valid answer typed."""
    if given is not None or takes_default:
        return read(_text(default if given is None else given))
    while True:
        try:
            return read(typer.prompt(question, default=_text(default)))
        except InputError as fault:
            typer.echo(f"  {fault}", err=True)
        except typer.Abort:
            raise InputError("the questions end; --yes takes the defaults") from None


def _loaded(file: Path) -> StudySettings:
    """Load the file just written; it is removed where it is not valid."""
    try:
        return load_study(str(file))
    except InputError:
        file.unlink()
        raise


def _text(value: object) -> str:
    """Write an option or a default as an answer."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def _read_text(answer: str) -> str:
    if not answer.strip():
        raise InputError("name one")
    return answer.strip()


def _read_bool(answer: str) -> bool:
    known = {"y": True, "yes": True, "n": False, "no": False}
    if answer.strip().lower() not in known:
        raise InputError(f"{answer!r}: answer yes or no")
    return known[answer.strip().lower()]


def _read_count(answer: str) -> int:
    if not answer.strip().isdecimal() or int(answer) < 1:
        raise InputError(f"{answer!r}: must be a number of 1 or more")
    return int(answer)


def _read_margin(answer: str) -> float | None:
    if answer.strip().lower() == "none":
        return None
    try:
        margin = float(answer)
    except ValueError:
        margin = 0.0
    if not 0 < margin < 1:
        raise InputError(f"{answer!r}: must be a number between 0 and 1, or none")
    return margin


def _names(answer: str) -> list[str]:
    names = list(dict.fromkeys(name.strip() for name in answer.split(",") if name.strip()))
    if not names:
        raise InputError("name at least one")
    return names


def _read_arms(answer: str) -> dict[str, str]:
    """Return arms by name, each with its file's absolute path; "" for a dataset."""
    arms: dict[str, str] = {}
    for name in _names(answer):
        if name in catalog.dataset_names() or not FILE.search(name):
            arms[catalog.dataset(name).name] = ""
            continue
        path = Path(name)
        if not path.exists():
            raise InputError(f"{name}: no such file")
        stem = UNNAMED.sub("-", path.stem).strip("-")
        arm = f"my-{stem}" if stem in catalog.dataset_names() else stem
        if arm in arms:
            raise InputError(f"{name}: another file gives its arm the name {arm!r}; rename one")
        arms[arm] = str(path.absolute())
    return arms


def _read_algorithm(answer: str) -> str:
    return catalog.algorithm(answer.strip()).name


def _read_benchmarks(answer: str) -> tuple[str, ...]:
    names = _names(answer)
    for name in names:
        if name != PREFERENCES:
            catalog.benchmark(name)
    return tuple(names)
