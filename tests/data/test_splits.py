from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ethosteer import catalog
from ethosteer.data.splits import connected_groups, split_of, unit_hash
from ethosteer.datasets.base import Dropped

EDGES = st.lists(st.tuples(st.sampled_from("abcdefgh"), st.sampled_from("abcdefgh")), max_size=12)


def test_the_hash_is_the_same_on_every_machine():
    # sha256("") starts with e3b0c442 98fc1c14, and 0xe3b0c44298fc1c14 / 2**64 = 0.889...
    assert unit_hash("") == 0xE3B0C44298FC1C14 / 2**64


def test_splits_have_their_shares():
    places = [split_of(f"scenario {i}") for i in range(4000)]
    assert abs(places.count("test") / 4000 - 0.1) < 0.02
    assert abs(places.count("validation") / 4000 - 0.1) < 0.02


def test_connected_groups_by_hand():
    pairs = [("m", "c"), ("x", "y"), ("c", "k"), ("z", "z"), ("k", "b")]
    assert connected_groups(pairs) == ["b", "x", "b", "z", "b"]
    assert connected_groups([]) == []


@given(EDGES)
def test_pairs_that_share_a_text_share_a_group_and_no_others_do(edges):
    groups = connected_groups(edges)
    # Merge sets of texts until none overlap: slow and plain.
    components: list[set[str]] = []
    for edge in edges:
        touching = [part for part in components if part & set(edge)]
        components = [part for part in components if part not in touching]
        components.append(set(edge).union(*touching))
    expected = [next(min(part) for part in components if left in part) for left, _ in edges]
    assert groups == expected


@given(EDGES, st.randoms(use_true_random=False))
def test_the_order_of_the_rows_does_not_move_a_pair(edges, rng):
    placed = dict(zip(edges, connected_groups(edges), strict=True))
    shuffled = list(edges)
    rng.shuffle(shuffled)
    assert dict(zip(shuffled, connected_groups(shuffled), strict=True)) == placed


def test_no_text_of_the_published_files_is_on_two_sides(real_data):
    for name in catalog.dataset_names():
        dataset = catalog.dataset(name)
        sides: dict[str, set[str]] = {}
        for pair in dataset.pairs(dataset.rows(real_data / dataset.source.path), 2):
            if isinstance(pair, Dropped):
                continue
            # A constant prompt is on all sides; what it is answered with must not be.
            texts = (pair.chosen, pair.rejected) if name == "utilitarianism" else (pair.prompt,)
            for text in texts:
                sides.setdefault(text, set()).add(split_of(pair.group))
        assert len(sides) > 1000
        assert all(len(where) == 1 for where in sides.values())
