"""The command line: parse, load the study, call; nothing else.

torch and transformers are imported only once a command has checked its input.
"""

from __future__ import annotations

import atexit
import gc
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from ethosteer.cli.bench import bench
from ethosteer.cli.options import (
    DataDir,
    Device,
    Dtype,
    WeightsDtype,
    base_settings,
    data_origin,
    folder_origin,
    read_benchmarks,
)
from ethosteer.errors import InputError
from ethosteer.settings import StudySettings
from ethosteer.study.load import bundled_studies, load_study

if TYPE_CHECKING:
    from ethosteer.data.sources import Origin
    from ethosteer.study.run import Study

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="Which preference dataset steers a language model best, at what cost, and is the "
    "difference real? One study file, one command: `ethosteer run demo`.",
    epilog="Exit status: 0 done, 2 your input needs mending (one line says where), 1 our fault.",
)

app.add_typer(bench, name="bench")

StudyArgument = Annotated[
    str, typer.Argument(help=f"a study file (.toml) or one of: {', '.join(bundled_studies())}")
]
RunsDir = Annotated[
    Path, typer.Option("--runs-dir", help="where runs are kept, one folder per study")
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", help="change one setting, such as `--set steer.steps=50`; repeatable"),
]


@app.command()
def run(
    study: StudyArgument,
    runs_dir: RunsDir = Path("runs"),
    data_dir: DataDir = None,
    overrides: Overrides = None,
) -> None:
    """Carry a study through every stage, from data to report; resumes where it stopped.

    What is already done is not done again: a second run of a finished study does no work, and after
    a changed setting only the stages that rest on it run.
    """
    own = _study(study, runs_dir, data_dir, overrides)
    if own.run():
        typer.echo(f"done: {own.folder / 'report.html'}")
    else:
        typer.echo(f"nothing to do: every stage of {own.settings.name} is done ({own.folder})")


@app.command()
def status(
    study: StudyArgument,
    runs_dir: RunsDir = Path("runs"),
    data_dir: DataDir = None,
    overrides: Overrides = None,
) -> None:
    """Show what of a study is done, in which time, and what is left."""
    from ethosteer.cli.show import status_table

    own = _study(study, runs_dir, data_dir, overrides)
    Console().print(status_table(own))


@app.command()
def plan(
    study: StudyArgument,
    data_dir: DataDir = None,
    overrides: Overrides = None,
) -> None:
    """Estimate the memory, time and disk that a study needs on this machine, before it starts.

    Needs neither the base's weights nor the data: where they are not at hand, the study file's
    `base.shape` and `arms.NAME.max_pairs` stand in for them.
    """
    from ethosteer.study.estimate import estimate, plan_table

    config = load_study(study, overrides or ())
    Console().print(plan_table(estimate(config, _origin(config, data_dir))))


@app.command()
def curate(
    name: Annotated[str, typer.Argument(help="a preference dataset, such as deontology")],
    data_dir: DataDir = None,
    pairs_per_group: Annotated[int, typer.Option(min=1, help="pairs of one scenario at most")] = 2,
    show: Annotated[int, typer.Option(min=0, help="pairs to print")] = 3,
    sample: Annotated[bool, typer.Option("--sample", help="read the bundled sample")] = False,
) -> None:
    """Curate one dataset and print its card, its drops by reason, and a few pairs."""
    from ethosteer import catalog

    catalog.dataset(name)
    origin = data_origin(data_dir, sample=sample)
    from ethosteer.cli.show import print_card

    print_card(Console(), name, origin, pairs_per_group, show)


@app.command()
def evaluate(
    benchmarks: Annotated[
        str,
        typer.Option(
            "--benchmarks",
            help="names, with commas; `name:form` for another published form of its files, such "
            "as `scruples:ethics-aita`",
        ),
    ],
    model: Annotated[
        str, typer.Option("--model", help="a model folder, a hub id, or 'pocket'")
    ] = "pocket",
    adapter: Annotated[
        list[str] | None,
        typer.Option(
            "--adapter",
            help="a PEFT adapter on it (a folder or hub id, or `NAME=FOLDER`); repeatable: all run "
            "side by side",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="a JSON file for every item's outcome")
    ] = None,
    data_dir: DataDir = None,
    sample: Annotated[bool, typer.Option("--sample", help="read the bundled sample")] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="items of each at most")] = None,
    classifier: Annotated[
        str | None,
        typer.Option(help="of generated texts: a folder, a hub id, or 'trained' on own rows"),
    ] = None,
    revision: Annotated[str | None, typer.Option(help="of a model on the hub")] = None,
    dtype: WeightsDtype = Dtype.float32,
    device: Device = "auto",
    tokens_per_batch: Annotated[
        int | None, typer.Option(min=1, help="of all models together; by default what suits it")
    ] = None,
) -> None:
    """Evaluate a model, and any adapters beside it, on benchmarks; no study needed.

    For example: `ethosteer evaluate --model pocket --sample --benchmarks toxigen,wsc273`
    """
    origin = data_origin(data_dir, sample=sample)
    chosen = read_benchmarks(benchmarks, limit, classifier)
    if out is not None and (out.is_dir() or not out.absolute().parent.is_dir()):
        raise InputError(f"--out {out}: must be a file in a folder that exists")
    settings = base_settings(model, revision, dtype.value, device)
    from ethosteer.evaluation.standalone import (
        as_json,
        evaluate_models,
        name_adapters,
        read_tasks,
        results_table,
    )
    from ethosteer.files import write_atomic
    from ethosteer.models.loading import quiet_libraries
    from ethosteer.progress import Terminal

    quiet_libraries()
    found = evaluate_models(
        settings,
        name_adapters(adapter or ()),
        read_tasks(chosen, origin),
        tokens_per_batch,
        Terminal(),
    )
    if out is not None:
        write_atomic(out, as_json(found))
    Console().print(results_table(found))


