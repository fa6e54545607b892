"""A Bradley-Terry ranking of answer sources, with its error over prompts and annotators.

Judgements of one prompt depend on each other, and so do those of one annotator. The variance of
strengths is two-way cluster-robust (Cameron, Gelbach & Miller 2011): that over prompts, plus that
over annotators, less that over both crossed. The first two are jackknife variances (CR3; Bell &
McCaffrey 2002), and the first is at least the variance of independent judgements by the model,
since residuals say nothing where all judgements agree. With few annotators the variance over them
is itself poorly known, so both enter ``Uncertainty`` as crossed random effects, whose degrees of
freedom are the numbers of prompts and annotators less one. The variances over annotators are not
moderated by those of other sources, as seed variances of arms are: where annotators differ about
one source alone, 95 % intervals of its differences would cover 91 to 92 %.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from ethosteer.results.comparisons import Comparison
from ethosteer.results.estimates import Estimate
from ethosteer.results.preferences import Ranking, Strength
from ethosteer.statistics.davidson import DavidsonFit, Ints, fit_davidson
from ethosteer.statistics.metrics import Floats
from ethosteer.statistics.paired import LEVEL, Difference
from ethosteer.statistics.uncertainty import UNKNOWN, Uncertainty
from ethosteer.statistics.verdicts import Rules, family_decisions

FAMILY = "all pairs of answer sources"
STRENGTH = "strength"
PREFERENCES = "preferences"
"""What comparisons of sources have as their metric and benchmark."""


@dataclass(frozen=True)
class Comparisons:
    """Judgements of two answers each, ``[judgements]`` per field.

    ``first`` and ``second`` index ``sources``; ``outcomes`` is 1 where the first answer was
    preferred, -1 where the second was, 0 for a tie. ``prompts`` and ``annotators`` number the
    clusters.
    """

    sources: tuple[str, ...]
    first: Ints
    second: Ints
    outcomes: Ints
    prompts: Ints
    annotators: Ints

    def __len__(self) -> int:
        """Return the number of judgements."""
        return len(self.outcomes)

    def subset(self, sources: Sequence[int]) -> Comparisons:
        """Return the judgements of both answers from ``sources``, which are numbered anew."""
        number = np.full(len(self.sources), -1)
        number[list(sources)] = np.arange(len(sources))
        first, second = number[self.first], number[self.second]
        kept = (first >= 0) & (second >= 0)
        return Comparisons(
            tuple(self.sources[source] for source in sources),
            first[kept],
            second[kept],
            self.outcomes[kept],
            self.prompts[kept],
            self.annotators[kept],
        )

    def components(self) -> list[list[int]]:
        """Return the sets of sources that judgements link, the largest first."""
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        size = len(self.sources)
        edges = coo_array((np.ones(len(self)), (self.first, self.second)), shape=(size, size))
        count, labels = connected_components(edges, directed=False)
        members = [np.flatnonzero(labels == label).tolist() for label in range(count)]
        return sorted(members, key=len, reverse=True)


@dataclass(frozen=True)
class StrengthErrors:
    """The error of fitted strengths: covariances ``[sources, sources]`` over kinds of clusters.

    ``model`` is that of independent judgements, ``cells`` that over prompts and annotators crossed.
    ``prompts_of`` and ``annotators_of`` are the numbers of clusters that a source occurs in.
    """

    model: Floats
    prompts: Floats
    annotators: Floats
    cells: Floats
    prompts_of: Ints
    annotators_of: Ints

    def clusters(self, sources: Sequence[int]) -> tuple[int, int]:
        """Return the numbers of prompts and annotators of the source that has the fewest."""
        chosen = list(sources)
        return int(self.prompts_of[chosen].min()), int(self.annotators_of[chosen].min())

    def uncertainty(self, contrast: Floats, sources: Sequence[int]) -> Uncertainty:
        """Return the uncertainty of ``contrast [sources]`` of the strengths.

        Its degrees of freedom are by the clusters of ``sources``, those that the contrast is of.
        UNKNOWN with a single prompt; with a single annotator the error is over prompts alone.
        """
        prompts, annotators = self.clusters(sources)
        if prompts < 2:
            return UNKNOWN
        by_prompt = max(_variance(self.prompts, contrast), _variance(self.model, contrast))
        if annotators < 2:
            return Uncertainty(by_prompt, prompts - 1.0)
        return Uncertainty(
            by_prompt,
            prompts - 1.0,
            _variance(self.annotators, contrast),
            annotators - 1.0,
            _variance(self.cells, contrast),
        )


def strength_errors(data: Comparisons, fit: DavidsonFit) -> StrengthErrors:
    """Return the errors of a fit to ``data``, over prompts and annotators."""
    p, centred = fit.moments(data.first, data.second)
    outcome = 1 - data.outcomes  # 1, 0, -1 -> the position of win, tie, loss
    scores = centred[np.arange(len(data)), outcome]
    informations = np.einsum("py,pya,pyb->pab", p, centred, centred, optimize=True)
    cells = data.prompts * (int(data.annotators.max()) + 1) + data.annotators

    def of_strengths(covariance: Floats) -> Floats:
        return np.asarray(fit.basis @ covariance[:-1, :-1] @ fit.basis.T)

    def over(clusters: Ints) -> Floats:
        return of_strengths(_jackknife(fit.information, scores, informations, clusters))

    def clusters_of(clusters: Ints) -> Ints:
        pairs = np.stack([np.r_[data.first, data.second], np.r_[clusters, clusters]])
        return np.bincount(np.unique(pairs, axis=1)[0], minlength=len(data.sources))

    inverse = np.asarray(np.linalg.inv(fit.information), dtype=np.float64)
    crossed = _sums(scores, cells) @ inverse
    return StrengthErrors(
        of_strengths(inverse),
        over(data.prompts),
        over(data.annotators),
        of_strengths(crossed.T @ crossed),
        clusters_of(data.prompts),
        clusters_of(data.annotators),
    )


def _jackknife(information: Floats, scores: Floats, informations: Floats, clusters: Ints) -> Floats:
    """Return the jackknife covariance of coefficients over clusters, to first order.

    Leaving cluster g out changes the coefficients by ``(I - I_g)^-1 s_g``. Where a cluster has
    nearly all information on a coefficient, what is left of it counts as 1 / G of all.
    """
    sums, parts = _sums(scores, clusters), _sums(informations, clusters)
    count = len(sums)
    # in coordinates where all information is the identity, a cluster's share is its leverage
    values, vectors = np.linalg.eigh(information)
    root = vectors / np.sqrt(values)
    leverages, axes = np.linalg.eigh(root.T @ parts @ root)
    left = np.maximum(1 - leverages, 1 / count)
    changes = (np.einsum("gab,gb->ga", axes.transpose(0, 2, 1), sums @ root) / left)[:, :, None]
    changes = (axes @ changes)[:, :, 0] @ root.T
    return np.asarray((count - 1) / count * changes.T @ changes)


def _sums(values: Floats, clusters: Ints) -> Floats:
    """Return the sums of ``values [judgements, ...]`` by cluster."""
    _, index = np.unique(clusters, return_inverse=True)
    sums = np.zeros((int(index.max()) + 1, *values.shape[1:]))
    np.add.at(sums, index, values)
    return sums


def _variance(covariance: Floats, contrast: Floats) -> float:
    return max(float(contrast @ covariance @ contrast), 0.0)


def rank_sources(data: Comparisons, rules: Rules) -> Ranking:
    """Rank the sources of at least one judgement and compare all pairs of them.

    Sources that no judgement links, directly or through others, are ranked apart and not compared.
    All comparisons are one family, corrected for multiple testing as ``rules`` say.
    """
    strengths: list[Strength] = []
    ties: list[float] = []
    pairs: list[tuple[str, str]] = []
    differences: list[Difference] = []
    sizes: list[tuple[int, int]] = []
    for members in data.components():
        if len(members) < 2:
            continue
        linked = data.subset(members)
        fit = fit_davidson(_counts(linked))
        errors = strength_errors(linked, fit)
        strengths += _strengths(linked, fit, errors, len(ties))
        ties.append(fit.nu)
        order = np.argsort(-fit.strengths, kind="stable")
        for a, b in combinations(order.tolist(), 2):
            pairs.append((linked.sources[a], linked.sources[b]))
            differences.append(_difference(linked, fit, errors, a, b))
            sizes.append(errors.clusters((a, b)))
    return Ranking(
        tuple(strengths),
        _comparisons(pairs, differences, sizes, rules),
        tuple(ties),
        len(data),
        len(np.unique(data.prompts)),
        len(np.unique(data.annotators)),
    )


def _counts(data: Comparisons) -> Floats:
    size = len(data.sources)
    counts = np.zeros((size, size, 3))
    np.add.at(counts, (data.first, data.second, 1 - data.outcomes), 1.0)
    return counts


def _strengths(
    data: Comparisons, fit: DavidsonFit, errors: StrengthErrors, component: int
) -> list[Strength]:
    """Return the sources of one component, the strongest first."""
    size = len(data.sources)
    found = []
    for source in np.argsort(-fit.strengths, kind="stable").tolist():
        as_first, as_second = data.first == source, data.second == source
        results = np.r_[data.outcomes[as_first], -data.outcomes[as_second]]
        contrast = np.eye(size)[source] - 1 / size
        half = errors.uncertainty(contrast, [source]).quantile((1 + LEVEL) / 2)
        value = float(fit.strengths[source])
        shares = [_share(bound, fit.nu) for bound in (value, value - half, value + half)]
        found.append(
            Strength(
                data.sources[source],
                Estimate(value, value - half, value + half, len(results)),
                Estimate(shares[0], shares[1], shares[2], len(results)),
                int((results == 1).sum()),
                int((results == 0).sum()),
                int((results == -1).sum()),
                component,
            )
        )
    return found


def _share(strength: float, nu: float) -> float:
    """Return the share won against strength 0, ties counted as half."""
    win, loss = np.exp(strength / 2), np.exp(-strength / 2)
    return float((win + nu / 2) / (win + nu + loss))


def _difference(
    data: Comparisons, fit: DavidsonFit, errors: StrengthErrors, a: int, b: int
) -> Difference:
    contrast = np.zeros(len(data.sources))
    contrast[[a, b]] = 1, -1
    error = errors.uncertainty(contrast, (a, b))
    involved = np.isin(data.first, (a, b)) | np.isin(data.second, (a, b))
    value = float(contrast @ fit.strengths)
    return Difference(
        value,
        int(involved.sum()),
        value,
        error,
        error,
        informative=float(errors.clusters((a, b))[0]),
    )


def _comparisons(
    pairs: Sequence[tuple[str, str]],
    differences: Sequence[Difference],
    sizes: Sequence[tuple[int, int]],
    rules: Rules,
) -> tuple[Comparison, ...]:
    """Correct all differences as one family; ``sizes`` are their prompts and annotators."""
    decisions = family_decisions(differences, ["higher"] * len(differences), rules)
    return tuple(
        Comparison(
            benchmark=PREFERENCES,
            metric=STRENGTH,
            a=a,
            b=b,
            difference=difference.estimate,
            p=difference.p,
            adjusted_p=decision.adjusted_p,
            items=difference.items,
            clusters=prompts,
            seeds=annotators,
            minimum_detectable=decision.minimum_detectable[0],
            verdict=decision.verdict,
            family=FAMILY,
            equivalence_p=decision.equivalence_p,
            decision_low=decision.low,
            decision_high=decision.high,
            decision_level=decision.level,
            minimum_detectable_low=decision.minimum_detectable[1],
            minimum_detectable_high=decision.minimum_detectable[2],
        )
        for (a, b), difference, (prompts, annotators), decision in zip(
            pairs, differences, sizes, decisions, strict=True
        )
    )
