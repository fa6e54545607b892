"""Benchmarks: ToxiGen, Winograd, CrowS-Pairs, Winogender and Scruples rows."""

from __future__ import annotations

import re
import string
from random import Random

from sample.records import Record, capital, csv_bytes, jsonl_bytes, read_pools, read_records

TOXIGEN_COLUMNS = (
    "text",
    "target_group",
    "factual?",
    "ingroup_effect",
    "lewd",
    "framing",
    "predicted_group",
    "stereotyping",
    "intent",
    "toxicity_ai",
    "toxicity_human",
    "predicted_author",
    "actual_method",
)
TOXIGEN_HATEFUL, TOXIGEN_BENIGN = 112, 134
MAX_ANECDOTE_WORDS = 120
PRONOUNS = {
    "male": {"$NOM_PRONOUN": "he", "$POSS_PRONOUN": "his", "$ACC_PRONOUN": "him"},
    "female": {"$NOM_PRONOUN": "she", "$POSS_PRONOUN": "her", "$ACC_PRONOUN": "her"},
    "neutral": {"$NOM_PRONOUN": "they", "$POSS_PRONOUN": "their", "$ACC_PRONOUN": "them"},
}


def _thirds(low: int, high: int, random: Random) -> str:
    """Return the mean of three whole marks, written as the published files write it."""
    value = random.randint(low, high) / 3
    return f"{value:.1f}" if value == int(value) else f"{value:.9f}"


def _toxigen_row(text: str, group: str, kind: str, random: Random) -> list[str]:
    """Return one annotated row; only hateful ones have scores that sum to more than 5.5."""
    low, high = (9, 15) if kind == "hateful" else (3, 8)
    opinion = "opinion" if kind == "hateful" else random.choice(("factual", "opinion"))
    nobody = "it is unclear who is referenced"
    return [
        text,
        group,
        "neither factual nor opinion" if kind == "unclear" else opinion,
        "doesn't use in-group language",
        "doesn't contain lewd content",
        random.choice(("moral", "cause", "solution", "disagreement")) if kind == "hateful" else "",
        nobody if kind == "unclear" else f"the text directly references {group}",
        "doesn't use positive stereotyping",
        _thirds(low, high, random),
        _thirds(low, high, random),
        _thirds(low, high, random),
        random.choice(("human", "human", "human", "ai")),
        random.choice(("cbs", "topk")),
    ]


def toxigen() -> dict[str, bytes]:
    """Return the annotated files, about invented peoples only."""
    random = Random("toxigen")
    groups, texts = read_pools("groups"), read_pools("toxigen")
    pools = {
        kind: [(frame.format(g=names[0]), key) for frame in frames for key, names in groups.items()]
        for kind, frames in texts.items()
        if kind != "unclear"
    }
    for pool in pools.values():
        random.shuffle(pool)
    files = {}
    for split, name in enumerate(("test", "train")):
        rows = [
            _toxigen_row(text, key, kind, random)
            for kind, size in (("hateful", TOXIGEN_HATEFUL), ("benign", TOXIGEN_BENIGN))
            for text, key in pools[kind][split * size : (split + 1) * size]
        ]
        rows += [
            _toxigen_row(text, random.choice(list(groups)), "unclear", random)
            for text in texts["unclear"][split::2]
        ]
        random.shuffle(rows)
        files[f"toxigen/annotated_{name}.csv"] = csv_bytes(TOXIGEN_COLUMNS, rows)
    return files


def winograd() -> dict[str, bytes]:
    """Return the schemas; of each twin pair the first has label 0, the second label 1."""
    rows: list[dict[str, object]] = []
    for record in read_records("wsc"):
        pronoun, first, second = record.marked("=")[0].split("; ")
        match = re.fullmatch(r"(.*)\{(.*)\|(.*)\}(.*)", record.head)
        assert match is not None, record.head
        before, *words, after = match.groups()
        for label, word in enumerate(words):
            marked = before + word + after
            position = marked.index(f"[{pronoun}]")
            text = marked.replace(f"[{pronoun}]", pronoun)
            rows.append(
                {
                    "text": text,
                    "pronoun": pronoun,
                    "pronoun_loc": position,
                    "quote": text[position:],
                    "quote_loc": position,
                    "options": [first, second],
                    "label": label,
                    "source": "written for the sample",
                }
            )
    return {"winograd/wsc273.jsonl": jsonl_bytes(rows)}


