"""An arm as files that stock libraries load: a PEFT adapter, its base, and a model card."""

from __future__ import annotations

import json
import shutil
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, StrictUndefined

from ethosteer.errors import InputError
from ethosteer.files import (
    DISK_FULL,
    publish,
    remove,
    temporary_name,
    write_atomic,
    writing,
)
from ethosteer.models.reward_models import NORMALISATION, read_scale, set_padding
from ethosteer.models.stock import save_base, write_adapter
from ethosteer.records import Arm
from ethosteer.report import printable
from ethosteer.report.markdown import escape
from ethosteer.settings import StudySettings
from ethosteer.study.run import Study

BASE_FOLDER = "base"
MODEL_CARD = "model_card.md.j2"


def find_arm(settings: StudySettings, name: str, seed: int | None) -> Arm:
    """Return an arm of a study; ``seed`` is the study's first where it is None.

    Raises InputError where the study has no such arm.
    """
    arm = Arm(name, settings.seeds[0] if seed is None else seed)
    if arm not in settings.arm_seeds():
        raise InputError(
            f"no arm {name!r} with seed {arm.seed}; arms: {', '.join(settings.arms)}; "
            f"seeds: {', '.join(map(str, settings.seeds))}"
        )
    return arm


def export_arm(
    study: Study, name: str, seed: int | None, folder: Path, *, reward: bool = False
) -> None:
    """Write one arm's policy, or its reward model, to ``folder`` with base and model card.

    It is one adapter for the raw base, which holds the fine-tuning of the base where there was one.
    ``seed`` is the study's first where it is None. Raises InputError for an unknown arm, an
    unfinished study, or a folder that exists.
    """
    settings, plan, store = study.settings, study.plan, study.store
    arm = find_arm(settings, name, seed)
    if folder.exists():
        raise InputError(f"{folder}: exists already; name a new folder")
    if not store.has(plan.comparison):
        raise InputError(f"study {settings.name} is not finished; run it first")
    steering = plan.steering[arm]
    source = (
        store.path(steering.reward)
        if reward
        else steering.checkpoint(store.path(steering), settings.steer.select)
    )
    # Filled under a temporary name, so that a folder with the final name is complete.
    unfinished = temporary_name(folder)
    with writing(folder):
        remove(unfinished)
        unfinished.mkdir(parents=True)
    with writing(folder, DISK_FULL):
        _fill(unfinished, study, arm, source, reward=reward)
    with writing(folder):
        publish(unfinished, folder)


def _fill(folder: Path, study: Study, arm: Arm, source: Path, *, reward: bool) -> None:
    """Fill a folder with an arm's adapter, from ``source``, its base and its model card."""
    base = folder / BASE_FOLDER
    write_adapter(source, folder, BASE_FOLDER, "SEQ_CLS" if reward else "CAUSAL_LM")
    save_base(study.settings.base, base)
    if reward:
        shutil.copy(source / NORMALISATION, folder)
        set_padding(base, study.plan.prompts.template(study.workspace).end_of_turn)
    write_atomic(folder / "README.md", model_card(study, arm, reward=reward))


def model_card(study: Study, arm: Arm, *, reward: bool) -> str:
    """Return the model card of an arm's policy, or of its reward model, as Markdown."""
    settings, store = study.settings, study.store
    steering = study.plan.steering[arm]
    results = store.load(study.plan.comparison).arms
    dialogues = study.plan.prompts.template(study.workspace)
    page = card_environment().from_string(
        (files("ethosteer.study") / MODEL_CARD).read_text("utf-8")
    )
    return page.render(
        arm=arm,
        reward=reward,
        study=settings.name,
        question=settings.question,
        base=settings.base.model,
        quantise=settings.base.quantise,
        is_finetuned=settings.finetune.enabled,
        row_end=dialogues.decoded_end_of_turn,
        folder=BASE_FOLDER,
        card=store.load(steering.reward.pairs).card,
        result=next(
            result for result in results if (result.arm, result.seed) == (arm.name, arm.seed)
        ),
        scale=read_scale(store.path(steering.reward)),
        template=settings.data.template,
        model_class="AutoModelForSequenceClassification" if reward else "AutoModelForCausalLM",
    )


def _code(text: str) -> str:
    """Return a code span of Markdown, which ends where it should, on one line."""
    return f"`{' '.join(text.replace('`', chr(39)).split())}`"


def card_environment() -> Environment:
    """Return the environment of the model card.

    Its filters write what comes from outside: ``text`` as Markdown that shows it as it is, ``code``
    as a code span, ``quoted`` as a string of YAML.
    """
    environment = Environment(
        autoescape=False,  # Markdown, not a web page
        keep_trailing_newline=True,
        undefined=StrictUndefined,
    )
    environment.filters |= {
        "text": lambda text: escape(printable(text)),
        "code": lambda text: _code(printable(text)),
        "quoted": json.dumps,
    }
    return environment
