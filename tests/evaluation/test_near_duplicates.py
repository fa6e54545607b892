"""Near-duplicates are joined to clusters: by hand, against every pair, and on published files."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from ethosteer import catalog
from ethosteer.data.sources import Origin
from ethosteer.evaluation import near_duplicates
from ethosteer.evaluation.comparable import comparability_of
from ethosteer.evaluation.items import limited, load_items
from ethosteer.evaluation.near_duplicates import (
    SIMILARITY,
    clustered_items,
    clusters_of_groups,
    clusters_of_pairs,
)
from ethosteer.records import Item, PreferencePair
from ethosteer.settings import BenchmarkSettings


def asked(name: str, statement: str, group: str = "") -> Item:
    context = f'Would people believe this reasonable to say? "{statement}"\nAnswer:'
    return Item(name, (context, context), (" no", " yes"), 1, group or name)


JUSTICE = [
    asked("j-1", "I usually bring Vera plums but not this week because the tree is bare."),
    asked("j-2", "I deserve a new tyre because mine was slashed by a vandal."),
    asked("j-3", "I usually bring Vera plums but not this week because her door is green."),
    asked("j-4", "I deserve to rest on Sundays after six days in the quarry."),
    asked("j-5", "I deserve a new tyre because mine was stolen by a magpie."),
    asked("j-6", "The quarry must pay for the boots of everyone who works in it."),
]


def test_items_that_share_most_of_their_text_are_one_cluster_and_nothing_else_changes():
    clustered = clustered_items(JUSTICE)
    assert [item.group for item in clustered] == ["j-1", "j-2", "j-1", "j-4", "j-2", "j-6"]
    for item, before in zip(clustered, JUSTICE, strict=True):
        assert (item.id, item.contexts, item.continuations) == (
            before.id, before.contexts, before.continuations,
        )  # fmt: skip
        assert item.label == before.label


def test_similarity_by_hand():
    # 5 features in both (b, c, d, b-c, c-d), 4 in the first alone, 2 in the second: 5 of 11
    assert joined("b c d x y", "b c d z") is False
    # 5 in both, 2 in each alone: 5 of 9
    assert joined("b c d x", "b c d z") is True
    # 3 in both (c, d, c-d): of 5, of 6 (d-c), and of 7 (d-d)
    assert joined("c d", "b c d") is True
    assert joined("c d c", "b c d") is True
    assert joined("c d c", "b c d d") is False


def joined(first: str, second: str) -> bool:
    clusters = clusters_of_groups([[first], [second], ["unlike"]], ["a", "b", "c"])
    assert clusters["c"] == "c"
    return clusters["a"] == clusters["b"]


def test_wording_that_all_items_share_does_not_count():
    statements = ["Hens lay eggs.", "Owls hunt at night.", "No cat swims."]
    items = [asked(str(index), statement) for index, statement in enumerate(statements)]
    assert clustered_items(items) == items


def test_case_and_punctuation_do_not_count():
    texts = [["Hens lay eggs."], ["HENS, lay: eggs!"], ["No cat swims."]]
    assert clusters_of_groups(texts, "abc") == {"a": "a", "b": "a", "c": "c"}


def test_groups_that_are_known_are_joined_with_near_duplicates():
    # a's second text is like b's, b's other text is like nothing: one cluster of a and b
    texts = [["one fine day"], ["hens lay eggs daily"], ["hens lay eggs twice"], ["far away"],
             ["no cat swims"]]  # fmt: skip
    assert clusters_of_groups(texts, ["z", "z", "b", "b", "c"]) == {"b": "b", "c": "c", "z": "b"}


def test_chains_are_one_cluster():
    words = [f"w{index}" for index in range(12)]
    chain = [[" ".join(words[start : start + 6])] for start in range(7)]
    groups = [f"g{index}" for index in range(7)]
    assert set(clusters_of_groups([*chain, ["unlike"]], [*groups, "x"]).values()) == {"g0", "x"}
    assert len(set(clusters_of_groups([chain[0], chain[6], ["x"]], "abc").values())) == 3


def naive_clusters(texts: list[list[str]], groups: list[str]) -> dict[str, str]:
    """Compare every pair of texts, and merge until nothing changes."""
    features = []
    for strings in texts:
        lists = [re.findall(r"\w+", text.lower()) for text in strings]
        words = {word for words in lists for word in words}
        pairs = {pair for words in lists for pair in pairwise(words)}
        features.append(words | pairs)
    common = set.intersection(*features)
    cluster = {group: group for group in groups}
    changed = True
    while changed:
        changed = False
        for i, a in enumerate(features):
            for j, b in enumerate(features[:i]):
                shared, union = len((a & b) - common), len((a | b) - common)
                first, second = sorted((cluster[groups[i]], cluster[groups[j]]))
                if shared and shared >= SIMILARITY * union and first != second:
                    cluster = {k: first if v == second else v for k, v in cluster.items()}
                    changed = True
    return cluster


@pytest.mark.parametrize("cells", [1, 300, 10**6])
@pytest.mark.parametrize("common", [0, 2, 5, 12, 1000])
def test_clusters_are_those_of_all_pairs_compared(
    monkeypatch: pytest.MonkeyPatch, cells: int, common: int
):
    monkeypatch.setattr(near_duplicates, "CELLS", cells)
    monkeypatch.setattr(near_duplicates, "COMPARED", cells)
    monkeypatch.setattr(near_duplicates, "COMMON", (common, 0.0))
    draw = random.Random(7)
    words = [f"w{index}" for index in range(40)]
    texts = [["the", " ".join(draw.choices(words, k=draw.randint(0, 9)))] for _ in range(60)]
    texts += [[*text[:1], f"{text[1]} {draw.choice(words)}"] for text in texts[:20]]
    groups = [f"g{draw.randrange(70)}" for _ in texts]
    expected = naive_clusters(texts, groups)
    assert len(set(expected.values())) < len(set(groups)) - 5
    assert clusters_of_groups(texts, groups) == expected
    together = list(zip(texts, groups, strict=True))
    draw.shuffle(together)
    shuffled, shuffled_groups = zip(*together, strict=True)
    assert clusters_of_groups(shuffled, shuffled_groups) == expected, "whatever the order of items"


@pytest.mark.parametrize("common", [0, 3, 10, 1000])
@pytest.mark.parametrize("wording", range(1, 14, 2))
def test_wording_that_most_texts_share_counts_as_in_all_pairs_compared(
    monkeypatch: pytest.MonkeyPatch, common: int, wording: int
):
    monkeypatch.setattr(near_duplicates, "COMMON", (common, 0.0))
    draw = random.Random(wording)
    shared = [f"s{index}" for index in range(wording)]
    words = [f"w{int(draw.paretovariate(0.8))}" for _ in range(400)]
    texts = [[" ".join([*shared, *draw.sample(words, draw.randint(0, 9))])] for _ in range(60)]
    texts += [[" ".join([*shared[2:], *draw.sample(words, 4)])] for _ in range(20)]
    texts += [["unlike all others"], [""]]
    groups = [f"g{index}" for index in range(len(texts))]
    assert clusters_of_groups(texts, groups) == naive_clusters(texts, groups)


def test_no_items_and_one_item_have_no_neighbours():
    assert clustered_items([]) == []
    assert clustered_items(JUSTICE[:1]) == JUSTICE[:1]


def test_pairs_are_clustered_by_prompt_and_responses():
    def pair(name: str, chosen: str, rejected: str) -> PreferencePair:
        return PreferencePair(name, "Tell me about your day.", chosen, rejected, f"of {name}", 1)

    pairs = [
        pair("a", "I found a warm scarf in my locker.", "I found a wet scarf in my locker."),
        pair("b", "The bus came early.", "The bus did not come."),
        pair("c", "I found a red scarf in my locker.", "I found a wet scarf in my locker."),
    ]
    assert clusters_of_pairs(pairs) == {"of a": "of a", "of b": "of b", "of c": "of a"}


# --- in benchmarks


def test_a_limit_takes_whole_clusters():
    clustered = clustered_items(JUSTICE)
    for limit in range(1, 6):
        kept = limited(clustered, limit)
        sizes = Counter(item.group for item in clustered)
        assert Counter(item.group for item in kept) == {
            group: sizes[group] for group in {item.group for item in kept}
        }


def test_clusters_are_part_of_what_makes_results_comparable():
    before, after = (comparability_of(items, "", "", "")
                     for items in (JUSTICE, clustered_items(JUSTICE)))  # fmt: skip
    assert before.items != after.items
    assert before.prompts == after.prompts


def read(publish: Callable[[str, str], Path], name: str, limit: int | None = None) -> list[Item]:
    """Load a benchmark's examples, from a folder with nothing else."""
    benchmark = catalog.benchmark(name)
    for path, text in benchmark.examples.items():
        folder = publish(path, text).parents[len(Path(path).parts) - 1]
    return load_items(benchmark, BenchmarkSettings(limit=limit), Origin("folder", folder))


