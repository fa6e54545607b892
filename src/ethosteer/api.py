"""What a program does with ethosteer: run a study, or evaluate models on benchmarks.

torch and transformers are imported once the input has been checked.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ethosteer import catalog
from ethosteer.benchmarks.harness import PREFIX as HARNESS
from ethosteer.benchmarks.preferences import PREFERENCES
from ethosteer.data.formats.files import kind_of
from ethosteer.data.sources import Origin
from ethosteer.errors import InputError
from ethosteer.files import usable_path
from ethosteer.settings import BaseSettings, BenchmarkSettings, StudySettings, TemplateName
from ethosteer.study.folder import is_run_folder, read_origin
from ethosteer.study.load import absolute_paths, check_names, load_study

if TYPE_CHECKING:
    from ethosteer.evaluation.standalone import Evaluation
    from ethosteer.study.finished import Run
    from ethosteer.study.run import Study


def run(
    study: StudySettings | Path | str,
    *,
    runs_dir: Path | str = "runs",
    data_dir: Path | str | None = None,
    overrides: Sequence[str] = (),
    quiet: bool = False,
) -> Run:
    """Run a study from data to report and return its results.

    Work that is already stored in ``runs_dir`` is not repeated, so an interrupted run resumes.

        import ethosteer

        run = ethosteer.run("demo", overrides=["steer.steps=20"])
        for comparison in run.results.comparisons:
            print(comparison.a, comparison.b, comparison.difference.value, comparison.verdict)

    Args:
        study: settings, the path of a study file, a run's folder (which remembers its settings and
            data), or the name of a bundled study.
        runs_dir: the folder of all runs; the run's files are in ``runs_dir/NAME``.
        data_dir: a folder with the published data files; without it the study's ``data.origin``.
        overrides: changes to a study file, such as ``"steer.steps=50"``.
        quiet: show no progress on stderr.

    Raises:
        InputError: the settings, data or model are invalid; raised before any training.

    """
    prepared = prepare_study(
        study, runs_dir=runs_dir, data_dir=data_dir, overrides=overrides, quiet=quiet
    )
    prepared.run()
    from ethosteer.study.finished import open_run

    return open_run(prepared.folder)


def evaluate(
    model: BaseSettings | str,
    benchmarks: Iterable[str] | Mapping[str, BenchmarkSettings],
    *,
    adapters: Mapping[str, Path | str] | Sequence[str] = (),
    data_dir: Path | str | None = None,
    sample: bool = False,
    template: TemplateName = "guanaco",
    chat: bool = False,
    include_path: Sequence[Path | str] = (),
    tokens_per_batch: int | None = None,
    quiet: bool = False,
) -> list[Evaluation]:
    """Evaluate a model, and LoRA adapters on it, on benchmarks: one evaluation a benchmark.

        import ethosteer

        (toxigen,) = ethosteer.evaluate("pocket", ["toxigen"], sample=True)
        for cell in toxigen.result.cells:
            print(cell.model, cell.metric, cell.estimate.value)

    Args:
        model: a folder, a hub id or ``"pocket"``; or settings, for its number format and device.
        benchmarks: names (``"scruples:ethics-aita"`` for another published form of the files), the
            path of a file, ``"lm-eval:TASK"`` for a task of lm-evaluation-harness, or settings by
            name; ``"preferences"`` is ``"preferences:DATASET"`` of every dataset.
        adapters: PEFT adapters (folders or hub ids) by name, or as ``"NAME=FOLDER"``; they are
            evaluated together.
        data_dir: a folder with the published data files; without it files come from the hub.
        sample: read the bundled sample data instead.
        template: how the dialogues of ``preferences`` are written: ``"guanaco"``, ``"hh"``, or
            ``"chat"``, the tokenizer's own template.
        chat: write every other benchmark's request by the tokenizer's chat template, as
            lm-evaluation-harness does with ``apply_chat_template``.
        include_path: folders with YAML tasks of lm-evaluation-harness.
        tokens_per_batch: the token budget of one pass, for all models together.
        quiet: show no progress on stderr.

    Raises:
        InputError: a benchmark, data file, model or adapter is invalid.

    """
    settings = model if isinstance(model, BaseSettings) else BaseSettings.checked(model=model)
    if isinstance(benchmarks, Mapping):
        benchmarks = catalog.by_dataset(benchmarks, catalog.dataset_names())
        for name, table in benchmarks.items():
            catalog.check_table(name, table)
    else:
        benchmarks = benchmark_settings(benchmarks)
    origin = data_origin(data_dir, sample=sample)
    from ethosteer.evaluation.standalone import evaluate_models, name_adapters, read_tasks
    from ethosteer.models.loading import quiet_libraries
    from ethosteer.progress import Terminal

    quiet_libraries()
    if isinstance(adapters, Mapping):
        adapters = [f"{name}={path}" for name, path in adapters.items()]
    return evaluate_models(
        settings,
        name_adapters(adapters),
        read_tasks(
            benchmarks,
            origin,
            settings,
            template,
            chat=chat,
            include_path=tuple(str(usable_path(folder).absolute()) for folder in include_path),
        ),
        tokens_per_batch,
        Terminal(quiet=quiet),
        chat=chat,
    )


def prepare_study(
    study: StudySettings | Path | str,
    *,
    runs_dir: Path | str = "runs",
    data_dir: Path | str | None = None,
    overrides: Sequence[str] = (),
    quiet: bool = False,
    stored: bool = False,
) -> Study:
    """Return a study with its folder and data, ready to run; the arguments are those of ``run``.

    With ``stored``, what a finished run's folder holds is all that is asked for: it is found by the
    folder alone, without the data.
    """
    from ethosteer.progress import Terminal
    from ethosteer.study.run import Study

    terminal, folder = Terminal(quiet=quiet), None
    if isinstance(study, StudySettings):
        if overrides:
            raise InputError("overrides apply to a study file; change the settings themselves")
        check_names(study)
        settings, origin = study, study_origin(study, data_dir)
    else:
        folder = Path(study) if is_run_folder(study) else None
        if folder and stored and data_dir is None and not overrides:
            from ethosteer.study.finished import stored_study

            return stored_study(folder, terminal)
        settings = load_study(str(study), overrides)
        origin = study_origin(settings, data_dir, folder)
    return Study(absolute_paths(settings), usable_path(runs_dir), origin, terminal, folder=folder)


def study_origin(
    settings: StudySettings, data_dir: Path | str | None, folder: Path | None = None
) -> Origin:
    """Return where a study's data files are read.

    ``data_dir`` comes first, then what the run's ``folder`` remembers, then ``data.origin``.
    """
    if data_dir is not None:
        return data_origin(data_dir)
    return read_origin(folder, settings) if folder else Origin(settings.data.origin)


def data_origin(data_dir: Path | str | None, *, sample: bool = False) -> Origin:
    """Return where data files are read: a folder, the bundled sample, or the hub.

    Raises InputError where both a folder and the sample are given, or the folder does not exist.
    """
    if data_dir is None:
        return Origin("sample" if sample else "hub")
    if sample:
        raise InputError("give --data-dir or --sample, not both")
    if not usable_path(data_dir).is_dir():
        raise InputError(f"--data-dir {data_dir}: no such folder")
    return Origin("folder", Path(data_dir))


def benchmark_settings(
    names: Iterable[str], limit: int | None = None, classifier: str | None = None
) -> dict[str, BenchmarkSettings]:
    """Return the settings of benchmarks: ``NAME``, ``NAME:FORM``, ``FILE`` or ``lm-eval:TASK``.

    ``preferences`` is ``preferences:DATASET`` for every dataset; a file's benchmark is called like
    the file. Raises InputError for an unknown name or form, for two files of one name, and where
    there are no names.
    """
    settings: dict[str, BenchmarkSettings] = {}
    for text in catalog.by_dataset(dict.fromkeys(names), catalog.dataset_names()):
        if kind_of(Path(text)) is not None:
            name = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(text).name.partition(".")[0]) or "file"
            if name in settings:
                raise InputError(f"{text}: a benchmark is called {name} already; rename the file")
            settings[name] = BenchmarkSettings.checked(limit=limit, file=text)
            catalog.check_table(name, settings[name])
            continue
        if text.startswith(HARNESS):
            settings[text] = BenchmarkSettings.checked(limit=limit)
            continue
        name, _, form = text.partition(":")
        if name == PREFERENCES:
            name, form = text, ""
        catalog.check_source(catalog.benchmark(name), form or None)
        settings[name] = BenchmarkSettings.checked(
            limit=limit,
            source=form or None,
            classifier=classifier if catalog.benchmark(name).classification else None,
        )
    if not settings:
        raise InputError(
            f"no benchmark is named: name one of {', '.join(catalog.benchmark_names())}, a file, "
            "or lm-eval:TASK"
        )
    return settings
