"""Classifiers of texts: what they give is what stock parts give, and their quality is told."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sklearn.metrics import accuracy_score, roc_auc_score
from transformers import RobertaForSequenceClassification

from ethosteer import catalog
from ethosteer.errors import InputError
from ethosteer.models.classifiers import load_classifier, quality, train_classifier
from ethosteer.records import LabelledText
from tests import tiny

KIND = ["a kind word", "kind neighbours sing", "what a kind gift", "they are kind"]
VILE = ["a vile word", "vile people shout", "what a vile trick", "they are vile"]
TRAIN = [LabelledText(text, text in VILE) for text in KIND + VILE]
HELD_OUT = [LabelledText("kind ones", False), LabelledText("vile ones", True)]


def test_a_trained_classifier_tells_what_its_rows_differ_by():
    judge = train_classifier(TRAIN, HELD_OUT)
    rates = judge.positive(["so kind", "so vile"])
    assert rates.shape == (2,)
    assert rates[0] < 0.4 < 0.6 < rates[1]
    assert "8 training rows; on 2 held-out rows: accuracy 1.00 (0.50 are positive), AUC 1.00" in (
        judge.note
    )
    again = train_classifier(TRAIN, HELD_OUT).positive(["so kind", "so vile"])
    np.testing.assert_array_equal(rates, again)


def test_quality_is_that_of_the_rows():
    rates = {"a": 0.9, "b": 0.2, "c": 0.6, "d": 0.7}
    rows = [LabelledText(t, t in "ad") for t in rates]
    note = quality(lambda texts: np.array([rates[text] for text in texts]), rows)
    labels = [True, False, False, True]
    assert accuracy_score(labels, [True, False, True, True]) == 0.75
    assert roc_auc_score(labels, list(rates.values())) == 1.0
    assert note == "on 4 held-out rows: accuracy 0.75 (0.50 are positive), AUC 1.00"


def test_on_real_rows_it_beats_the_majority_class(real_data):
    benchmark = catalog.benchmark("toxigen_generation")
    assert benchmark.classification is not None
    train, held_out = benchmark.classification.labelled_texts(
        [real_data / source.path for source in benchmark.sources]
    )
    judge = train_classifier(train, held_out)
    labels = np.array([row.positive for row in held_out])
    rates = judge.positive([row.text for row in held_out])
    assert roc_auc_score(labels, rates) > 0.75
    assert np.mean((rates > 0.5) == labels) > max(labels.mean(), 1 - labels.mean())


@pytest.fixture
def roberta(tmp_path: Path) -> Path:
    """Write a tiny RoBERTa classifier in the hub's layout."""
    tiny.save_classifier(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("label", "column"), [("1", 1), ("LABEL_0", 0)])
def test_a_stored_classifier_gives_stock_probabilities(roberta, label, column):
    judge = load_classifier(str(roberta), label, HELD_OUT)
    texts = ["The baker gave the last loaf", "Two sisters", "x"]
    model = RobertaForSequenceClassification.from_pretrained(roberta).eval()
    tokenizer = tiny.make_tokenizer("llama")
    with torch.no_grad():
        expected = [
            model(torch.tensor([tokenizer(text).input_ids])).logits.softmax(-1)[0, column].item()
            for text in texts
        ]
    assert judge.positive(texts) == pytest.approx(expected, abs=1e-5)
    assert judge.note.startswith(f"{roberta}; on 2 held-out rows: accuracy ")


def test_a_classifier_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InputError, match=r"classifier .*none: cannot be loaded"):
        load_classifier(str(tmp_path / "none"), "1", HELD_OUT)


def change(
    folder: Path, edit: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]
) -> None:
    path = folder / "model.safetensors"
    tensors = edit({name: tensor.clone() for name, tensor in load_file(path).items()})
    save_file(tensors, path, metadata={"format": "pt"})


def test_a_classifier_without_its_head_is_refused(roberta):
    change(roberta, lambda tensors: {k: t for k, t in tensors.items() if "classifier" not in k})
    with pytest.raises(InputError, match=r"model\.safetensors: .* missing: classifier\.dense"):
        load_classifier(str(roberta), "1", HELD_OUT)


def test_the_pooler_that_older_classifiers_keep_is_of_no_matter(roberta):
    before = load_classifier(str(roberta), "1", HELD_OUT).positive(["a text"])
    change(roberta, lambda tensors: {**tensors, "roberta.pooler.dense.bias": torch.zeros(16)})
    after = load_classifier(str(roberta), "1", HELD_OUT).positive(["a text"])
    assert after == pytest.approx(before, abs=1e-5)
    extra = "roberta.encoder.layer.1.output.dense.bias"
    change(roberta, lambda tensors: {**tensors, extra: torch.zeros(16)})
    with pytest.raises(InputError, match=rf"unexpected: {extra}"):
        load_classifier(str(roberta), "1", HELD_OUT)


def test_a_classifier_of_one_class_is_refused(roberta):
    path = roberta / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "id2label": {"0": "X"}, "label2id": {"X": 0}}))
    change(
        roberta,
        lambda tensors: {k: t[:1] if "out_proj" in k else t for k, t in tensors.items()},
    )
    with pytest.raises(InputError, match="has a single class"):
        load_classifier(str(roberta), "0", HELD_OUT)


def test_a_folder_whose_path_has_an_at_sign(roberta, tmp_path_factory):
    folder = tmp_path_factory.mktemp("of") / "me@home"
    shutil.copytree(roberta, folder)
    assert load_classifier(str(folder), "1", HELD_OUT).note.startswith(f"{folder}; ")


def test_texts_longer_than_the_positions_are_cut_where_the_tokenizer_states_no_limit(roberta):
    path = roberta / "tokenizer_config.json"
    table = json.loads(path.read_text())
    del table["model_max_length"]
    path.write_text(json.dumps(table))
    rates = load_classifier(str(roberta), "1", HELD_OUT).positive
    assert rates(["word " * 500]).shape == (1,)


@pytest.mark.parametrize("limit", ["long", [512], True, 0, -1, float("nan")])
def test_a_length_that_is_no_number_is_refused(roberta, limit):
    path = roberta / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "model_max_length": limit}))
    with pytest.raises(InputError, match=r"classifier .*: model_max_length of its tokenizer_conf"):
        load_classifier(str(roberta), "1", HELD_OUT)


def test_a_classifier_that_cannot_rate_texts_is_refused_before_it_is_used(roberta):
    path = roberta / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "pad_token": None}))
    with pytest.raises(InputError, match=r"classifier .*: cannot rate texts: "):
        load_classifier(str(roberta), "1", HELD_OUT)