def crows_pairs() -> dict[str, bytes]:
    """Return the pairs; a line marked ``?`` goes against a stereotype."""
    random = Random("crows_pairs")
    pairs = []
    for record in read_records("crows"):
        bias, more, less = record.head.split(";")
        for mark, frame in record.lines:
            sentences = [capital(frame.format(g=group)) for group in (more, less)]
            pairs.append((*sentences, "stereo" if mark == "=" else "antistereo", bias))
    random.shuffle(pairs)
    rows = []
    for index, pair in enumerate(pairs):
        annotators = [f"a{number}" for number in random.sample(range(60), 5)]
        rows.append((index, *pair, str([[pair[3]]] * 5), f"a{index % 20}", str(annotators)))
    header = ("", "sent_more", "sent_less", "stereo_antistereo", "bias_type", "annotations")
    return {
        "crows_pairs/crows_pairs_anonymized.csv": csv_bytes(
            (*header, "anon_writer", "anon_annotators"), rows
        )
    }


def _sentence(template: str, occupation: str, participant: str, gender: str) -> str:
    """Fill a Winogender template; ``someone`` takes no article, and "they" takes "were"."""
    text = template
    if participant == "someone":
        text = text.replace("the $PARTICIPANT", "someone")
    text = text.replace("$OCCUPATION", occupation).replace("$PARTICIPANT", participant)
    for slot, pronoun in PRONOUNS[gender].items():
        text = text.replace(slot, pronoun)
    return text.replace("they was ", "they were ")


def winogender() -> dict[str, bytes]:
    """Return sentences, templates and occupation statistics (the numbers are invented)."""
    sentences, templates, statistics = [], [], []
    for record in read_records("winogender"):
        occupation, participant, bergsma, bls = record.head.split(";")
        statistics.append((occupation, bergsma, bls, 2016))
        for answer, marker in ((1, "+"), (0, "-")):
            template = record.marked(marker)[0]
            templates.append((occupation, participant, answer, template))
            for other in (participant, "someone"):
                for gender in PRONOUNS:
                    name = f"{occupation}.{other}.{answer}.{gender}.txt"
                    sentences.append((name, _sentence(template, occupation, other, gender)))
    heads = ("occupation(0)", "other-participant(1)", "answer", "sentence")
    counts = ("occupation", "bergsma_pct_female", "bls_pct_female", "bls_year")
    return {
        "winogender/all_sentences.tsv": csv_bytes(("sentid", "sentence"), sentences, "\t"),
        "winogender/templates.tsv": csv_bytes(heads, templates, "\t"),
        "winogender/occupations-stats.tsv": csv_bytes(counts, statistics, "\t"),
    }


def _votes(right: bool, random: Random) -> dict[str, int]:
    """Return votes of which a clear majority is on one side."""
    majority, minority = random.randint(20, 240), random.randint(0, 18)
    side, other = (majority, minority) if right else (minority, majority)
    nobody, everybody = random.randint(0, side // 8), random.randint(0, other // 8)
    return {
        "AUTHOR": other - everybody,
        "OTHER": side - nobody,
        "EVERYBODY": everybody,
        "NOBODY": nobody,
        "INFO": random.randint(0, 9),
    }


def _anecdote(record: Record, mark: str, line: str, random: Random) -> dict[str, object]:
    """Return one anecdote: an introduction, the situation, the act, the echo and a question."""
    frames = read_pools("anecdote_frames")
    right = mark == "+"
    act, story = line.split(" :: ")
    echo = random.choice(frames["praised" if right else "blamed"])
    sentences = [record.head, story, echo, random.choice(frames["closing"])]
    if random.random() < 0.6:
        sentences.insert(0, random.choice(frames["intro"]))
    if len(" ".join(sentences).split()) > MAX_ANECDOTE_WORDS:
        sentences.remove(echo)
    votes = _votes(right, random)
    sides = {
        "RIGHT": votes["OTHER"] + votes["NOBODY"],
        "WRONG": votes["AUTHOR"] + votes["EVERYBODY"],
    }
    letters, digits = string.ascii_letters + string.digits, string.ascii_lowercase + string.digits
    return {
        "id": "".join(random.choices(letters, k=32)),
        "post_id": "".join(random.choices(digits, k=6)),
        "action": {
            "description": act,
            "pronormative_score": sides["RIGHT"],
            "contranormative_score": sides["WRONG"],
        },
        "title": f"AITA for {act}?",
        "text": " ".join(sentences),
        "post_type": "HISTORICAL",
        "label_scores": votes,
        "label": max(votes, key=lambda name: votes[name]),
        "binarized_label_scores": sides,
        "binarized_label": "RIGHT" if right else "WRONG",
    }


def scruples() -> dict[str, bytes]:
    """Return the anecdotes: two acts that are right and two that are wrong per situation."""
    random = Random("scruples")
    rows = [
        _anecdote(record, mark, line, random)
        for record in read_records("anecdotes")
        for mark, line in record.lines
    ]
    random.shuffle(rows)
    return {"scruples/anecdotes/test.scruples-anecdotes.jsonl": jsonl_bytes(rows)}
