"""``ethosteer evaluate``: a model and adapters on benchmarks, without a study."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from ethosteer import api
from ethosteer.cli.options import (
    Benchmarks,
    DataDir,
    Device,
    Dtype,
    Limit,
    ModelOption,
    Sample,
    TokenBudget,
    WeightsDtype,
    WeightsQuantise,
    base_settings,
    read_benchmarks,
)
from ethosteer.errors import InputError
from ethosteer.files import usable_path, write_atomic


class TemplateChoice(StrEnum):
    """Formats of a dialogue."""

    guanaco = "guanaco"
    hh = "hh"
    chat = "chat"


Adapters = Annotated[
    list[str] | None,
    typer.Option(
        "--adapter",
        help="A LoRA adapter in PEFT's format: folder, hub id, or `NAME=FOLDER`. Repeatable.",
    ),
]
OutcomesFile = Annotated[
    Path | None, typer.Option("--out", help="Write every item's outcome to this JSON file.")
]
Classifier = Annotated[
    str | None,
    typer.Option(
        help="The classifier of generated texts: a folder, a hub id, or `trained` (on the "
        "benchmark's training rows)."
    ),
]
Revision = Annotated[str | None, typer.Option(help="The model's revision on the hub.")]
DialogueTemplate = Annotated[
    TemplateChoice,
    typer.Option(
        help="How the dialogues of `preferences` are written; `chat` is the tokenizer's own "
        "template."
    ),
]
Chat = Annotated[
    bool,
    typer.Option(
        "--chat",
        help="Write every other benchmark's request by the tokenizer's chat template, as "
        "lm-evaluation-harness does with `--apply_chat_template`.",
    ),
]
IncludePath = Annotated[
    list[Path] | None,
    typer.Option(
        "--include-path",
        help="A folder with YAML tasks of lm-evaluation-harness, for `lm-eval:TASK`. Repeatable.",
    ),
]


def evaluate(
    benchmarks: Benchmarks,
    model: ModelOption = "pocket",
    adapter: Adapters = None,
    out: OutcomesFile = None,
    data_dir: DataDir = None,
    sample: Sample = False,
    limit: Limit = None,
    classifier: Classifier = None,
    revision: Revision = None,
    dtype: WeightsDtype = Dtype.float32,
    quantise: WeightsQuantise = None,
    device: Device = "auto",
    template: DialogueTemplate = TemplateChoice.guanaco,
    chat: Chat = False,
    include_path: IncludePath = None,
    tokens_per_batch: TokenBudget = None,
) -> None:
    """Evaluate a model, and PEFT adapters on it, on benchmarks; no study is needed.

    The model and all adapters are evaluated together, on one copy of the base.
    Adapters may use rslora, rank_pattern and alpha_pattern; other variants are refused by name.

    Example: `ethosteer evaluate --model pocket --sample --benchmarks toxigen,wsc273`
    """
    _check_out(out)
    evaluations = api.evaluate(
        base_settings(model, dtype, quantise, device, revision),
        read_benchmarks(benchmarks, limit, classifier),
        adapters=adapter or (),
        data_dir=data_dir,
        sample=sample,
        template=template.value,
        chat=chat,
        include_path=include_path or (),
        tokens_per_batch=tokens_per_batch,
    )
    from ethosteer.cli.show import results_table
    from ethosteer.evaluation.standalone import as_json

    if out is not None:
        write_atomic(out, as_json(evaluations))
    Console().print(results_table(evaluations))


def _check_out(out: Path | None) -> None:
    """Raise InputError where results could not be written to ``out``."""
    if out is not None and (
        usable_path(out).is_symlink()
        or (out.exists() and not out.is_file())
        or not out.absolute().parent.is_dir()
    ):
        raise InputError(
            f"--out {out}: must be a file in a folder that exists, not a link or a device"
        )
