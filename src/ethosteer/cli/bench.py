"""The command line's `bench`: how fast this machine does the work of a study."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from ethosteer.cli.options import (
    BenchModel,
    DataDir,
    Device,
    Dtype,
    HHData,
    JsonFile,
    WeightsDtype,
    base_settings,
    data_origin,
    folder_origin,
    read_benchmarks,
)
from ethosteer.errors import InputError

bench = typer.Typer(
    no_args_is_help=True, help="Measure how fast this machine does the work of a study."
)


@bench.command("evaluate")
def bench_evaluate(
    benchmarks: Annotated[str, typer.Option("--benchmarks", help="names, with commas")],
    model: BenchModel = "pocket",
    arms: Annotated[
        int, typer.Option(min=1, help="models side by side: the base and random adapters on it")
    ] = 1,
    json_file: JsonFile = None,
    data_dir: DataDir = None,
    sample: Annotated[bool, typer.Option("--sample", help="read the bundled sample")] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="items of each at most")] = None,
    dtype: WeightsDtype = Dtype.float32,
    device: Device = "auto",
    tokens_per_batch: Annotated[int | None, typer.Option(min=1, help="of all together")] = None,
) -> None:
    """Measure the speed of scoring: items and tokens a second, seconds by part, FLOP/s."""
    origin = data_origin(data_dir, sample=sample)
    chosen = read_benchmarks(benchmarks, limit, None)
    settings = base_settings(model, None, dtype.value, device)
    from ethosteer.bench.measure import measure_evaluation

    _measured(
        lambda: measure_evaluation(settings, arms, chosen, origin, tokens_per_batch), json_file
    )


@bench.command("ppo")
def bench_ppo(
    data_dir: HHData,
    model: BenchModel = "pocket",
    arms: Annotated[int, typer.Option(min=1, help="policies side by side")] = 1,
    batch: Annotated[int, typer.Option(min=1, help="episodes per step and arm")] = 32,
    prompt_tokens: Annotated[int, typer.Option(min=8, help="longer prompts are left out")] = 64,
    new_tokens: Annotated[int, typer.Option(min=1, help="of every episode: EOS is ignored")] = 48,
    epochs: Annotated[int, typer.Option(min=1, help="passes over a batch")] = 4,
    minibatches: Annotated[int, typer.Option(min=1, help="of a batch")] = 4,
    steps: Annotated[int, typer.Option(min=1)] = 4,
    json_file: JsonFile = None,
    dtype: WeightsDtype = Dtype.float32,
    device: Device = "auto",
) -> None:
    """Measure the speed of PPO: episodes a second, seconds by part, FLOP/s, peak memory."""
    if batch % minibatches:
        raise InputError("--batch must be a multiple of --minibatches")
    origin, settings = (
        folder_origin(data_dir),
        base_settings(model, None, dtype.value, device),
    )
    from ethosteer.bench.measure import PPOEpisodes, hh_prompts, measure_ppo
    from ethosteer.models.loading import load_base

    episodes = PPOEpisodes(batch, prompt_tokens, new_tokens, epochs, minibatches, steps)

    def work() -> dict[str, Any]:
        base = load_base(settings)
        return measure_ppo(base, hh_prompts(base, origin, episodes), arms, episodes)

    _measured(work, json_file)


@bench.command("reward")
def bench_reward(
    data_dir: HHData,
    model: BenchModel = "pocket",
    arms: Annotated[int, typer.Option(min=1, help="reward models to train")] = 1,
    batch: Annotated[int, typer.Option(min=1, help="pairs per step")] = 16,
    pairs: Annotated[int, typer.Option(min=2, help="pairs to read")] = 256,
    json_file: JsonFile = None,
    dtype: WeightsDtype = Dtype.float32,
    device: Device = "auto",
) -> None:
    """Measure the speed of reward modelling: pairs a second, FLOP/s, peak memory."""
    origin, settings = folder_origin(data_dir), base_settings(model, None, dtype.value, device)
    from ethosteer.bench.measure import hh_pairs, measure_reward
    from ethosteer.models.loading import load_base

    def work() -> dict[str, Any]:
        base = load_base(settings)
        return measure_reward(base, hh_pairs(base, origin, pairs), arms, batch)

    _measured(work, json_file)


def _measured(work: Callable[[], dict[str, Any]], json_file: Path | None) -> None:
    """Do a measurement, print it, and keep it if a file is named."""
    from ethosteer.files import write_json
    from ethosteer.models.loading import quiet_libraries

    quiet_libraries()
    found = work()
    if json_file is not None:
        write_json(json_file, found)
    Console().print_json(data=found)
