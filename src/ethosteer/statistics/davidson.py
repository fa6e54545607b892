"""Davidson's model of paired comparisons with ties, fitted with Jeffreys' penalty.

For sources i and j with strengths s (Davidson 1970):

    P(i preferred) : P(tie) : P(j preferred) = exp(d / 2) : nu : exp(-d / 2),  d = s_i - s_j

It is Bradley and Terry's (1952) where there are no ties. The likelihood is multiplied by the square
root of the determinant of Fisher's information (Jeffreys' prior). This takes the first-order bias
from the estimates (Firth 1993) and keeps them finite where a source won or lost everything
(Kosmidis & Firth 2021); for two sources without ties it adds half a win to either side.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ethosteer.statistics.metrics import Floats

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class DavidsonFit:
    """Davidson's model, fitted to connected sources.

    ``coefficients`` are those of ``basis [sources, sources - 1]``, whose columns are contrasts of
    the strengths, and last log nu; ``information`` is Fisher's, without the penalty's share.
    """

    coefficients: Floats
    basis: Floats
    information: Floats

    @property
    def strengths(self) -> Floats:
        """The sources' strengths, ``[sources]``, of mean 0."""
        return self.basis @ self.coefficients[:-1]

    @property
    def nu(self) -> float:
        """The tie parameter."""
        return float(np.exp(self.coefficients[-1]))

    def moments(self, first: Ints, second: Ints) -> tuple[Floats, Floats]:
        """Return the probabilities ``[pairs, 3]`` of win, tie and loss for pairs of sources.

        And the features of the three less their mean, ``[pairs, 3, coefficients]``.
        """
        return _moments(_features(self.basis, first, second), self.coefficients)


def fit_davidson(counts: Floats) -> DavidsonFit:
    """Fit Davidson's model to ``counts [sources, sources, 3]`` of i preferred to j, tie, j to i.

    Two sources may be counted in either order or both. The sources must be connected.
    """
    from scipy.optimize import minimize

    size = len(counts)
    basis = _contrasts(size)
    first, second = np.nonzero(counts.sum(axis=2))
    observed = counts[first, second]
    totals = observed.sum(axis=1)
    features = _features(basis, first, second)

    def loss(coefficients: Floats) -> tuple[float, Floats]:
        p, centred = _moments(features, coefficients)
        information = _information(totals, p, centred)
        # d log det I = tr(I^-1 dI), and the derivative of a covariance is a third central moment
        inverse = np.linalg.inv(information)
        distances = np.einsum("pya,ab,pyb->py", centred, inverse, centred)
        penalty = np.einsum("p,py,py,pya->a", totals, p, distances, centred) / 2
        gradient = np.einsum("py,pya->a", observed, centred) + penalty
        value = float((observed * np.log(p)).sum() + np.linalg.slogdet(information)[1] / 2)
        return -value / totals.sum(), -gradient / totals.sum()

    found = minimize(loss, np.zeros(size), jac=True, method="BFGS", options={"gtol": 1e-10})
    return DavidsonFit(found.x, basis, _information(totals, *_moments(features, found.x)))


def _contrasts(size: int) -> Floats:
    """Return an orthonormal basis of the strengths of mean 0, ``[sources, sources - 1]``."""
    from scipy.linalg import helmert

    return np.asarray(helmert(size).T, dtype=np.float64)


def _features(basis: Floats, first: Ints, second: Ints) -> Floats:
    """Return the features of win, tie and loss, ``[pairs, 3, coefficients]``."""
    features = np.zeros((len(first), 3, len(basis)))
    features[:, 0, :-1] = (basis[first] - basis[second]) / 2
    features[:, 1, -1] = 1.0
    features[:, 2, :-1] = -features[:, 0, :-1]
    return features


def _moments(features: Floats, coefficients: Floats) -> tuple[Floats, Floats]:
    from scipy.special import softmax

    p = np.maximum(softmax(features @ coefficients, axis=1), 1e-300)
    return p, features - np.einsum("py,pya->pa", p, features)[:, None, :]


def _information(totals: Floats, p: Floats, centred: Floats) -> Floats:
    return np.asarray(np.einsum("p,py,pya,pyb->ab", totals, p, centred, centred, optimize=True))
