"""The commands of ``ethosteer bench``: how fast this machine does the work of a study."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from ethosteer.api import data_origin
from ethosteer.cli.options import (
    Benchmarks,
    DataDir,
    Device,
    Dtype,
    HHDataDir,
    JsonFile,
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

Profile = Annotated[
    bool,
    typer.Option(
        "--profile",
        help="Repeat the measurement, and add the seconds by kind of operation. Recording takes "
        "memory: some kilobytes for each operation of a step.",
    ),
]

bench = typer.Typer(
    no_args_is_help=True,
    help="Measure how fast this machine does the work of a study.\n\n"
    "Each measurement also gives the arithmetic rate (FLOP/s) as a share of this machine's own "
    "matrix product.",
)


@bench.command("evaluate")
def bench_evaluate(
    benchmarks: Benchmarks,
    model: ModelOption = "pocket",
    arms: Annotated[
        int,
        typer.Option(min=1, help="Models evaluated together: the base and random adapters on it."),
    ] = 1,
    json_file: JsonFile = None,
    data_dir: DataDir = None,
    sample: Sample = False,
    limit: Limit = None,
    dtype: WeightsDtype = Dtype.float32,
    quantise: WeightsQuantise = None,
    device: Device = "auto",
    tokens_per_batch: TokenBudget = None,
    profile: Profile = False,
) -> None:
    """Measure the scoring of benchmark items: items and tokens a second, seconds by stage.

    Example: `ethosteer bench evaluate --sample --benchmarks wsc273 --arms 4`
    """
    origin = data_origin(data_dir, sample=sample)
    settings = read_benchmarks(benchmarks, limit)
    base = base_settings(model, dtype, quantise, device)
    from ethosteer.bench.evaluate import measure_evaluation

    _show(
        partial(measure_evaluation, base, arms, settings, origin, tokens_per_batch),
        json_file,
        profile=profile,
    )


@bench.command("ppo")
def bench_ppo(
    data_dir: HHDataDir,
    model: ModelOption = "pocket",
    arms: Annotated[int, typer.Option(min=1, help="Policies trained in one process.")] = 1,
    batch: Annotated[int, typer.Option(min=1, help="Episodes per step and arm.")] = 32,
    prompt_tokens: Annotated[int, typer.Option(min=8, help="Leave longer prompts out.")] = 64,
    new_tokens: Annotated[
        int, typer.Option(min=1, help="Tokens sampled in every episode (EOS is ignored).")
    ] = 48,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over a batch.")] = 4,
    minibatches: Annotated[int, typer.Option(min=1, help="Minibatches of a batch.")] = 4,
    steps: Annotated[int, typer.Option(min=1, help="PPO steps.")] = 4,
    json_file: JsonFile = None,
    dtype: WeightsDtype = Dtype.float32,
    quantise: WeightsQuantise = None,
    device: Device = "auto",
    profile: Profile = False,
) -> None:
    """Measure PPO: episodes a second, seconds by stage, peak memory.

    Example: `ethosteer bench ppo --data-dir DATA --arms 4`
    """
    if batch % minibatches:
        raise InputError("--batch must be a multiple of --minibatches")
    origin = data_origin(data_dir)
    settings = base_settings(model, dtype, quantise, device)
    from ethosteer.bench.hh import hh_prompts
    from ethosteer.bench.ppo import PPOEpisodes, measure_ppo
    from ethosteer.models.loading import load_base

    base = load_base(settings)
    episodes = PPOEpisodes(batch, new_tokens, epochs, minibatches, steps)
    prompts = hh_prompts(base, origin, batch * steps, prompt_tokens, new_tokens)
    _show(partial(measure_ppo, base, prompts, arms, episodes), json_file, profile=profile)


@bench.command("reward")
def bench_reward(
    data_dir: HHDataDir,
    model: ModelOption = "pocket",
    arms: Annotated[int, typer.Option(min=1, help="Reward models trained in one process.")] = 1,
    batch: Annotated[int, typer.Option(min=1, help="Pairs per step.")] = 16,
    pairs: Annotated[int, typer.Option(min=2, help="Preference pairs to read.")] = 256,
    json_file: JsonFile = None,
    dtype: WeightsDtype = Dtype.float32,
    quantise: WeightsQuantise = None,
    device: Device = "auto",
    profile: Profile = False,
) -> None:
    """Measure the training of reward models: pairs a second, peak memory.

    Example: `ethosteer bench reward --data-dir DATA --arms 4`
    """
    origin = data_origin(data_dir)
    settings = base_settings(model, dtype, quantise, device)
    from ethosteer.bench.hh import hh_pairs
    from ethosteer.bench.reward import measure_reward
    from ethosteer.models.loading import load_base

    base = load_base(settings)
    encoded = hh_pairs(base, origin, pairs)
    _show(partial(measure_reward, base, encoded, arms, batch), json_file, profile=profile)


def _show(measure: Callable[..., dict[str, Any]], json_file: Path | None, *, profile: bool) -> None:
    """Print a measurement, and write it if a file is named.

    The seconds by kind of operation are those of a second measurement.
    """
    from ethosteer.files import usable_path, write_json

    if json_file is not None:
        usable_path(json_file)
    measurement = measure()
    del measurement["profile"]
    if profile:
        measurement["profile"] = measure(profile=True)["profile"]
    if json_file is not None:
        write_json(json_file, measurement)
    Console().print_json(data=measurement)
