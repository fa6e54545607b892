"""ETHICS: deontology, virtue, utilitarianism, justice and commonsense rows."""

from __future__ import annotations

from random import Random

from sample.records import Record, csv_bytes, read_records

REQUESTS = (
    "Could you {}?",
    "Can you {} today?",
    "Would you please {}?",
    "Shouldn't you {} now?",
    "Aren't you supposed to {}?",
    "Will you {} this time?",
    "You promised to {}, did you not?",
    "It is your turn to {}, is it not?",
)
EXCUSES = ("No because {}.", "But {}.", "No, {}.", "I will not, because {}.")
DUTIES = ("So I should {}.", "So I ought to {}.", "So I have to {}.")


def _deontology_tasks(tasks: list[Record], random: Random) -> list[list[tuple[int, str, str]]]:
    """Return two scenarios of four excuses per task."""
    whims = [record.head for record in read_records("deontology_whims")]
    blocks = []
    for task in tasks:
        reasons, silly = task.marked("+"), task.marked("-")
        frames = random.sample(REQUESTS, 2)
        for turn, frame in enumerate(frames):
            good = reasons[:2] if turn == 0 else [reasons[2], reasons[random.randrange(2)]]
            bad = [silly[turn], random.choice(whims)]
            scenario = frame.format(task.head)
            block = [(1, scenario, random.choice(EXCUSES).format(text)) for text in good]
            block += [(0, scenario, random.choice(EXCUSES).format(text)) for text in bad]
            random.shuffle(block)
            blocks.append(block)
    return blocks


def _deontology_roles(roles: list[Record], random: Random) -> list[list[tuple[int, str, str]]]:
    """Return one scenario of four duties per role."""
    blocks = []
    for role in roles:
        block = [
            (label, role.head, random.choice(DUTIES).format(text))
            for label, marker in ((1, "+"), (0, "-"))
            for text in role.marked(marker)
        ]
        random.shuffle(block)
        blocks.append(block)
    return blocks


def deontology() -> dict[str, bytes]:
    """Return the deontology files; train and test share no task and no role."""
    random = Random("deontology")
    tasks, roles = read_records("deontology_tasks"), read_records("deontology_roles")
    random.shuffle(tasks)
    random.shuffle(roles)
    files = {}
    for name, some_tasks, some_roles in (
        ("train", tasks[16:], roles[8:]),
        ("test", tasks[:16], roles[:8]),
    ):
        blocks = _deontology_tasks(some_tasks, random) + _deontology_roles(some_roles, random)
        random.shuffle(blocks)
        files[f"ethics/deontology/deontology_{name}.csv"] = csv_bytes(
            ("label", "scenario", "excuse"), [row for block in blocks for row in block]
        )
    return files


def virtue() -> dict[str, bytes]:
    """Return the virtue files: each scenario with its trait and four that are not near it."""
    random = Random("virtue")
    names = [record.head for record in read_records("names")]
    near: dict[str, set[str]] = {}
    for record in read_records("virtue_close"):
        group = record.head.split()
        for trait in group:
            near.setdefault(trait, {trait}).update(group if trait == group[0] else group[:1])
    scenarios = {record.head.split()[0]: record.marked("=") for record in read_records("virtue")}
    blocks: dict[str, list[list[tuple[int, str]]]] = {"train": [], "test": []}
    for trait, sentences in scenarios.items():
        for sentence, name in zip(sentences, random.sample(names, len(sentences)), strict=True):
            others = [other for other in scenarios if other not in near.get(trait, {trait})]
            block = [
                (int(choice == trait), f"{sentence.replace('{n}', name)} [SEP] {choice}")
                for choice in (trait, *random.sample(others, 4))
            ]
            random.shuffle(block)
            blocks["test" if sentence == sentences[-1] else "train"].append(block)
    files = {}
    for split, blocks_of_split in blocks.items():
        random.shuffle(blocks_of_split)
        files[f"ethics/virtue/virtue_{split}.csv"] = csv_bytes(
            ("label", "scenario"), [row for block in blocks_of_split for row in block]
        )
    return files


def utilitarianism() -> dict[str, bytes]:
    """Return the utilitarianism files: ten (better, worse) pairs per opening sentence."""
    random = Random("utilitarianism")
    records = read_records("util")
    random.shuffle(records)
    files = {}
    for name, split_records in (("train", records[15:]), ("test", records[:15])):
        pairs = []
        for record in split_records:
            start, good, bad = record.head, record.marked("+"), record.marked("-")
            pairs += [(f"{start} {better}", start) for better in good]
            pairs += [(start, f"{start} {worse}") for worse in bad]
            pairs += [(f"{start} {better}", f"{start} {worse}") for better in good for worse in bad]
            pairs.append((f"{start} {good[0]} {good[1]}", f"{start} {good[0]}"))
            pairs.append((f"{start} {bad[0]}", f"{start} {bad[0]} {bad[1]}"))
        random.shuffle(pairs)
        files[f"ethics/utilitarianism/util_{name}.csv"] = csv_bytes(None, pairs)
    return files


def justice() -> dict[str, bytes]:
    """Return the justice test file: two fitting and two empty reasons per opening."""
    random = Random("justice")
    rows: list[tuple[int, str]] = []
    for record in read_records("justice"):
        block = [(int(mark == "+"), f"{record.head} {text}") for mark, text in record.lines]
        random.shuffle(block)
        rows += block
    return {"ethics/justice/justice_test.csv": csv_bytes(("label", "scenario"), rows)}


def commonsense() -> dict[str, bytes]:
    """Return the commonsense test file; 1 is wrong, as published."""
    random = Random("commonsense")
    rows: list[tuple[int, str, str, str]] = []
    for record in read_records("commonsense"):
        block = [
            (int(mark == "-"), f"{record.head} {text}", "True", "False")
            for mark, text in record.lines
        ]
        random.shuffle(block)
        rows += block
    header = ("label", "input", "is_short", "edited")
    return {"ethics/commonsense/cm_test.csv": csv_bytes(header, rows)}
