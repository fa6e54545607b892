"""What the command line shows of a study and its data: tables for a person."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ethosteer import catalog
from ethosteer.data.pair_sets import curate
from ethosteer.data.sources import Origin
from ethosteer.records import FINETUNED, parse_dialogue
from ethosteer.settings import ArmSettings, BaseSettings, DataSettings
from ethosteer.stages.stage import SamplingSettings
from ethosteer.study.run import Study


def status_table(study: Study) -> Table:
    """Show what of a study is done, stage by stage, how long it took, and what is left."""
    store, stages = study.store, study.plan.stages
    table = Table(title=escape(f"{study.settings.name} in {study.folder}"), title_justify="left")
    for heading, justify in (("stage", "left"), ("done", "right"), ("time", "right")):
        table.add_column(heading, justify=justify)  # type: ignore[arg-type]
    table.add_column("left to do")
    for kind in dict.fromkeys(stage.kind for stage in stages):
        of_kind = [stage for stage in stages if stage.kind == kind]
        missing = store.missing(of_kind)
        seconds = sum(store.seconds(stage) for stage in of_kind if stage not in missing)
        names = ", ".join(stage.name for stage in missing[:4])
        more = f" and {len(missing) - 4} more" if len(missing) > 4 else ""
        done = f"{len(of_kind) - len(missing)}/{len(of_kind)}"
        table.add_row(kind, done, f"{seconds:.0f} s", escape(names + more))
    if store.is_locked():
        table.caption = "running now, in another process"
    return table


def print_card(
    console: Console, name: str, origin: Origin, pairs_per_group: int, show: int
) -> None:
    """Curate one dataset with the pocket base's tokenizer; print its card and first pairs."""
    from ethosteer.models.loading import load_tokenizer
    from ethosteer.models.text import Template

    template = Template("guanaco", load_tokenizer(BaseSettings()))
    settings = ArmSettings(pairs_per_group=pairs_per_group)
    curated = curate(catalog.dataset(name), settings, DataSettings(), origin, template)
    card = curated.card
    table = Table(show_header=False, title=escape(card.name), title_justify="left")
    rows = {
        "source": f"{card.source} ({card.licence})",
        "edition": card.revision,
        "rows read": f"{card.rows:,}",
        **{f"{split} pairs": f"{count:,}" for split, count in card.pairs.items()},
        **{f"dropped: {reason}": f"{count:,}" for reason, count in card.dropped.items()},
        "tokens": f"prompt {card.mean_prompt_tokens:.0f}, "
        f"longer response {card.mean_response_tokens:.0f} on average (pocket tokenizer)",
        "content": f"sha256 {card.content_hash[:16]}",
    }
    for key, value in rows.items():
        table.add_row(key, escape(value))
    console.print(table)
    for pair in curated.train[:show]:
        console.print(escape(f"\n[{pair.id}] row {pair.row}"), highlight=False)
        for field in ("prompt", "chosen", "rejected"):
            console.print(escape(f"  {field:9}{getattr(pair, field)}"), highlight=False)


def answers_table(study: Study, question: str, seed: int) -> Table:
    """Answer one question with the fine-tuned base and the first seed's arms, with shared noise."""
    from ethosteer.models.generation import generate
    from ethosteer.models.optimiser import generator
    from ethosteer.models.text import decode

    plan, store, workspace = study.plan, study.store, study.workspace
    base = workspace.base(plan.finetuned)
    template = workspace.template(plan.base, study.settings.data.template)
    folders = {
        stage.arm.name: stage.checkpoint(store.path(stage), study.settings.steer.select)
        for stage in plan.steering_of(study.settings.seeds[0])
    }
    ids = [template.prompt_ids(parse_dialogue(question))]
    sampling = SamplingSettings.of(study.settings.steer).sampling()
    with workspace.adapters(base, {FINETUNED: None, **folders}) as models:
        answers = generate(base, ids, len(models), sampling, generator(seed, "chat", question))
    table = Table(show_lines=True)
    table.add_column("model")
    table.add_column("answer", overflow="fold")
    for model, answer in zip(models, answers, strict=True):
        table.add_row(escape(model), escape(decode(base.tokenizer, answer)))
    return table
