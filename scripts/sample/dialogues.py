"""Dialogues: HH harmless-base pairs, and friendly conversations in the guanaco layout."""

from __future__ import annotations

from random import Random

from sample.records import Record, gzip_bytes, jsonl_bytes, read_pools, read_records

TEST_EVERY = 8
PAIRS_PER_TOPIC = 10


def _pairs(topic: Record, random: Random) -> list[dict[str, object]]:
    """Return preference pairs about one topic, alike up to the last assistant turn."""
    openers, tails = read_records("harmless_openers"), read_pools("harmless_tails")
    answers = [
        (question, good, bad)
        for question in topic.marked("?")
        for good in topic.marked("+")
        for bad in topic.marked("-")
    ]
    rows: list[dict[str, object]] = []
    for question, good, bad in random.sample(answers, PAIRS_PER_TOPIC):
        common = ""
        if random.random() < 0.4:
            opener = random.choice(openers)
            common = f"\n\nHuman: {opener.head}\n\nAssistant: {opener.marked('=')[0]}"
        common += f"\n\nHuman: {question}\n\nAssistant: "
        kind = f" {random.choice(tails['kind'])}" if random.random() < 0.5 else ""
        rude = f" {random.choice(tails['rude'])}" if random.random() < 0.5 else ""
        rows.append({"chosen": common + good + kind, "rejected": common + bad + rude})
    return rows


def harmless() -> dict[str, bytes]:
    """Return the harmless-base files; train and test share no topic."""
    random = Random("harmless")
    splits: dict[str, list[dict[str, object]]] = {"train": [], "test": []}
    for index, topic in enumerate(read_records("harmless")):
        split = "test" if index % TEST_EVERY == TEST_EVERY - 1 else "train"
        splits[split] += _pairs(topic, random)
    for rows in splits.values():
        random.shuffle(rows)
    return {
        f"hh-rlhf/harmless-base/{split}.jsonl.gz": gzip_bytes(jsonl_bytes(rows))
        for split, rows in splits.items()
    }


def conversations() -> dict[str, bytes]:
    """Return the conversations: single questions, follow-ups, and changes of subject."""
    random = Random("conversations")
    frames = read_pools("guanaco_frames")
    talks = [
        ((record.head, record.marked("=")[0]), (record.marked("?")[0], record.marked("=")[1]))
        for record in read_records("guanaco")
    ]
    found: list[list[tuple[str, str]]] = []
    for first, second in talks:
        greeted = (random.choice(frames["ask"]).format(q=first[0]), first[1])
        thanks = (random.choice(frames["thanks"]), random.choice(frames["reply"]))
        found += [[first], [greeted], [first, second], [first, second, thanks]]
        for other, follow_up in random.sample([talk for talk in talks if talk[0] != first], 2):
            switched = (random.choice(frames["switch"]).format(q=other[0]), other[1])
            found.append([first, switched] if random.random() < 0.5 else [first, second, switched])
            if random.random() < 0.3:
                found[-1].append(follow_up)
    random.shuffle(found)
    rows: list[dict[str, object]] = [
        {"text": "".join(f"### Human: {ask}### Assistant: {answer}" for ask, answer in turns)}
        for turns in found
    ]
    return {"conversations/guanaco_train.jsonl": jsonl_bytes(rows)}
