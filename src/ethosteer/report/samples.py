"""Sample answers: every model's answer to the same prompts, with its rewards."""

from __future__ import annotations

from ethosteer.report.blocks import Column, Table
from ethosteer.report.numbers import signed
from ethosteer.report.table import Numbers, table
from ethosteer.report.view import View
from ethosteer.results.study import Sample


def sample_table(view: View, sample: Sample, index: int) -> Table:
    """Return every model's answer to one prompt, with its reward under each reward model."""
    reward_models = list(
        dict.fromkeys(name for answer in sample.answers for name in answer.rewards)
    )
    order = {model: position for position, model in enumerate(view.models)}
    answers = sorted(sample.answers, key=lambda answer: order.get(answer.model, len(order)))
    return table(
        f"Prompt {index}",
        (
            "model",
            Column("answer", "long"),
            *(Numbers(f"reward: {name}", signed, 2) for name in reward_models),
        ),
        [
            (answer.model, answer.text, *(answer.rewards.get(name) for name in reward_models))
            for answer in answers
        ],
        note=sample.prompt,
    )
