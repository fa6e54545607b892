"""Options that commands share, with their help."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ethosteer.api import benchmark_settings
from ethosteer.cli.completion import complete_benchmarks, complete_study
from ethosteer.settings import BaseSettings, BenchmarkSettings
from ethosteer.study.load import bundled_studies


class Dtype(StrEnum):
    """Number formats of a base model's weights."""

    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"


class Quantise(StrEnum):
    """How the weights of a base's linear layers are quantised."""

    nf4 = "nf4"
    int8 = "int8"


StudyArgument = Annotated[
    str,
    typer.Argument(
        help="A study file (.toml), the folder of a run (such as `runs/demo`, which remembers its "
        f"settings and data), or a bundled study: {', '.join(bundled_studies())}.",
        autocompletion=complete_study,
    ),
]
RunsDir = Annotated[
    Path, typer.Option("--runs-dir", help="The folder of all runs, one subfolder per study.")
]
DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        help="Read the published data files from this folder; the documentation lists their names.",
    ),
]
HHDataDir = Annotated[
    Path,
    typer.Option("--data-dir", help="A folder with the published data files, HH-RLHF included."),
]
Sample = Annotated[
    bool,
    typer.Option("--sample", help="Read the bundled sample data, a small invented set."),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", help="Change one setting, as in `--set steer.steps=50`. Repeatable."),
]
Benchmarks = Annotated[
    str,
    typer.Option(
        "--benchmarks",
        help="Benchmarks, separated by commas: names, files of your own (`mcq.jsonl`) or tasks of "
        "lm-evaluation-harness (`lm-eval:arc_easy`). `NAME:FORM` reads another published form of "
        "the files, as in `scruples:ethics-aita`, and `preferences:DATASET` asks a preference "
        "dataset's held-out pairs (`preferences`: those of all datasets).",
        autocompletion=complete_benchmarks,
    ),
]
ModelOption = Annotated[
    str,
    typer.Option(
        "--model",
        help="`pocket` (bundled), `smollm2`, a model folder, a `.gguf` file, or a hub id.",
    ),
]
Limit = Annotated[
    int | None, typer.Option(min=1, help="At most this many items of each benchmark.")
]
WeightsDtype = Annotated[Dtype, typer.Option(help="The number format of the model's weights.")]
WeightsQuantise = Annotated[
    Quantise | None,
    typer.Option(
        "--quantise",
        help="Hold the weights of linear layers in 4 or 8 bits. Needs `pip install "
        "'ethosteer[quantise]'`.",
    ),
]
Device = Annotated[str, typer.Option(help="`auto`, `cpu`, `cuda`, `cuda:1`, …")]
TokenBudget = Annotated[
    int | None,
    typer.Option(
        "--tokens-per-batch",
        min=1,
        help="Token budget of one pass, all models together; by default chosen for the device.",
    ),
]
JsonFile = Annotated[
    Path | None, typer.Option("--json", help="Also write the measurement to this file.")
]


def read_benchmarks(
    names: str, limit: int | None, classifier: str | None = None
) -> dict[str, BenchmarkSettings]:
    """Read the value of ``--benchmarks``; InputError for an unknown name or form."""
    return benchmark_settings(
        [name.strip() for name in names.split(",") if name.strip()], limit, classifier
    )


def base_settings(
    model: str,
    dtype: Dtype,
    quantise: Quantise | None,
    device: str,
    revision: str | None = None,
) -> BaseSettings:
    """Return the settings of the base model that options describe."""
    return BaseSettings.checked(
        model=model,
        revision=revision,
        dtype=dtype.value,
        quantise=quantise and quantise.value,
        device=device,
    )