@app.command()
def report(
    studies: Annotated[
        list[str],
        typer.Argument(help="a study (as for `run`) or a run's folder; several are compared"),
    ],
    runs_dir: RunsDir = Path("runs"),
    data_dir: DataDir = None,
    overrides: Overrides = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="for several: a folder, runs/A+B by default"),
    ] = None,
) -> None:
    """Write a finished study's report anew from what is stored, or compare several studies.

    `ethosteer report A B` compares every arm of A with every arm of B, on each benchmark where both
    rest on the same items, prompts, template and tokenizer; elsewhere it says what differs.
    `ethosteer report runs/A` needs nothing but that folder's files, and
    `ethosteer report published-2024` asks what a published study's counts can show.
    """
    from ethosteer.published.counts import counts_path, read_counts

    published = counts_path(studies[0]) if len(studies) == 1 else None
    if published is not None:
        from ethosteer.report import write_counts_report

        counts = read_counts(published)
        folder = out or runs_dir / counts.name
        write_counts_report(counts, folder)
    elif len(studies) > 1:
        from ethosteer.study.compare_studies import read_run, write_across

        runs = [read_run(_run_folder(study, runs_dir, overrides)) for study in studies]
        folder = out or runs_dir / "+".join(run.name for run in runs)
        write_across(runs, folder)
    elif Path(studies[0]).is_dir():
        from ethosteer.report import write_report
        from ethosteer.study.compare_studies import read_run

        folder = Path(studies[0])
        own = read_run(folder)
        write_report(own.results, own.outcomes, own.items, folder)
    else:
        study = _study(studies[0], runs_dir, data_dir, overrides)
        study.check_finished()
        study.write_files()
        folder = study.folder
    typer.echo(f"done: {folder / 'report.html'}")


def _run_folder(study: str, runs_dir: Path, overrides: list[str] | None) -> Path:
    """Return the folder of a run: the one named, or the study's own among the runs."""
    path = Path(study)
    return path if path.is_dir() else runs_dir / load_study(study, overrides or ()).name


@app.command()
def export(
    study: StudyArgument,
    arm: Annotated[str, typer.Argument(help="an arm of the study, such as virtue")],
    folder: Annotated[Path, typer.Argument(help="the folder to write, which must not exist")],
    seed: Annotated[int | None, typer.Option(help="the first seed by default")] = None,
    reward: Annotated[bool, typer.Option("--reward", help="its reward model instead")] = False,
    runs_dir: RunsDir = Path("runs"),
    data_dir: DataDir = None,
    overrides: Overrides = None,
) -> None:
    """Write an arm as a PEFT adapter with its model card, and the base it belongs on beside it."""
    own = _study(study, runs_dir, data_dir, overrides)
    from ethosteer.study.export import export_arm

    export_arm(own, arm, seed, folder, reward=reward)
    typer.echo(f"done: {folder}")


@app.command()
def chat(
    study: StudyArgument,
    prompt: Annotated[str | None, typer.Option(help="ask once; without it, ask in turns")] = None,
    seed: Annotated[int, typer.Option(help="of the sampling noise")] = 0,
    runs_dir: RunsDir = Path("runs"),
    data_dir: DataDir = None,
    overrides: Overrides = None,
) -> None:
    """Ask all arms of a finished study the same, and read their answers side by side."""
    own = _study(study, runs_dir, data_dir, overrides)
    own.check_finished()
    from ethosteer.cli.show import answers_table

    console = Console()
    while True:
        question = prompt or typer.prompt("you (empty line ends)", default="", show_default=False)
        if not question.strip():
            return
        console.print(answers_table(own, question, seed))
        if prompt:
            return


def _study(study: str, runs_dir: Path, data_dir: Path | None, overrides: list[str] | None) -> Study:
    config = load_study(study, overrides or ())
    origin = _origin(config, data_dir)
    from ethosteer.study.run import Study

    return Study(config, runs_dir, origin)


def _origin(config: StudySettings, data_dir: Path | None) -> Origin:
    from ethosteer.data.sources import Origin

    return Origin(config.data.origin) if data_dir is None else folder_origin(data_dir)


def main() -> None:
    """Run the command line; the only place that turns errors into exit statuses."""
    # Collecting garbage while torch is imported costs a second, and at the end another.
    gc.set_threshold(100_000, 20, 20)
    atexit.register(gc.freeze)
    try:
        app()
    except InputError as fault:
        typer.echo(f"error: {fault}", err=True)
        sys.exit(2)
    except KeyboardInterrupt:
        typer.echo("stopped; run the same command again to go on", err=True)
        sys.exit(130)
    except Exception:
        traceback.print_exc()
        sys.exit(1)


if __name__ == "__main__":
    main()
