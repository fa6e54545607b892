"""The seed variance of one arm, moderated by that of the arms beside it.

With three seeds an arm's variance among seeds has two degrees of freedom, and a test that relies on
them alone has little power, whatever its form. Arms that are trained alike on other data vary alike
as a rule, but not always: a variance pooled over arms errs where a single arm varies most. So an
arm's seed variance is here the larger of its estimate and the pooled one, with degrees of freedom
between the two; an arm that varies more than the others do (F test) keeps its estimate and its
degrees of freedom. ``python -m tests.statistics.simulation`` shows the error rates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ethosteer.statistics.from_half import DistanceDifference
from ethosteer.statistics.paired import Difference
from ethosteer.statistics.uncertainty import Uncertainty

Testable = Difference | DistanceDifference

FEWEST_SEEDS = 3
"""With two seeds an arm that varies more than the others can hardly be told from them."""
UNLIKE = 0.1
"""The level of the F test by which an arm varies more than the others do."""


def with_moderated_errors(differences: Sequence[Testable], independent: int) -> list[Testable]:
    """Moderate the errors of differences that are alike, such as of arms from one control.

    ``independent`` is the number of their models less one: against a control all arms are
    independent, and among all pairs of arms one fewer.
    """
    simple = [item for item in differences if isinstance(item, Difference)]
    if len(simple) == len(differences):
        return list(_with_errors(simple, independent))
    distances = [item for item in differences if isinstance(item, DistanceDifference)]
    u = _with_errors([item.u for item in distances], independent)
    v = _with_errors([item.v for item in distances], independent)
    return [replace(item, u=a, v=b) for item, a, b in zip(distances, u, v, strict=True)]


def _with_errors(differences: Sequence[Difference], independent: int) -> list[Difference]:
    errors = moderated([item.error for item in differences], independent)
    for_equivalence = moderated([item.equivalence_error for item in differences], independent)
    return [
        replace(item, error=error, equivalence_error=equivalence_error)
        for item, error, equivalence_error in zip(differences, errors, for_equivalence, strict=True)
    ]


def moderated(errors: Sequence[Uncertainty], independent: int) -> list[Uncertainty]:
    """Moderate the seed variances of errors; those of fewer than three seeds stay as they are."""
    from scipy.stats import f as f_distribution

    several = [index for index, error in enumerate(errors) if error.seed_df >= FEWEST_SEEDS - 1]
    independent = min(independent, len(several))
    results = list(errors)
    if independent < 2:
        return results
    # The interaction is known from all items, so that only what exceeds it is pooled.
    excess = {i: errors[i].seed_variance - errors[i].interaction_variance for i in several}
    total = sum(excess.values())
    for index in several:
        error = errors[index]
        interaction, seed_df = error.interaction_variance, error.seed_df
        of_others = interaction + max((total - excess[index]) / (len(several) - 1), 0.0)
        largest_ratio = f_distribution.isf(UNLIKE, seed_df, seed_df * (independent - 1))
        if error.seed_variance <= largest_ratio * of_others:
            results[index] = replace(
                error,
                seed_variance=max(error.seed_variance, interaction + total / len(several)),
                # The geometric mean of an arm's degrees of freedom and those of all arms together.
                seed_df=seed_df * independent**0.5,
            )
    return results
