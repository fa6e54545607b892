"""An arm as files that stock libraries load: a PEFT adapter, its base, and a model card."""

from __future__ import annotations

import json
import shutil
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, StrictUndefined

from ethosteer.errors import InputError
from ethosteer.files import write_atomic, write_json
from ethosteer.models.adapters import CONFIG, WEIGHTS
from ethosteer.models.reward_models import NORMALISATION, read_scale
from ethosteer.records import Arm
from ethosteer.results import results_from_json
from ethosteer.stages.compare import RESULTS
from ethosteer.stages.curate import stored_set
from ethosteer.stages.workspace import MERGED, Workspace

BASE_FOLDER = "base"
MODEL_CARD = "model_card.md.j2"


def export_arm(
    work: Workspace, name: str, seed: int | None, folder: Path, *, reward: bool = False
) -> None:
    """Write one arm's policy, or its reward model, to ``folder`` with base and model card.

    ``seed`` is the study's first where it is None. Raises InputError for an unknown arm, an
    unfinished study, or a folder that exists.
    """
    arm = Arm(name, work.config.seeds[0] if seed is None else seed)
    if arm not in work.plan.rewards:
        raise InputError(
            f"no arm {name!r} with seed {arm.seed}; arms: {', '.join(work.config.arms)}; "
            f"seeds: {', '.join(map(str, work.config.seeds))}"
        )
    if folder.exists():
        raise InputError(f"{folder}: exists already; name a new folder")
    if work.missing([work.plan.comparison]):
        raise InputError(f"study {work.config.name} is not finished; run it first")
    source = work.path(work.plan.rewards[arm]) if reward else work.steered(arm)
    # Filled under a temporary name, so that a folder with the final name is complete.
    unfinished = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(unfinished, ignore_errors=True)
    shutil.copytree(work.path(work.plan.finetuning) / MERGED, unfinished / BASE_FOLDER)
    shutil.copy(source / WEIGHTS, unfinished)
    if reward:
        shutil.copy(source / NORMALISATION, unfinished)
    config = json.loads((source / CONFIG).read_text("utf-8"))
    write_json(unfinished / CONFIG, {**config, "base_model_name_or_path": BASE_FOLDER})
    write_atomic(unfinished / "README.md", model_card(work, arm, reward=reward))
    unfinished.replace(folder)


def model_card(work: Workspace, arm: Arm, *, reward: bool) -> str:
    """Return the model card of an arm's policy, or of its reward model, as Markdown."""
    template = Environment(
        autoescape=False,  # Markdown, not a web page
        keep_trailing_newline=True,
        undefined=StrictUndefined,
    ).from_string((files("ethosteer.study") / MODEL_CARD).read_text("utf-8"))
    results = results_from_json((work.path(work.plan.comparison) / RESULTS).read_text("utf-8"))
    return template.render(
        arm=arm,
        reward=reward,
        study=work.config.name,
        question=work.config.question,
        base=work.config.base.model,
        folder=BASE_FOLDER,
        card=stored_set(work, arm.name).card,
        result=next(
            result for result in results.arms if (result.arm, result.seed) == (arm.name, arm.seed)
        ),
        scale=read_scale(work.path(work.plan.rewards[arm])),
        template=work.config.data.template,
        model_class="AutoModelForSequenceClassification" if reward else "AutoModelForCausalLM",
    )
