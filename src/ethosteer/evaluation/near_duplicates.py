"""Near-duplicates among texts, joined to clusters that the statistics take whole.

Published test sets write one scenario several times with few words changed: most statements of
ETHICS justice come in fours that share their beginning, most short ones of ETHICS commonsense in
pairs. Answers to them are not independent, so an interval over single items is too narrow.

Two texts are near-duplicates if the Jaccard similarity of their features is at least
``SIMILARITY``: their words and pairs of adjacent words (Broder 1997, "On the resemblance and
containment of documents"), without those that every text contains, as a prompt's wording.
Clusters are the connected components of near-duplicates and of the groups that are known already.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ethosteer.data.overlap import word_ngrams
from ethosteer.records import Item, PreferencePair

if TYPE_CHECKING:
    from scipy.sparse import csr_array

SIMILARITY = 0.5
"""On ETHICS justice and commonsense 98 % and 94 % of the pairs that are this similar stand within
three rows of each other in the published file. At 0.45 chains of similar items grow: the largest
cluster of ETHICS utilitarianism more than doubles, to 220 of 4,808 items."""

CELLS = 4_000_000
"""Similarities that are held in memory at once, at most."""
COMPARED = 100_000
"""Pairs of texts whose features are compared at once."""
COMMON = (1000, 0.25)
"""A feature is common if it is in the prefixes of more texts than this number and this share."""

Indices = NDArray[np.int64]


def clustered_items(items: Sequence[Item]) -> list[Item]:
    """Return the items with near-duplicates in one group; nothing else of an item changes."""
    texts = [(*item.contexts, *item.continuations) for item in items]
    clusters = clusters_of_groups(texts, [item.group for item in items])
    return [replace(item, group=clusters[item.group]) for item in items]


def clusters_of_pairs(pairs: Sequence[PreferencePair]) -> dict[str, str]:
    """Map the group of every preference pair to its cluster."""
    texts = [(pair.prompt, pair.chosen, pair.rejected) for pair in pairs]
    return clusters_of_groups(texts, [pair.group for pair in pairs])


def clusters_of_groups(texts: Sequence[Iterable[str]], groups: Sequence[str]) -> dict[str, str]:
    """Map every group to its cluster, which is named by its alphabetically first group.

    ``texts`` are what each item consists of, ``groups`` its group. The order of items does not
    matter.
    """
    names, group = np.unique(np.array(list(groups), dtype=object), return_inverse=True)
    labels = _joined(texts, group)
    first = np.full(len(names), len(names))
    np.minimum.at(first, labels, group)
    return dict(zip(groups, names[first[labels]].tolist(), strict=True))


class _Clusters:
    """The cluster of each text so far, ``labels [texts]``."""

    def __init__(self, labels: Indices) -> None:
        self.labels = labels

    def apart(self, first: Indices, second: Indices) -> NDArray[np.bool_]:
        """Return which pairs of texts are not in one cluster."""
        differ: NDArray[np.bool_] = self.labels[first] != self.labels[second]
        return differ

    def join(self, first: Indices, second: Indices) -> None:
        """Join the clusters of every pair of texts."""
        from scipy.sparse import coo_array  # slow to import
        from scipy.sparse.csgraph import connected_components

        if not len(first):
            return
        count = int(self.labels.max()) + 1
        links = (np.ones(len(first)), (self.labels[first], self.labels[second]))
        _, component = connected_components(coo_array(links, shape=(count, count)), directed=False)
        self.labels = component[self.labels].astype(np.int64)


def _joined(texts: Sequence[Iterable[str]], group: Indices) -> Indices:
    """Return the cluster of every text, where those of a ``group`` and near-duplicates share one.

    Not every pair of texts is compared: the prefixes of near-duplicates, their rarest features,
    have one in common ("prefix filter", Chaudhuri et al. 2006, "A primitive operator for similarity
    joins in data cleaning"; Bayardo et al. 2007, "Scaling up all pairs similarity search").
    A feature in the prefixes of many texts would make most pairs candidates again. Such common
    features are compared for all texts that have the same of them at once. Texts that are in one
    cluster already are not compared.
    """
    features = _features(texts)
    order = np.argsort(features.sum(axis=1), kind="stable")
    features = features[order]
    sizes = features.sum(axis=1)
    # Near-duplicates share at least SIMILARITY of the features of either, so the prefixes, which
    # leave fewer out, have one of them.
    kept = np.where(sizes > 0, sizes - np.ceil(SIMILARITY * sizes) + 1, 0).astype(np.int64)
    is_common = np.zeros(features.shape[1], dtype=bool)
    fewest = max(COMMON[0], COMMON[1] * len(sizes))
    while True:  # common features stand last; others may take their place among the first
        prefixes = _first_entries(features, is_common, kept)
        newly_common = (prefixes.sum(axis=0) > fewest) & ~is_common
        if not newly_common.any():
            break
        is_common |= newly_common
    clusters = _Clusters(group[order])
    _join_by_common(clusters, features[:, is_common], sizes)
    _join_by_rare(clusters, features, prefixes[:, ~is_common], sizes)
    labels = np.empty_like(group)
    labels[order] = clusters.labels
    return labels


def _join_by_rare(
    clusters: _Clusters, features: csr_array, prefixes: csr_array, sizes: Indices
) -> None:
    """Join near-duplicates that share a feature of their ``prefixes``."""
    rest = sizes - prefixes.sum(axis=1)
    columns = prefixes.T.tocsr()
    # Pairs within the largest cluster need no comparison: in some benchmarks it has most texts.
    outside = clusters.labels != np.bincount(clusters.labels, minlength=1).argmax()
    rows = np.flatnonzero(outside)
    # how many products a row takes: one for every text with one of its features
    products = np.cumsum((prefixes @ np.diff(columns.indptr))[rows])
    start = 0
    while start < len(rows):
        done = products[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(products, done + CELLS, side="right")))
        shared = (prefixes[rows[start:stop]] @ columns).tocoo()
        first, second = rows[start + shared.row], shared.col.astype(np.int64)
        # Of the features beyond the prefix that ends first, all may be shared.
        upper_bound = shared.data + np.maximum(rest[first], rest[second])
        is_new = (first < second) | ~outside[second]
        is_candidate = is_new & _are_similar(upper_bound, sizes[first] + sizes[second])
        pairs = np.stack([first, second])[:, is_candidate]
        pairs = pairs[:, clusters.apart(*pairs)]
        for begin in range(0, pairs.shape[1], COMPARED):
            chunk = pairs[:, begin : begin + COMPARED]
            one, other = chunk[:, clusters.apart(*chunk)]  # as the chunk before has left them
            shared_features = features[one].multiply(features[other]).sum(axis=1)
            similar = _are_similar(shared_features, sizes[one] + sizes[other])
            clusters.join(one[similar], other[similar])
        start = stop


def _join_by_common(clusters: _Clusters, features: csr_array, sizes: Indices) -> None:
    """Join texts that common ``features`` alone make near-duplicates; ``sizes`` ascend.

    Texts with the same common features differ by their size alone here, and the smaller a text is,
    the more are like it. So a text is compared with the smallest of every set of features, and it
    is enough to link the smallest of two sets, and a text with the smallest of the set that allows
    the largest texts.
    """
    rows = np.flatnonzero((features.sum(axis=1) >= SIMILARITY * sizes) & (sizes > 0))
    if not len(rows):
        return
    features = features[rows]
    bounds = zip(features.indptr[:-1], features.indptr[1:], strict=True)
    sets: dict[bytes, int] = {}
    members = np.array(
        [sets.setdefault(features.indices[a:b].tobytes(), len(sets)) for a, b in bounds]
    )
    _, smallest = np.unique(members, return_index=True)
    signatures = features[smallest]
    columns = signatures.T.tocsr()
    least = sizes[rows[smallest]]
    allowed, partner = np.full(len(sets), -np.inf), np.zeros(len(sets), dtype=np.int64)
    step = max(1, CELLS // len(sets))
    for start in range(0, len(sets), step):
        shared = (signatures[start : start + step] @ columns).tocoo()
        one, other = start + shared.row.astype(np.int64), shared.col.astype(np.int64)
        largest = shared.data * (1 + 1 / SIMILARITY) - least[other]
        alike = largest >= least[one]
        one, other, largest = one[alike], other[alike], largest[alike]
        clusters.join(rows[smallest[one]], rows[smallest[other]])
        ascending = np.argsort(largest, kind="stable")
        allowed[one[ascending]] = largest[ascending]
        partner[one[ascending]] = other[ascending]
    linked = sizes[rows] <= allowed[members]
    clusters.join(rows[linked], rows[smallest[partner[members[linked]]]])


def _are_similar(shared: Indices, sizes: Indices) -> NDArray[np.bool_]:
    """Return which pairs have a Jaccard similarity of at least ``SIMILARITY``, ``[pairs]``.

    shared: the number of features that both texts of a pair have; sizes: the sum of both numbers.
    """
    similar: NDArray[np.bool_] = shared >= SIMILARITY * (sizes - shared)
    return similar


def _first_entries(features: csr_array, is_common: NDArray[np.bool_], counts: Indices) -> csr_array:
    """Keep ``counts [texts]`` features of every text: the rarest, and common ones last."""
    from scipy.sparse import csr_array  # slow to import

    rank = np.empty(features.shape[1], dtype=np.int64)
    rank[np.lexsort([features.sum(axis=0), is_common])] = np.arange(len(rank))
    lengths = np.diff(features.indptr)
    owner = np.repeat(np.arange(len(lengths)), lengths)
    ranked = features.indices[np.lexsort([rank[features.indices], owner])]
    position = np.arange(features.nnz) - np.repeat(features.indptr[:-1], lengths)
    indices = ranked[position < np.repeat(counts, lengths)]
    ends = np.concatenate([[0], np.cumsum(counts)])
    return csr_array((np.ones(len(indices), dtype=np.int32), indices, ends), shape=features.shape)


def _features(texts: Sequence[Iterable[str]]) -> csr_array:
    """Return which features each text has, ``[texts, features]`` of 0 and 1.

    Features that all texts have are left out.
    """
    from scipy.sparse import csr_array  # slow to import

    columns: dict[tuple[str, ...], int] = {}
    indices: list[int] = []
    ends = [0]
    for strings in texts:
        ngrams = {ngram for text in strings for n in (1, 2) for ngram in word_ngrams(text, n)}
        indices += [columns.setdefault(ngram, len(columns)) for ngram in ngrams]
        ends.append(len(indices))
    ones = np.ones(len(indices), dtype=np.int32)
    features = csr_array((ones, indices, ends), shape=(len(texts), len(columns)))
    features = features[:, features.sum(axis=0) < len(texts)]
    features.sort_indices()
    return features
