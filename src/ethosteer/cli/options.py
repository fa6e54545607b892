"""What commands have in common: options with their help, and how their values are read."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ethosteer.errors import InputError
from ethosteer.settings import BaseSettings, BenchmarkSettings

if TYPE_CHECKING:
    from ethosteer.data.sources import Origin


class Dtype(StrEnum):
    """Number formats of a base's weights."""

    float32 = "float32"
    bfloat16 = "bfloat16"


DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", help="published data files; without it the study's own origin"),
]
JsonFile = Annotated[Path | None, typer.Option("--json", help="where to write the measurement")]
BenchModel = Annotated[str, typer.Option("--model", help="a model folder or 'pocket'")]
HHData = Annotated[Path, typer.Option("--data-dir", help="published files, HH's among them")]
WeightsDtype = Annotated[Dtype, typer.Option(help="of the model's weights")]
Device = Annotated[str, typer.Option(help="'auto', 'cpu', 'cuda', 'cuda:1', ...")]


def data_origin(data_dir: Path | None, *, sample: bool) -> Origin:
    """Return where a command without a study reads published files."""
    from ethosteer.data.sources import Origin

    if data_dir is not None and sample:
        raise InputError("give --data-dir or --sample, not both")
    return (
        folder_origin(data_dir) if data_dir is not None else Origin("sample" if sample else "hub")
    )


def read_benchmarks(
    names: str, limit: int | None, classifier: str | None
) -> dict[str, BenchmarkSettings]:
    """Read `a,b:form`; InputError for a name or a form that nobody knows."""
    from ethosteer import catalog

    chosen = {}
    for part in filter(None, (name.strip() for name in names.split(","))):
        name, _, form = part.partition(":")
        catalog.check_source(name, form or None)
        judge = classifier if catalog.benchmark(name).judged else None
        chosen[name] = BenchmarkSettings(limit=limit, source=form or None, classifier=judge)
    if not chosen:
        raise InputError(f"--benchmarks: name one of {', '.join(catalog.benchmark_names())}")
    return chosen


def base_settings(model: str, revision: str | None, dtype: str, device: str) -> BaseSettings:
    """Return the settings of a base that options describe."""
    given = {"model": model, "revision": revision, "dtype": dtype, "device": device}
    return BaseSettings.model_validate(given)


def folder_origin(data_dir: Path) -> Origin:
    """Return a data folder as an origin; InputError where there is none."""
    from ethosteer.data.sources import Origin

    if not data_dir.is_dir():
        raise InputError(f"--data-dir {data_dir}: no such folder")
    return Origin("folder", data_dir)
