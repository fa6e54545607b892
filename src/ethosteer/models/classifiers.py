"""Classifiers of generated texts, each with its quality on held-out labelled rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from ethosteer.errors import InputError
from ethosteer.models.checks import check_vocabulary
from ethosteer.models.foreign import check_configs, foreign
from ethosteer.models.loading import quiet_libraries
from ethosteer.models.weights import check_finite_tensors, load_weights
from ethosteer.records import LabelledText

TEXTS_AT_ONCE = 64
UNLIMITED = 10**9
"""From here on a tokenizer's ``model_max_length`` means that it states none."""

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
    # a folder's path may have an at sign
    model_id, _, revision = (name, "", "") if Path(name).is_dir() else name.partition("@")
    subject = f"classifier {name}"
    try:
        check_configs(subject, model_id)
        with foreign(subject, "cannot be loaded"):
            tokenizer = AutoTokenizer.from_pretrained(
                model_id, revision=revision or "main", trust_remote_code=False
            )
        model = load_weights(AutoModelForSequenceClassification, subject, model_id, revision).eval()
    except InputError as fault:
        raise InputError(
            f"{fault}; it needs safetensors; 'trained' uses one trained on the benchmark's own rows"
        ) from fault
    check_finite_tensors(subject, dict(model.named_parameters()))
    check_vocabulary(subject, tokenizer, model.get_input_embeddings(), ())
    longest = _longest(subject, tokenizer, model)
    with foreign(subject, "label2id of its config.json cannot be read"):
        classes = {str(name): int(index) for name, index in model.config.label2id.items()}
    if model.config.num_labels < 2:
        raise InputError(f"{subject}: has a single class, so every text would be of it")
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
            rows = tokenizer(
                chunk, return_tensors="pt", padding=True, truncation=True, max_length=longest
            )
            rates += model(**rows).logits.float().softmax(dim=-1)[:, positive_class].tolist()
        return np.array(rates)

    with foreign(subject, "cannot rate texts"):
        note = quality(positive, held_out)
    return Classifier(positive, f"{name}; {note}")


def _longest(subject: str, tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel) -> int:
    """Return how many tokens of a text a classifier reads.

    Where its tokenizer states no limit, they are the model's positions but those up to the padding
    token's id, which RoBERTa and its kin do not use. ``subject`` begins the InputError for a limit
    that is no number.
    """
    config = model.config.get_text_config()
    positions = getattr(config, "max_position_embeddings", None)
    stated = tokenizer.model_max_length
    if isinstance(stated, bool) or not isinstance(stated, int | float) or not stated >= 1:
        raise InputError(
            f"{subject}: model_max_length of its tokenizer_config.json must be a number of tokens, "
            f"found {str(stated)[:60]!r}"
        )
    if stated < UNLIMITED or positions is None:
        return int(stated)
    return max(1, int(positions) - 1 - int(config.pad_token_id or 0))


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
