"""Prefix trees: every row is in one tree, once, and reads as if it stood by itself."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from ethosteer.models.fast.branches import Branches
from ethosteer.models.fast.trees import Tree, batches, pack, stack

ROWS = st.sets(
    st.lists(st.integers(1, 3), min_size=1, max_size=9).map(tuple), min_size=1, max_size=12
)
CPU = torch.device("cpu")


def read(tree: Tree, row: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(tree.tokens[node] for node in tree.paths[row])


def allowed(branches: Branches, node: int) -> set[int]:
    """What a node attends to by the mask."""
    mask = branches.mask(CPU, torch.float32)[0, 0, node]
    return set(torch.nonzero(mask == 0).flatten().tolist())


def test_a_tree_by_hand():
    rows = [(5, 6, 7), (5, 6, 8, 9), (5, 2), (5, 6)]
    (tree,) = pack(rows, knee=1e9, limit=100)
    assert tree.tokens == (5, 2, 6, 7, 8, 9)
    assert tree.depths == (0, 1, 1, 2, 2, 3)
    assert tree.ends == (6, 2, 6, 4, 6, 6)
    assert tree.paths == {
        (5, 2): (0, 1),
        (5, 6): (0, 2),
        (5, 6, 7): (0, 2, 3),
        (5, 6, 8, 9): (0, 2, 4, 5),
    }
    packed = stack([tree], CPU)
    (branches,) = packed.branches
    assert branches is not None
    sees = [allowed(branches, node) for node in range(6)]
    assert sees == [{0}, {0, 1}, {0, 2}, {0, 2, 3}, {0, 2, 4}, {0, 2, 4, 5}]
    assert branches.chains == (1, 1, 1, 1, 2)
    assert branches.keys == ((0,), (0, 1), (0, 2), (0, 2, 3), (0, 2, 4, 5))
    assert branches.repetition == 12 / 6


@given(ROWS, st.floats(0, 1e4), st.integers(1, 60))
def test_every_row_is_packed_once_and_whole(rows, knee, limit):
    trees = pack(rows, knee, limit)
    packed = [row for tree in trees for row in tree.paths]
    assert sorted(packed) == sorted(rows)
    longest = max(map(len, rows))
    for tree in trees:
        assert len(tree.tokens) <= max(limit, longest)
        for row, path in tree.paths.items():
            assert read(tree, row) == row
            assert [tree.depths[node] for node in path] == list(range(len(row)))
        assert len(tree.tokens) <= sum(map(len, tree.paths))


@given(ROWS)
def test_a_token_sees_its_ancestors_and_itself(rows):
    trees = pack(rows, 100.0, 20)
    packed = stack(trees, CPU)
    assert packed.lengths == (tuple(len(tree.tokens) for tree in trees),)
    assert packed.tokens.tolist() == [[token for tree in trees for token in tree.tokens]]
    assert packed.positions.tolist() == [[depth for tree in trees for depth in tree.depths]]
    for tree, branches in zip(trees, packed.branches, strict=True):
        assert (branches is None) == tree.is_chain
        if branches is None:
            continue
        assert sum(branches.chains) == len(tree.tokens)
        seen = {}
        for path in tree.paths.values():
            for place, node in enumerate(path):
                seen[node] = set(path[: place + 1])
        for node, expected in seen.items():
            assert allowed(branches, node) == expected
        start = 0
        for length, keys in zip(branches.chains, branches.keys, strict=True):
            # the last query of a chain attends to all of its keys, and each before it to one less
            for place in range(length):
                assert set(keys[: len(keys) - length + place + 1]) == seen[start + place]
            start += length


def test_sharing_is_weighed_against_attention():
    stem = tuple(range(40))
    rows = [(*stem, 90 + i) for i in range(6)]
    assert len(pack(rows, knee=1e6, limit=1000)) == 1
    assert len(pack(rows, knee=None, limit=1000)) == 6
    # Two long rows with one token in common: attention over both costs more than the token.
    long = [(1, *range(10, 60)), (1, *range(60, 110))]
    assert len(pack(long, knee=200, limit=1000)) == 2
    assert len(pack(long, knee=1e6, limit=1000)) == 1


def test_a_tree_stays_within_the_limit():
    rows = [(1, 2, 3, i) for i in range(10)]
    sizes = [len(tree.tokens) for tree in pack(rows, knee=1e6, limit=6)]
    assert sizes == [6, 6, 6, 4]
    assert [len(tree.tokens) for tree in pack(rows, knee=1e6, limit=1)] == [4] * 10


@given(ROWS, st.integers(1, 40))
def test_batches_hold_every_tree_within_the_budget(rows, room):
    trees = pack(rows, 50.0, 10)
    found = list(batches(trees, room))
    assert sorted(id(tree) for batch in found for tree in batch) == sorted(map(id, trees))
    for batch in found:
        assert len(batch) == 1 or sum(len(tree.tokens) for tree in batch) <= room


def test_chains_need_no_mask():
    trees = pack([(1, 2, 3), (4, 5), (1, 2)], knee=1e6, limit=100)
    assert [tree.tokens for tree in trees] == [(1, 2, 3), (4, 5)]
    packed = stack(trees, CPU)
    assert packed.branches == (None, None)
    assert packed.positions.tolist() == [[0, 1, 2, 0, 1]]
    assert packed.tokens.tolist() == [[1, 2, 3, 4, 5]]
