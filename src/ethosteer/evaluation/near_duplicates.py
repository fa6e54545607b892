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

from collections.abc import Iterable, Iterator, Sequence
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

CELLS = 2_000_000
"""Similarities that are held in memory at once."""

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
    from scipy.sparse import coo_array  # slow to import
    from scipy.sparse.csgraph import connected_components

    names = sorted(set(groups))
    index = {name: position for position, name in enumerate(names)}
    group = np.array([index[name] for name in groups], dtype=np.int64)
    none = np.zeros((2, 0), dtype=np.int64)
    first, second = np.hstack([none, *map(np.stack, _near_duplicates(texts))])
    links = (np.ones(len(first)), (group[first], group[second]))
    linked = coo_array(links, shape=(len(names), len(names)))
    _, component = connected_components(linked, directed=False)
    _, representative = np.unique(component, return_index=True)
    return {name: names[representative[component[index[name]]]] for name in names}


def _near_duplicates(texts: Sequence[Iterable[str]]) -> Iterator[tuple[Indices, Indices]]:
    """Yield pairs of near-duplicates as the indices of their first and second texts, in blocks."""
    features = _features(texts)
    # By size, since a near-duplicate has at most 1 / SIMILARITY times as many features.
    order = np.argsort(features.sum(axis=1), kind="stable")
    features = features[order]
    sizes = features.sum(axis=1)
    rows = max(1, CELLS // max(1, len(order)))
    for start in range(0, len(order), rows):
        stop = min(start + rows, len(order))
        end = np.searchsorted(sizes, sizes[stop - 1] / SIMILARITY, side="right")
        shared = (features[start:stop] @ features[start:end].T).tocoo()
        first, second = start + shared.row.astype(np.int64), start + shared.col.astype(np.int64)
        union = sizes[first] + sizes[second] - shared.data
        similar = (first < second) & (shared.data >= SIMILARITY * union)
        yield order[first[similar]], order[second[similar]]


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
    ones = np.ones(len(indices), dtype=np.int64)
    features = csr_array((ones, indices, ends), shape=(len(texts), len(columns)))
    return features[:, features.sum(axis=0) < len(texts)]
