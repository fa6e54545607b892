"""Every model under every reward model: where values agree, conflict, or a reward is exploited."""

from __future__ import annotations

from collections.abc import Iterable

from ethosteer.records import CONTROLS, FINETUNED
from ethosteer.report.blocks import Block, Bullets, Cell, Column, Figures, Table, Text, Tint
from ethosteer.report.curves import judged_figures
from ethosteer.report.numbers import NONE, count, interval, listing, number, signed
from ethosteer.report.view import View
from ethosteer.results import CrossCell, Estimate

CHANCE = 0.5
REWARD_STEPS = (0.5, 1.0)
ACCURACY_STEPS = (0.1, 0.25)
"""How far a cell lies from its reference before its tint grows stronger, and stronger again."""

READING = (
    "An arm that rises (↑, blue) under its own reward model and falls (↓, orange) under another's "
    "has paid for one value with another, or exploits its own reward model without having become "
    "better. Arrows and tints stand only where the difference to "
    f"{FINETUNED}, from which every arm starts, is shown: prompt by prompt on the same prompts, "
    "corrected for the number of arms under each reward model."
)
NO_CONFLICT = (
    f"No arm's own reward rises clearly above {FINETUNED} while another reward model's falls "
    "clearly below it."
)
COURSES = (
    "How that came about: the mean reward of each arm's answers to its steering prompts, under "
    "every reward model, over the steps; all on the same scales."
)
UNCORRECTED = "Intervals are of one number each, uncorrected."


def cross_blocks(view: View) -> tuple[Block, ...]:
    """Return the matrices of rewards and of accuracies, with what they show; nothing without."""
    rewards, accuracies = reward_matrix(view), accuracy_matrix(view)
    figures = judged_figures(view)
    return (
        *((Text(READING), *_conflicts(view), rewards) if rewards else ()),
        *((Text(COURSES), Figures(figures)) if figures else ()),
        *((accuracies, *_opposed(view)) if accuracies else ()),
    )


def reward_matrix(view: View) -> Table | None:
    """Return every model's mean reward under every reward model; None where none was measured."""
    cells = _by_place(view.results.cross_rewards)
    models = [name for name in view.models if any(model == name for model, _ in cells)]
    if not models:
        return None
    rows = tuple(
        (
            _head(view, model),
            *(_reward_cell(view, cells, model, judge) for judge in view.judges),
        )
        for model in models
    )
    sizes = sorted({each.estimate.n for each in view.results.cross_rewards})
    amount = " to ".join(count(size) for size in dict.fromkeys((sizes[0], sizes[-1])))
    return Table(
        title="Mean reward of each model's answers",
        columns=(
            Column("answers of"),
            *(Column(f"reward: {name}", "number") for name in view.judges),
        ),
        rows=rows,
        note=f"Normalised (sd of base answers), over the same {amount} held-out prompts for all "
        "models, with 95 % intervals. Framed: the arm's own reward model. A stronger tint is a "
        f"difference beyond {REWARD_STEPS[0]:g}, and beyond {REWARD_STEPS[1]:g}, from {FINETUNED}. "
        f"{UNCORRECTED}",
    )


def accuracy_matrix(view: View) -> Table | None:
    """Return every reward model's accuracy on every dataset's held-out pairs; None without."""
    cells = _by_place(view.results.cross_accuracies)
    sizes = {cell.name: cell.estimate.n for cell in cells.values()}
    if not sizes:
        return None
    return Table(
        title="Accuracy of each reward model on each dataset's held-out pairs",
        columns=(
            Column("pairs of"),
            *(Column(f"reward: {name}", "number") for name in view.judges),
        ),
        rows=tuple(
            (
                Cell(name, (f"{count(sizes[name])} pairs",)),
                *(_accuracy_cell(cells.get((name, judge)), name == judge) for judge in view.judges),
            )
            for name in sizes
        ),
        note="The share of pairs whose chosen response gets the higher reward, with its 95 % "
        f"interval. Clearly above chance ({CHANCE:g}; ↑, blue) two datasets agree on what is "
        "better; clearly below it (↓, orange) they contradict each other. Framed: a reward model "
        "on its own dataset.",
    )


def falling(view: View, arm: str) -> list[CrossCell]:
    """Return the cells of other reward models under which an arm clearly fell."""
    own = view.own_judge(arm)
    found = [
        cell for cell in view.results.cross_rewards if cell.name == arm and cell.reward_model != own
    ]
    return [cell for cell in found if _moved(view, cell) < 0]


