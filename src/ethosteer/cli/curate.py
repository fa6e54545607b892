"""``ethosteer curate``: a preference dataset's pairs and card, before any model is trained."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from ethosteer import catalog
from ethosteer.api import data_origin
from ethosteer.cli.completion import complete_dataset
from ethosteer.cli.options import DataDir, Sample
from ethosteer.data.formats.dataset import file_dataset
from ethosteer.errors import InputError
from ethosteer.files import usable_path
from ethosteer.settings import ArmSettings


class Weigh(StrEnum):
    """What several annotators' judgements of one pair make."""

    majority = "majority"
    judgements = "judgements"


Preferences = Annotated[
    str,
    typer.Argument(
        help="A preference dataset, such as `deontology`; or a file of your own: .jsonl, "
        ".json, .csv, .tsv or .parquet, or a folder of such files.",
        autocompletion=complete_dataset,
    ),
]
PairsPerGroup = Annotated[int, typer.Option(min=1, help="At most this many pairs of one scenario.")]
Show = Annotated[int, typer.Option(min=0, help="Print this many pairs.")]
Columns = Annotated[
    list[str] | None,
    typer.Option(
        "--column",
        help="A file's column for one of ours, as in `--column chosen=better`. Repeatable.",
    ),
]
Weighing = Annotated[
    Weigh | None,
    typer.Option(
        help="Several annotators of one pair in a file: the majority decides, or each "
        "judgement is a pair."
    ),
]


def curate(
    name: Preferences,
    data_dir: DataDir = None,
    pairs_per_group: PairsPerGroup = 2,
    show: Show = 3,
    sample: Sample = False,
    columns: Columns = None,
    weigh: Weighing = None,
) -> None:
    """Curate one preference dataset and print its card: counts, licence, dropped rows, pairs.

    Shows what a reward model would be trained on, before any model is trained. Of a file it shows
    which format its columns are recognised as.

    Example: `ethosteer curate deontology --sample`, `ethosteer curate mine.jsonl`
    """
    if _is_path(name):
        arm = _file_settings(name, pairs_per_group, columns or (), weigh)
        dataset = file_dataset(Path(name).name.partition(".")[0], arm)
    elif columns or weigh:
        raise InputError(f"--column and --weigh are for files, and {name} is not one")
    else:
        arm = ArmSettings.checked(pairs_per_group=pairs_per_group)
        dataset = catalog.dataset(name)
    origin = data_origin(data_dir, sample=sample)
    from ethosteer.cli.show import print_card

    print_card(Console(), dataset, arm, origin, show)


def _is_path(name: str) -> bool:
    """Return whether ``name`` is a file or a folder, or is written like one."""
    path = usable_path(name)
    return path.exists() or len(path.parts) > 1 or bool(path.suffix)


def _file_settings(
    file: str, pairs_per_group: int, columns: Sequence[str], weigh: Weigh | None
) -> ArmSettings:
    """Return the settings of an arm that reads ``file``; InputError for a wrong ``--column``."""
    named = dict[str, str]()
    for column in columns:
        ours, sign, theirs = column.partition("=")
        if not (sign and ours and theirs):
            raise InputError(f"--column {column}: write it as ours=theirs")
        named[ours.strip()] = theirs.strip()
    return ArmSettings.checked(
        file=file,
        columns=named or None,
        weigh=weigh.value if weigh else None,
        pairs_per_group=pairs_per_group,
    )
