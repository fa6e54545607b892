"""The terms of a report, each with a definition of one sentence."""

from __future__ import annotations

import re
from dataclasses import dataclass

from markupsafe import Markup, escape

from ethosteer.report.blocks import Glossary


@dataclass(frozen=True, slots=True)
class Term:
    """A term, its definition, and other forms in which it is written (plurals are found).

    An ``everyday`` word is explained where it stands alone, not within sentences.
    """

    name: str
    definition: str
    forms: tuple[str, ...] = ()
    everyday: bool = False


TERMS = (
    Term(
        "arm",
        "One preference dataset with one algorithm: the base model steered by it, once for each "
        "seed.",
    ),
    Term(
        "control",
        "The model that arms are compared with: the base model, fine-tuned or as it is, without "
        "steering by preferences.",
    ),
    Term(
        "seed",
        "The number that fixes all randomness of a training run; several seeds show how much "
        "results vary between runs.",
    ),
    Term(
        "reward model",
        "A model trained on preference pairs to score responses; steering raises this score.",
    ),
    Term(
        "held-out",
        "Kept apart from training, so that a model is tested on what it has not seen.",
        ("held out",),
    ),
    Term(
        "KL",
        "Kullback–Leibler divergence per response: how far the steered model's distribution of "
        "answers has moved from that of the model it started from; 0 where nothing changed.",
        ("KL divergence",),
    ),
    Term("nats", "The unit of KL and log-likelihood with natural logarithms; 1 nat is 1.44 bits."),
    Term(
        "value profile",
        "How often each model finds the chosen response of every dataset's held-out pairs "
        "likelier than the rejected one.",
    ),
    Term(
        "verdict",
        "What a comparison shows after adjustment for multiple testing: better, worse, different, "
        "equivalent or undecided.",
    ),
    Term(
        "better",
        "The arm differs significantly from the control, in the direction in which the metric "
        "improves.",
        everyday=True,
    ),
    Term(
        "worse",
        "The arm differs significantly from the control, against the direction in which the metric "
        "improves.",
        everyday=True,
    ),
    Term(
        "different",
        "The arm differs significantly on a metric that has no better direction.",
        everyday=True,
    ),
    Term(
        "equivalent",
        "The difference was shown to lie within the equivalence margin that the study set in "
        "advance.",
        ("equivalence",),
    ),
    Term(
        "undecided",
        "Neither a difference nor equivalence was shown; it does not mean that there is no "
        "difference.",
    ),
    Term(
        "constant answer",
        "The same answer to more than 95 % of items, over seeds together or in single seeds; a "
        "verdict counts all the same, with the constant answer as its cause.",
        ("constant answers",),
    ),
    Term(
        "AUC",
        "The probability that an item with label 1 has a higher margin for answer 1 than an item "
        "with label 0 has; unlike accuracy, it does not change when a model comes to prefer one "
        "answer on all items.",
    ),
    Term(
        "discordant items",
        "Items that exactly one of two models answers correctly; only they tell the two apart.",
        ("discordant item",),
    ),
    Term(
        "minimum detectable difference",
        "The true difference that the study would have found with a probability (power) of 80 %.",
    ),
    Term(
        "confidence interval",
        "A range computed so that it covers the true value in 95 of 100 repetitions of the study.",
        ("95 % interval", "95 % CI"),
    ),
    Term(
        "adjusted CI",
        "A confidence interval wide enough for the number of comparisons made: it has the level at "
        "which the verdict was decided, and excludes 0 where a difference was shown.",
        ("Holm-adjusted CI", "Benjamini–Hochberg-adjusted CI"),
    ),
    Term(
        "adjusted p",
        "The p-value after correction for the number of comparisons made; below 0.05 a difference "
        "counts as significant.",
        ("adjusted p-value",),
    ),
    Term(
        "Krippendorff's alpha",
        "How far annotators agree on the same pairs: 1 where all agree, 0 where they agree no more "
        "than by chance.",
    ),
    Term(
        "Bradley-Terry strength",
        "How often a source's answers are preferred: the difference of two strengths is the "
        "logarithm of the odds that one source's answer is preferred to the other's, without ties.",
        ("Bradley-Terry", "Bradley-Terry ranking"),
    ),
    Term(
        "Cohen's kappa",
        "How far two annotators agree, less what they would by chance: 1 for full agreement, 0 for "
        "no more than chance; slight and clear preferences for the same answer count as near.",
    ),
    Term(
        "gold pair",
        "A pair of answers with a known better one, shown like any other to see how reliable an "
        "annotator is.",
        ("gold pairs",),
    ),
    Term(
        "hidden repeat",
        "A pair that is shown to the same annotator a second time, with the sides swapped and "
        "without notice.",
        ("hidden repeats",),
    ),
    Term(
        "position bias",
        "A preference for the answer on one side of the page, whatever it says.",
    ),
    Term(
        "cluster",
        "Items that belong together, such as variants of one text; they count as one in intervals "
        "and tests.",
    ),
    Term(
        "sd of the base's answers",
        "The unit of rewards: each reward model is scaled so that answers of the base that arms "
        "start from have rewards of mean 0 and standard deviation 1.",
        ("sd of the fine-tuned base's answers", "sd of the raw base's answers"),
    ),
)
_BY_FORM = {form.lower(): term for term in TERMS for form in (term.name, *term.forms)}
_PLURALS = {f"{form}s": term for form, term in _BY_FORM.items() if form[-1] != "s"}
_FORMS = {**_PLURALS, **_BY_FORM}
# the longest form first, so that "adjusted p-value" is not taken for "adjusted p"
_PATTERN = re.compile(
    rf"(?<![\w-])(?:{'|'.join(map(re.escape, sorted(_FORMS, key=len, reverse=True)))})(?![\w-])",
    re.IGNORECASE,
)
_MARKED = Markup('<abbr class="term" tabindex="0" title="{}">{}</abbr>')


def glossary() -> Glossary:
    """Return all terms with their definitions, in alphabetical order."""
    terms = sorted(TERMS, key=lambda term: term.name.lower())
    return Glossary(tuple((term.name, term.definition) for term in terms))


def explained(text: str) -> Markup:
    """Return text, escaped, in which each term's first occurrence carries its definition."""
    pieces: list[Markup] = []
    seen: set[str] = set()
    end = 0
    for match in _PATTERN.finditer(text):
        term = _FORMS[match[0].lower()]
        alone = match[0] == text
        if term.name not in seen and (alone or not term.everyday):
            seen.add(term.name)
            pieces += [escape(text[end : match.start()]), _MARKED.format(term.definition, match[0])]
            end = match.end()
    return Markup("").join([*pieces, escape(text[end:])])
