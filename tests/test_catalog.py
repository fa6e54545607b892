from __future__ import annotations

import subprocess
import sys

import pytest

from ethosteer import catalog
from ethosteer.errors import InputError


def test_every_dataset_is_found():
    assert catalog.dataset_names() == ("deontology", "harmless", "utilitarianism", "virtue")


def test_every_benchmark_is_found():
    assert catalog.benchmark_names() == (
        "crows_pairs",
        "ethics_cm",
        "ethics_deontology",
        "ethics_justice",
        "ethics_utilitarianism",
        "ethics_virtue",
        "preferences:deontology",
        "preferences:harmless",
        "preferences:utilitarianism",
        "preferences:virtue",
        "scruples",
        "scruples_original",
        "scruples_three",
        "toxigen",
        "toxigen_generation",
        "winogender",
        "wsc273",
    )


def test_every_algorithm_is_found():
    assert catalog.algorithm_names() == ("best_of_n", "dpo", "ppo", "rloo")


def test_a_name_gives_the_plugin_that_bears_it():
    assert [catalog.dataset(name).name for name in catalog.dataset_names()] == list(
        catalog.dataset_names()
    )
    assert [catalog.benchmark(name).name for name in catalog.benchmark_names()] == list(
        catalog.benchmark_names()
    )
    assert [catalog.algorithm(name).name for name in catalog.algorithm_names()] == list(
        catalog.algorithm_names()
    )


def test_an_unknown_name_lists_the_known_ones_and_suggests_the_closest():
    with pytest.raises(InputError) as caught:
        catalog.dataset("vertue")
    assert str(caught.value) == (
        "no dataset is called 'vertue' (did you mean 'virtue'?); there are "
        "deontology, harmless, utilitarianism, virtue"
    )
    with pytest.raises(InputError, match=r"no benchmark is called 'zzz'; there are crows_pairs, "):
        catalog.benchmark("zzz")
    with pytest.raises(InputError, match=r"no algorithm is called 'rlo' \(did you mean 'rloo'\?"):
        catalog.algorithm("rlo")


def test_the_settings_have_a_table_for_every_algorithm():
    steer = catalog.study_settings().model_fields["steer"].default
    assert tuple(steer.tables) == catalog.algorithm_names()
    for name, table in steer.tables.items():
        assert type(table) is catalog.algorithm(name).settings
        assert steer.table(type(table)) is table


def test_listing_the_plugins_loads_no_model_library():
    code = (
        "import sys; from ethosteer import catalog; catalog.dataset_names(); "
        "catalog.benchmark_names(); catalog.study_settings(); "
        "print(sorted({'torch', 'transformers'} & set(sys.modules)))"
    )
    listed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert listed.stdout.strip() == "[]"
