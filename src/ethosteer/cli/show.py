"""The tables that the command line prints about a study and its data."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ethosteer.data.sources import Origin
from ethosteer.datasets.base import turns
from ethosteer.models.base import load_tokenizer
from ethosteer.models.generation import generate
from ethosteer.models.optimiser import generator
from ethosteer.models.text import Template, decode
from ethosteer.records import FINETUNED, Model
from ethosteer.settings import ArmSettings, BaseSettings, DataSettings
from ethosteer.stages.curate import curate
from ethosteer.stages.workspace import Workspace

NAMES_SHOWN = 4
"""How many missing pieces of work ``status`` names for each stage."""


def status_table(work: Workspace) -> Table:
    """Show each stage of a study: what is done, how long it took, and what is missing."""
    table = Table(title=escape(f"{work.config.name} in {work.folder}"), title_justify="left")
    table.add_column("stage")
    table.add_column("done", justify="right")
    table.add_column("time", justify="right")
    table.add_column("missing")
    steps = work.plan.steps()
    for stage in dict.fromkeys(step.stage for step in steps):
        stage_steps = [step for step in steps if step.stage == stage]
        missing = work.missing(stage_steps)
        seconds = sum(work.seconds(step) for step in stage_steps if step not in missing)
        names = ", ".join(step.name for step in missing[:NAMES_SHOWN])
        if len(missing) > NAMES_SHOWN:
            names += f" and {len(missing) - NAMES_SHOWN} more"
        table.add_row(
            stage,
            f"{len(stage_steps) - len(missing)}/{len(stage_steps)}",
            f"{seconds:.0f} s",
            escape(names),
        )
    if work.store.is_locked():
        table.caption = "another process is running this study now"
    return table


def print_card(
    console: Console, name: str, origin: Origin, pairs_per_group: int, show: int
) -> None:
    """Curate one dataset with the pocket model's tokenizer; print its card and first pairs."""
    template = Template("guanaco", load_tokenizer(BaseSettings()))
    settings = ArmSettings(pairs_per_group=pairs_per_group)
    curated = curate(name, settings, DataSettings(), origin, template)
    card = curated.card
    table = Table(show_header=False, title=escape(card.name), title_justify="left")
    rows = {
        "source": f"{card.source} ({card.licence})",
        "revision": card.revision,
        "rows read": f"{card.rows:,}",
        **{f"{split} pairs": f"{count:,}" for split, count in card.pairs.items()},
        **{f"dropped: {reason}": f"{count:,}" for reason, count in card.dropped.items()},
        "mean tokens": f"prompt {card.mean_prompt_tokens:.0f}, longer response "
        f"{card.mean_response_tokens:.0f} (pocket tokenizer)",
        "content hash": f"sha256 {card.content_hash[:16]}",
    }
    for key, value in rows.items():
        table.add_row(key, escape(value))
    console.print(table)
    for pair in curated.train[:show]:
        console.print(escape(f"\n[{pair.id}] row {pair.row}"), highlight=False)
        for field in ("prompt", "chosen", "rejected"):
            console.print(escape(f"  {field:9}{getattr(pair, field)}"), highlight=False)


def answers_table(work: Workspace, question: str, seed: int) -> Table:
    """Answer a question with the fine-tuned base and each arm of the first seed.

    ``seed`` seeds the sampling noise, which all models share.
    """
    arms = [arm for arm in work.config.arm_seeds() if arm.seed == work.config.seeds[0]]
    models = [Model(FINETUNED), *(Model(arm.name, arm.seed) for arm in arms)]
    prompts = [work.template.prompt_ids(turns(question))]
    noise = generator(seed, "chat", question)
    answers = work.with_adapters(
        work.base,
        models,
        lambda: generate(work.base, prompts, len(models), work.sampling, noise),
    )
    table = Table(show_lines=True)
    table.add_column("model")
    table.add_column("answer", overflow="fold")
    for model, answer in zip(models, answers, strict=True):
        table.add_row(escape(model.name), escape(decode(work.base.tokenizer, answer)))
    return table
