"""An arm as files that stock tools load: a PEFT adapter, its base, and a model card."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from jinja2 import Environment

from ethosteer.errors import InputError
from ethosteer.files import write_atomic, write_json
from ethosteer.models.adapters import CONFIG, WEIGHTS
from ethosteer.models.reward_models import NORMALISATION, read_scale
from ethosteer.records import Arm
from ethosteer.study.run import Study

BASE_FOLDER = "base"
CARD = """\
---
library_name: peft
base_model: {{ base }}
tags: [ethosteer, {{ "reward-model" if reward else result.algorithm }}, lora]
---

# {{ arm.name }}, seed {{ arm.seed }} ({{ "reward model" if reward else "steered policy" }})

From the ethosteer study `{{ study }}`: {{ question }}

- Base: `{{ base }}`, fine-tuned on dialogues and merged; it stands in `{{ folder }}/`.
- Preference data: {{ card.name }} ({{ card.source }}, edition {{ card.revision }}, licence
  {{ card.licence }}): {{ card.pairs.train }} training pairs.
- Reward model on held-out pairs: accuracy {{ "%.3f" | format(result.accuracy.value) }}
  (95 % interval {{ "%.3f" | format(result.accuracy.low) }} to
  {{ "%.3f" | format(result.accuracy.high) }}, {{ result.accuracy.n }} pairs).
{%- if reward %}
- Scores become comparable as `{{ "%.6g" | format(scale[0]) }} * score
  + {{ "%.6g" | format(scale[1]) }}` (answers of the base have mean 0 and sd 1).
{%- else %}
- Normalised reward on held-out prompts: {{ "%.3f" | format(result.start.value) }} before,
  {{ "%.3f" | format(result.end.value) }} after {{ result.step }} steps of {{ result.algorithm }};
  KL to the base {{ "%.2f" | format(result.kl.value) }} nats per response.
{%- endif %}
- Prompts are written in the template `{{ template }}`.

```python
from peft import PeftModel
from transformers import {{ kind }}

base = {{ kind }}.from_pretrained("{{ folder }}"{{ ", num_labels=1" if reward else "" }})
model = PeftModel.from_pretrained(base, ".")
```

The model repeats what its base and its data hold, harmful content included. It was made to compare
datasets, not to advise people.
"""


def export_arm(
    study: Study, name: str, seed: int | None, folder: Path, *, reward: bool = False
) -> None:
    """Write one arm's policy, or its reward model, to ``folder`` with base and model card.

    Raises InputError for an unknown arm, an unfinished study, or a folder that is there already.
    """
    settings, plan, store = study.settings, study.plan, study.store
    arm = Arm(name, settings.seeds[0] if seed is None else seed)
    if arm not in plan.steering:
        known = ", ".join(settings.arms)
        seeds = ", ".join(map(str, settings.seeds))
        raise InputError(f"no arm {name!r} with seed {arm.seed}; arms: {known}; seeds: {seeds}")
    if folder.exists():
        raise InputError(f"{folder}: is there already; name a new folder")
    if not store.has(plan.comparison):
        raise InputError(f"study {settings.name} is not finished; run it first")
    steering = plan.steering[arm]
    policy = steering.checkpoint(store.path(steering), settings.steer.select)
    source = store.path(steering.reward) if reward else policy
    unfinished = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(unfinished, ignore_errors=True)
    shutil.copytree(plan.finetuned.merged(store.path(plan.finetuned)), unfinished / BASE_FOLDER)
    shutil.copy(source / WEIGHTS, unfinished)
    if reward:
        shutil.copy(source / NORMALISATION, unfinished)
    stored = json.loads((source / CONFIG).read_text("utf-8"))
    write_json(unfinished / CONFIG, {**stored, "base_model_name_or_path": BASE_FOLDER})
    write_atomic(unfinished / "README.md", _card(study, arm, reward=reward))
    unfinished.rename(folder)


def _card(study: Study, arm: Arm, *, reward: bool) -> str:
    """Return the model card of an arm's policy or reward model, as Markdown."""
    settings, store = study.settings, study.store
    steering = study.plan.steering[arm]
    arms = store.load(study.plan.comparison).arms
    results = {(result.arm, result.seed): result for result in arms}
    template = Environment(autoescape=False, keep_trailing_newline=True).from_string(CARD)
    return template.render(
        arm=arm,
        reward=reward,
        study=settings.name,
        question=settings.question,
        base=settings.base.model,
        folder=BASE_FOLDER,
        card=store.load(steering.reward.pairs).card,
        result=results[arm.name, arm.seed],
        scale=read_scale(store.path(steering.reward)),
        template=settings.data.template,
        kind="AutoModelForSequenceClassification" if reward else "AutoModelForCausalLM",
    )
