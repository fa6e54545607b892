"""Every model under every reward model: where values agree, conflict, or a reward is exploited."""

from __future__ import annotations

from collections.abc import Sequence

from ethosteer.report.blocks import Block, Bullets, Cell, Figures, Table, Text, Tint, present
from ethosteer.report.curves import reward_model_figures
from ethosteer.report.numbers import count, interval, listing, number, signed
from ethosteer.report.prose import paragraph, paragraphs
from ethosteer.report.reward_models import CHANCE, doubts, is_sound, reward_unit
from ethosteer.report.table import Numbers, Write, cell, table
from ethosteer.report.view import View
from ethosteer.results.estimates import Estimate
from ethosteer.results.reward_models import CrossCell

REWARD_STEPS = (0.5, 1.0)
ACCURACY_STEPS = (0.1, 0.25)
"""How far a cell lies from its reference before its tint grows stronger, and stronger again."""


def reward_blocks(view: View) -> tuple[Block, ...]:
    """Return the matrices of rewards and accuracies with what they show; nothing without them."""
    rewards, accuracies = reward_matrix(view), accuracy_matrix(view)
    curves = reward_model_figures(view)
    below_chance = [
        result for result in view.results.cross_accuracies if shown_lead(view, result) < 0
    ]
    contradictions = Bullets(
        "Datasets that contradict each other", paragraphs("contradictions", results=below_chance)
    )
    return present(
        Text(paragraph("rewards", start=view.start)) if rewards else None,
        _conflicts(view) if rewards else None,
        rewards,
        Text(paragraph("reward_curves", doubtful=list(doubts(view)))) if curves else None,
        Figures(curves),
        accuracies,
        contradictions if contradictions.items else None,
    )


def reward_matrix(view: View) -> Table | None:
    """Return every model's mean reward under every reward model; None where none was measured."""
    results = {(result.name, result.reward_model): result for result in view.results.cross_rewards}
    models = [model for model in view.models if any(name == model for name, _ in results)]
    if not models:
        return None
    rows = []
    for model in models:
        trained_on = view.reward_model_of(model)
        small = ["control"] if model == view.control else []
        if trained_on and trained_on != model:
            small = [f"reward model: {trained_on}"]
        cells = [
            signed_cell(
                result.estimate,
                signed,
                shown_change(view, result),
                REWARD_STEPS,
                framed=name == trained_on,
            )
            if (result := results.get((model, name)))
            else None
            for name in view.reward_models
        ]
        rows.append((cell(model, small=small), *cells))
    sizes = sorted({result.estimate.n for result in results.values()})
    prompts = " to ".join(count(size) for size in dict.fromkeys((sizes[0], sizes[-1])))
    return table(
        "Mean reward of each model's answers",
        ("answers of", *(Numbers(f"reward: {name}") for name in view.reward_models)),
        rows,
        note=f"Normalised ({reward_unit(view)}), over the same {prompts} held-out prompts for all "
        "models, with unadjusted 95 % confidence intervals. Framed: the arm's own reward model. "
        f"Tints grow stronger for differences from {view.start} beyond {REWARD_STEPS[0]:g} and "
        f"{REWARD_STEPS[1]:g}.{_untinted(view)}",
    )


def accuracy_matrix(view: View) -> Table | None:
    """Return every reward model's accuracy on every dataset's held-out pairs; None without."""
    results = {
        (result.name, result.reward_model): result for result in view.results.cross_accuracies
    }
    sizes = {result.name: result.estimate.n for result in results.values()}
    if not sizes:
        return None
    found = doubts(view)
    rows = []
    for dataset, size in sizes.items():
        cells = [
            signed_cell(
                result.estimate,
                number,
                shown_lead(view, result),
                ACCURACY_STEPS,
                framed=name == dataset,
                flags=[found[name].reason] if name == dataset and name in found else [],
            )
            if (result := results.get((dataset, name)))
            else None
            for name in view.reward_models
        ]
        rows.append((cell(dataset, small=[f"{count(size)} pairs"]), *cells))
    return table(
        "Accuracy of each reward model on each dataset's held-out pairs",
        ("pairs of", *(Numbers(f"reward: {name}") for name in view.reward_models)),
        rows,
        note="Share of pairs whose chosen response has the higher reward, with its 95 % confidence "
        f"interval. Above chance ({CHANCE:g}; ↑, blue), two datasets agree on what is better; "
        "below it (↓, orange), they contradict each other. Framed: a reward model on its own "
        f"dataset.{_untinted(view)}",
    )


