"""Splits by hash: the split of a group of rows depends on its text alone.

It does not depend on the order of rows, on the number of rows kept or on the study's seed. The
pretraining script of the pocket model uses the same split, so its text holds no held-out pair.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np

from ethosteer.records import Split

VALIDATION_FRACTION = 0.1
TEST_FRACTION = 0.1


def unit_hash(text: str) -> float:
    """Map a text to a number in [0, 1): uniform over texts, the same on every machine."""
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def split_of(group: str) -> Split:
    """Return the split that every pair of ``group`` belongs to."""
    position = unit_hash(group)
    if position < TEST_FRACTION:
        return "test"
    if position < TEST_FRACTION + VALIDATION_FRACTION:
        return "validation"
    return "train"


def connected_groups(pairs: Iterable[tuple[str, str]]) -> list[str]:
    """Return a group for each pair, such that pairs which share a text share a group.

    Pairs are the edges of a graph over texts; a group is a connected component, named by its
    alphabetically first text. In utilitarianism one scenario is the better one of a row and the
    worse one of the next.
    """
    from scipy.sparse import coo_matrix  # slow to import
    from scipy.sparse.csgraph import connected_components

    edges = list(pairs)
    texts = sorted({text for edge in edges for text in edge})
    node = {text: index for index, text in enumerate(texts)}
    ends = np.array([[node[left], node[right]] for left, right in edges]).reshape(-1, 2).T
    adjacency = coo_matrix((np.ones(len(edges)), (ends[0], ends[1])), shape=(len(texts),) * 2)
    _, component = connected_components(adjacency, directed=False)
    _, first_text = np.unique(component, return_index=True)
    return [texts[first_text[component[node[left]]]] for left, _ in edges]