def rises(view: View, arm: str) -> CrossCell | None:
    """Return an arm's cell under its own reward model where that clearly rose."""
    own = view.own_judge(arm)
    found = _by_place(view.results.cross_rewards).get((arm, own or ""))
    return found if found and _moved(view, found) > 0 else None


def _conflicts(view: View) -> tuple[Block, ...]:
    """Say which arms' rise is another reward's fall, or that none is."""
    if len(view.judges) < 2 or not any(view.own_judge(arm) for arm in view.arms):
        return ()
    said = []
    for arm in view.arms:
        own, fallen = rises(view, arm), falling(view, arm)
        if own and fallen:
            others = listing([f"{cell.reward_model} ({_written(cell)})" for cell in fallen])
            said.append(
                f"{arm}: under its own reward it rises above {FINETUNED} ({_written(own)}), but "
                f"it falls below it under the reward of {others}."
            )
    title = "Where an arm's own reward rises and another's falls"
    return (Bullets(title, tuple(said)) if said else Text(NO_CONFLICT),)


def _written(cell: CrossCell) -> str:
    return f"{signed(cell.estimate.value, 2)} {interval(cell.estimate, 2)}"


def _opposed(view: View) -> tuple[Block, ...]:
    """Say which reward models contradict another dataset's pairs."""
    said = [
        f"The reward model of {cell.reward_model} prefers the rejected response of "
        f"{cell.name}'s pairs more often than the chosen one: its accuracy there is "
        f"{number(cell.estimate.value, 2)} {interval(cell.estimate, 2)}."
        for cell in view.results.cross_accuracies
        if _side(cell.estimate, CHANCE, CHANCE) < 0
    ]
    return (Bullets("Datasets that contradict each other", tuple(said)),) if said else ()


def _by_place(cells: Iterable[CrossCell]) -> dict[tuple[str, str], CrossCell]:
    return {(cell.name, cell.reward_model): cell for cell in cells}


def _head(view: View, model: str) -> Cell:
    own = view.own_judge(model)
    if model in CONTROLS:
        return Cell(model, ("control",) if model == view.control else ())
    return Cell(model, (f"steered by reward: {own}",) if own and own != model else ())


def _reward_cell(
    view: View, cells: dict[tuple[str, str], CrossCell], model: str, judge: str
) -> Cell:
    cell = cells.get((model, judge))
    if cell is None:
        return Cell(NONE)
    moved, own = _moved(view, cell), view.own_judge(model) == judge
    small = (interval(cell.estimate, 2), *(("own",) if own else ()))
    text = _arrow(moved) + signed(cell.estimate.value, 2)
    return Cell(text, small, tint=_tint(moved, REWARD_STEPS), ring=own)


def _accuracy_cell(cell: CrossCell | None, own: bool) -> Cell:
    if cell is None:
        return Cell(NONE)
    side = _side(cell.estimate, CHANCE, CHANCE)
    moved = side * abs(cell.estimate.value - CHANCE) if side else 0.0
    small = (interval(cell.estimate, 2), *(("own",) if own else ()))
    text = _arrow(moved) + number(cell.estimate.value, 2)
    return Cell(text, small, tint=_tint(moved, ACCURACY_STEPS), ring=own)


def _moved(view: View, cell: CrossCell) -> float:
    """Return how far an arm lies from the fine-tuned control, 0 where that is not shown.

    Controls never moved: nothing was steered.
    """
    for found in view.results.reward_comparisons:
        if (found.benchmark, found.a) == (cell.reward_model, cell.name):
            shown = found.verdict in ("better", "worse")
            return found.difference.value if shown else 0.0
    return 0.0


def _side(estimate: Estimate, low: float, high: float) -> int:
    """Return 1 for an interval above [low, high], -1 for one below, 0 for overlap and for nan."""
    return int(estimate.low > high) - int(estimate.high < low)


def _arrow(moved: float) -> str:
    return "↑ " if moved > 0 else "↓ " if moved < 0 else ""


def _tint(moved: float, steps: tuple[float, float]) -> Tint:
    if moved == 0:
        return 0
    strength = 1 + sum(abs(moved) > step for step in steps)
    tints: dict[int, Tint] = {-3: -3, -2: -2, -1: -1, 1: 1, 2: 2, 3: 3}
    return tints[strength if moved > 0 else -strength]
