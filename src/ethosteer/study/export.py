"""An arm as files that stock tools load: a PEFT adapter, its base, and a model card."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from jinja2 import Environment

from ethosteer.errors import InputError
from ethosteer.files import read_json, write_atomic, write_json
from ethosteer.models.adapters import CONFIG, WEIGHTS
from ethosteer.models.reward_models import NORMALISATION, read_scale
from ethosteer.records import Arm
from ethosteer.results import ArmResult, StudyResults
from ethosteer.stages.compare import RESULTS
from ethosteer.stages.curate import stored_set
from ethosteer.stages.workspace import MERGED, Workspace

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
    work: Workspace, name: str, seed: int | None, folder: Path, *, reward: bool = False
) -> None:
    """Write one arm's policy, or its reward model, to ``folder`` with base and model card.

    Raises InputError for an unknown arm, an unfinished study, or a folder that is there already.
    """
    arm = _find_arm(work, name, seed)
    if folder.exists():
        raise InputError(f"{folder}: is there already; name a new folder")
    if work.missing([work.plan.comparison]):
        raise InputError(f"study {work.config.name} is not finished; run it first")
    source = work.path(work.plan.rewards[arm]) if reward else work.steered(arm)
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    shutil.copytree(work.path(work.plan.finetuning) / MERGED, part / BASE_FOLDER)
    shutil.copy(source / WEIGHTS, part)
    if reward:
        shutil.copy(source / NORMALISATION, part)
    stored = json.loads((source / CONFIG).read_text("utf-8"))
    write_json(part / CONFIG, {**stored, "base_model_name_or_path": BASE_FOLDER})
    write_atomic(part / "README.md", _card(work, arm, reward=reward))
    part.rename(folder)


def _find_arm(work: Workspace, name: str, seed: int | None) -> Arm:
    arm = Arm(name, work.config.seeds[0] if seed is None else seed)
    if arm not in work.plan.rewards:
        known = ", ".join(work.config.arms)
        seeds = ", ".join(map(str, work.config.seeds))
        raise InputError(f"no arm {name!r} with seed {arm.seed}; arms: {known}; seeds: {seeds}")
    return arm


def _card(work: Workspace, arm: Arm, *, reward: bool) -> str:
    template = Environment(autoescape=False, keep_trailing_newline=True).from_string(CARD)
    results = read_json(work.path(work.plan.comparison) / RESULTS, StudyResults)
    return template.render(
        arm=arm,
        reward=reward,
        study=work.config.name,
        question=work.config.question,
        base=work.config.base.model,
        folder=BASE_FOLDER,
        card=stored_set(work, arm.name).card,
        result=_result(results, arm),
        scale=read_scale(work.path(work.plan.rewards[arm])),
        template=work.config.data.template,
        kind="AutoModelForSequenceClassification" if reward else "AutoModelForCausalLM",
    )


def _result(results: StudyResults, arm: Arm) -> ArmResult:
    return next(own for own in results.arms if (own.arm, own.seed) == (arm.name, arm.seed))
