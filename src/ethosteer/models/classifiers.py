"""Classifiers of generated texts, each with its quality on held-out labelled rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from ethosteer.errors import InputError
from ethosteer.models.loading import quiet_libraries
from ethosteer.records import LabelledText

TEXTS_AT_ONCE = 64

Rates = Callable[[Sequence[str]], NDArray[np.float64]]


@dataclass(frozen=True, slots=True)
class Classifier:
    """``positive(texts)`` returns P(positive class), ``[n]``; ``note`` names it and its quality."""

    positive: Rates
    note: str


def train_classifier(train: Sequence[LabelledText], held_out: Sequence[LabelledText]) -> Classifier:
    """Fit a logistic regression on word and character n-grams: deterministic, in seconds."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline, make_union

    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    characters = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True)
    model = make_pipeline(
        make_union(words, characters),
        LogisticRegression(C=4.0, class_weight="balanced", max_iter=2000),
    )
    model.fit([row.text for row in train], [row.positive for row in train])

    def positive(texts: Sequence[str]) -> NDArray[np.float64]:
        return np.asarray(model.predict_proba(list(texts))[:, 1], dtype=np.float64)

    return Classifier(
        positive,
        f"logistic regression on n-grams of {len(train):,} training rows; "
        + quality(positive, held_out),
    )


def load_classifier(name: str, label: str, held_out: Sequence[LabelledText]) -> Classifier:
    """Load a sequence classifier from a folder or the hub, safetensors only.

    ``name`` is a folder, a hub id, or ``ID@REVISION``; ``label`` is the index or name of its
    positive class. InputError where it cannot be loaded.
    """
    quiet_libraries()
    model_id, _, revision = name.partition("@")
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            model_id, revision=revision or "main", trust_remote_code=False
        )
        model = AutoModelForSequenceClassification.from_pretrained(
            model_id, revision=revision or "main", use_safetensors=True, trust_remote_code=False
        ).eval()
    except (OSError, ValueError) as fault:
        raise InputError(
            f"classifier {name}: cannot be loaded ({str(fault).splitlines()[0]}); it needs "
            "safetensors; 'trained' uses one trained on the benchmark's own rows"
        ) from fault
    classes = {str(name): int(index) for name, index in model.config.label2id.items()}
    positive_class = int(label) if label.isdigit() else classes.get(label, -1)
    if positive_class not in classes.values():
        raise InputError(
            f"classifier {name}: has no class {label!r}; it has "
            f"{', '.join(f'{index} ({known})' for known, index in classes.items())}"
        )

    @torch.no_grad()
    def positive(texts: Sequence[str]) -> NDArray[np.float64]:
        rates = []
        for start in range(0, len(texts), TEXTS_AT_ONCE):
            chunk = list(texts[start : start + TEXTS_AT_ONCE])
            rows = tokenizer(chunk, return_tensors="pt", padding=True, truncation=True)
            rates += model(**rows).logits.float().softmax(dim=-1)[:, positive_class].tolist()
        return np.array(rates)

    return Classifier(positive, f"{name}; {quality(positive, held_out)}")


def quality(positive: Rates, held_out: Sequence[LabelledText]) -> str:
    """Describe a classifier's quality on rows that it was not trained on."""
    from sklearn.metrics import accuracy_score, roc_auc_score

    labels = [row.positive for row in held_out]
    rates = positive([row.text for row in held_out])
    accuracy = accuracy_score(labels, rates > 0.5)
    area = f", AUC {roc_auc_score(labels, rates):.2f}" if len(set(labels)) > 1 else ""
    return (
        f"on {len(held_out):,} held-out rows: accuracy {accuracy:.2f} "
        f"({np.mean(labels):.2f} are positive){area}"
    )
