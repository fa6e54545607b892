"""Files of other programs: Parquet of odd types, odd votes, READMEs of hub datasets."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any, Literal

from attacks.faults import outcome, pairs_fault, write
from attacks.mutations import BYTES
from attacks.workers import Outcome
from ethosteer.data.formats.dataset import file_dataset
from ethosteer.data.hub import HubDataset
from ethosteer.settings import ArmSettings


def parquet(noise: random.Random, scratch: Path) -> Outcome:
    """Read a Parquet file of odd types, or a damaged one."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = scratch / "mine" / "f.parquet"
    path.parent.mkdir(exist_ok=True)
    columns: dict[str, Any] = {name: ["one", "two"] for name in ("prompt", "chosen", "rejected")}
    how, column = noise.choice(list(_parquet_columns().items()))
    columns[noise.choice(list(columns))] = column
    pq.write_table(pa.table(columns), path, compression=noise.choice(("none", "zstd")))
    if noise.random() < 0.4:
        how = "damaged"
        content = bytearray(path.read_bytes())
        for _ in range(noise.randrange(1, 9)):
            content[noise.randrange(len(content))] ^= 1 << noise.randrange(8)
        path.write_bytes(bytes(content[: noise.choice((len(content), len(content) // 2))]))
    dataset = file_dataset("mine", ArmSettings(file=str(path)))
    return f"parquet: {how}", outcome(lambda: pairs_fault(dataset, path), str(path))


def votes(noise: random.Random, scratch: Path) -> Outcome:
    """Read votes or scores that are no counts, beyond the limits, or of other types."""
    path = scratch / "mine" / "votes.jsonl"
    measure = noise.choice(("votes", "score", "winner"))
    columns = ("winner",) if measure == "winner" else (f"{measure}_a", f"{measure}_b")
    answers = {"prompt": "May I?", "response_a": "Yes.", "response_b": "No."}
    rows = [
        json.dumps({**answers, **{name: noise.choice(VOTES) for name in columns}})
        for _ in range(noise.choice((1, 2)))
    ]
    write(path, "\n".join(rows).encode())
    weigh: tuple[Literal["majority", "judgements"] | None, ...] = (None, "majority", "judgements")
    arm = ArmSettings(file=str(path), weigh=noise.choice(weigh))
    dataset = file_dataset("mine", arm)
    return f"votes: {measure}", outcome(lambda: pairs_fault(dataset, path), str(path))


VOTES: tuple[Any, ...] = (
    0, 1, 3, -1, 0.5, 1e308, float("nan"), float("-inf"), 10**9, 10**9 + 1, 10**30, 10**4000, True,
    None, "", "2", "a", "tie", "A ", "\u0661", "1e3", "NaN", [1], {"a": 1}, {"selected": "a"},
)  # fmt: skip
"""Values of a column of votes, scores or winners."""


def hub_readme(noise: random.Random, scratch: Path) -> Outcome:
    """Select the files of a hub dataset by a spoiled README."""
    folder = scratch / "snapshot"
    write(folder / "data" / "train.jsonl", b"{}")
    front = README
    if noise.random() < 0.5:
        line = noise.choice(README.splitlines())
        front = README.replace(line, line.partition(":")[0] + ": " + noise.choice(YAML_VALUES))
    spoiled = front.encode(errors="surrogatepass")
    how = "a value replaced"
    if noise.random() < 0.4:
        how, spoil_bytes = noise.choice(BYTES)
        spoiled = spoil_bytes(spoiled, noise)
    write(folder / "README.md", spoiled)
    dataset = HubDataset("someone/rows", config=noise.choice(("", "hard", "\x1b[2J")))

    def action() -> str | None:
        chosen = dataset.files(folder)
        return None if all(path.is_relative_to(folder) for path in chosen) else "a file outside"

    return f"hub README: {how}", outcome(action, str(folder), "someone/rows")


README = """---
license: mit
configs:
- config_name: default
  data_files:
  - split: train
    path: data/*.jsonl
- config_name: hard
  default: true
  data_files: data/train.jsonl
---
# Rows
"""
YAML_VALUES = (
    "", "null", "[]", "{}", "[1]", "{a: 1}", "1", "1e999", ".nan", "2026-01-01", "true", "a: b: c",
    "'", '"', "[" * 500, "[" * 20_000, "&a [*a]", "*b", "!!python/object:os.system x", "!!binary x",
    "<<: 1", "? x", "'../../*'", "'/etc/*'", "'*" + "a*" * 30 + "b'", "'[!'", "'**'", "\x1b[2J",
    "\u2028", "\0", "1" * 5000, "|\n", "@x", "%x", "- x",
)  # fmt: skip
"""YAML, and what only looks like it, to stand for a value of a README."""


def _parquet_columns() -> dict[str, Any]:
    import pyarrow as pa

    two = ["one", "two"]
    return {
        "bytes": pa.array([b"one", b"\xff"]),
        "dictionary": pa.array(two).dictionary_encode(),
        "large text": pa.array(two, pa.large_string()),
        "decimal": pa.array([1, 2], pa.decimal128(5, 2)),
        "far dates": pa.array([2**62, -(2**62)], pa.timestamp("us")),
        "nanoseconds": pa.array([1, 2], pa.timestamp("ns", tz="Mars/Olympus")),
        "durations": pa.array([2**62, 1], pa.duration("s")),
        "null": pa.nulls(2),
        "half floats": pa.array([1, 2]).cast(pa.float16()),
        "map": pa.array([[("a", 1)], []], pa.map_(pa.string(), pa.int64())),
        "struct": pa.array([{"role": "user", "content": "x"}, None]),
        "list of struct": pa.array([[{"role": "user", "content": "x"}], []]),
        "lists": pa.array([[["a"]], [[]]]),
        "times": pa.array([1, 2], pa.time64("ns")),
        "dates": pa.array([2**31 - 1, -(2**31)], pa.date32()),
        "large decimal": pa.array(["1" * 70, "2"]).cast(pa.decimal256(76, 0)),
        "fixed bytes": pa.array([b"ab", b"\xff\xfe"], pa.binary(2)),
        "large bytes": pa.array([b"one", b"\xff"], pa.large_binary()),
        "dictionary of bytes": pa.array([b"one", b"two"]).dictionary_encode(),
        "large integers": pa.array([2**64 - 1, 0], pa.uint64()),
        "floats that are not finite": pa.array([float("nan"), float("inf")]),
        "truth values": pa.array([True, None]),
        "deep lists": pa.array([[[[[[[["a"]]]]]]], None]),
        "surrogates": pa.array([b"\xed\xa0\x80", b"x"]).view(pa.string()),
        "NUL": pa.array(["a\0b", "c"]),
        "a fixed list": pa.array([["a"], ["b"]], pa.list_(pa.string(), 1)),
    }