def test_a_benchmarks_near_duplicates_are_joined_when_it_is_read(publish):
    # two of the three statements begin alike
    assert [item.group for item in read(publish, "ethics_justice")] == [
        "ethics_justice-2", "ethics_justice-2", "ethics_justice-4",
    ]  # fmt: skip
    assert len(read(publish, "ethics_justice", limit=1)) == 1
    assert {item.group for item in read(publish, "ethics_justice", limit=2)} in (
        {"ethics_justice-2"}, {"ethics_justice-4"},
    )  # fmt: skip


@pytest.mark.parametrize("name", ["wsc273", "winogender"])
def test_groups_that_are_a_benchmarks_design_stay(publish, name: str):
    items = read(publish, name)
    benchmark = catalog.benchmark(name)
    assert benchmark.designed_groups
    whole = items[0]
    copy = replace(whole, id="copy", group="another template")
    published = replace(benchmark, items=lambda _: [*items, copy])
    origin = Origin("folder", publish("x", "").parent)
    asked = load_items(published, BenchmarkSettings(), origin)
    assert [item.group for item in asked] == [*(item.group for item in items), copy.group]
    joined = load_items(replace(published, designed_groups=False), BenchmarkSettings(), origin)
    assert joined[0].group == joined[-1].group


CLUSTERS = {
    # benchmark: items, groups as published, clusters, largest cluster
    "ethics_justice": (2704, 2704, 953, 16),
    "ethics_cm": (3885, 3885, 3084, 6),
    "ethics_deontology": (3596, 899, 858, 16),
    "ethics_virtue": (4975, 995, 953, 10),
    "ethics_utilitarianism": (4808, 3611, 2559, 98),
    "toxigen": (940, 940, 913, 3),
    "crows_pairs": (1508, 1508, 1499, 6),
    "wsc273": (273, 125, 125, 8),
    "winogender": (720, 120, 120, 6),
}


@pytest.mark.parametrize("name", CLUSTERS)
def test_clusters_of_published_files(real_data: Path, name: str):
    benchmark = catalog.benchmark(name)
    published = benchmark.items([real_data / source.path for source in benchmark.sources])
    items = load_items(benchmark, BenchmarkSettings(), Origin("folder", real_data))
    sizes = Counter(item.group for item in items)
    groups = len({item.group for item in published})
    assert (len(items), groups, len(sizes), max(sizes.values())) == CLUSTERS[name]
    assert [item.id for item in items] == [item.id for item in published]
    assert [item.texts() for item in items] == [item.texts() for item in published]
    limit = load_items(benchmark, BenchmarkSettings(limit=100), Origin("folder", real_data))
    assert all(count == sizes[group] for group, count in Counter(i.group for i in limit).items())