def _untinted(view: View) -> str:
    """Return a sentence on the reward models whose columns have no tint, "" where all have."""
    names = listing(list(doubts(view)))
    return f" Without tints: rewards from which nothing is concluded ({names})." if names else ""


def shown_change(view: View, result: CrossCell) -> float:
    """Return how far a model's reward lies from that of the shared base; 0 where not shown.

    Controls have no comparison, so theirs is 0, and so is a reward from which nothing is concluded.
    """
    if not is_sound(view, result.reward_model):
        return 0.0
    for comparison in view.results.reward_comparisons:
        if (comparison.benchmark, comparison.a) == (result.reward_model, result.name):
            shown = comparison.verdict in ("better", "worse")
            return comparison.difference.value if shown else 0.0
    return 0.0


def shown_lead(view: View, result: CrossCell) -> float:
    """Return how far an accuracy lies from chance; 0 where its interval includes chance.

    That of a reward model from which nothing is concluded is 0 too.
    """
    excludes_chance = result.estimate.low > CHANCE or result.estimate.high < CHANCE
    shown = excludes_chance and is_sound(view, result.reward_model)
    return result.estimate.value - CHANCE if shown else 0.0


def signed_cell(
    estimate: Estimate,
    write: Write,
    change: float,
    steps: tuple[float, float],
    *,
    framed: bool,
    digits: int = 2,
    flags: Sequence[str] = (),
) -> Cell:
    """Return a cell whose arrow and tint repeat the sign and size of ``change``."""
    arrow = "↑ " if change > 0 else "↓ " if change < 0 else ""
    # within the first step the weakest tint, beyond the last the strongest
    strength = 1 + sum(abs(change) > step for step in steps)
    tints: tuple[Tint, Tint, Tint] = (1, 2, 3) if change > 0 else (-1, -2, -3)
    return cell(
        arrow + write(estimate.value, digits),
        small=[interval(estimate, digits), *(["own"] if framed else [])],
        tint=tints[strength - 1] if change else 0,
        ring=framed,
        flags=flags,
    )


def falls(view: View, arm: str) -> list[CrossCell]:
    """Return an arm's results under the other reward models under which it fell significantly."""
    return [
        result
        for result in view.results.cross_rewards
        if result.name == arm
        and result.reward_model != view.reward_model_of(arm)
        and shown_change(view, result) < 0
    ]


def rises(view: View, arm: str) -> CrossCell | None:
    """Return an arm's result under its own reward model if it rose significantly."""
    for result in view.results.cross_rewards:
        if (result.name, result.reward_model) == (arm, view.reward_model_of(arm)):
            return result if shown_change(view, result) > 0 else None
    return None


def _conflicts(view: View) -> Block | None:
    """Return the arms that rise under their own reward model and fall under another.

    None where no arm has another reward model to fall under.
    """
    if len(view.reward_models) < 2 or not any(map(view.reward_model_of, view.arms)):
        return None
    sound = [name for name in view.reward_models if is_sound(view, name)]
    results = [(arm, rises(view, arm), falls(view, arm)) for arm in view.arms]
    conflicts = [(arm, rise, fallen) for arm, rise, fallen in results if rise and fallen]
    sentences = paragraphs(
        "reward_conflicts",
        conflicts=conflicts,
        start=view.start,
        sound=sound,
        doubtful=list(doubts(view)),
    )
    return Bullets("Conflicts between rewards", sentences) if conflicts else Text(sentences[0])
