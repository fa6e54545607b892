"""Files of a finished study are truncated, changed or deleted: what is said, and the numbers."""

from __future__ import annotations

import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path

from attacks.tiny_runs import TinyRuns, is_one_line


def truncate(path: Path, random_numbers: random.Random) -> None:
    """Cut a file off."""
    content = path.read_bytes()
    path.write_bytes(content[: random_numbers.randrange(len(content))])


def flip(path: Path, random_numbers: random.Random) -> None:
    """Change one bit of a file."""
    content = bytearray(path.read_bytes())
    content[random_numbers.randrange(len(content))] ^= 1 << random_numbers.randrange(8)
    path.write_bytes(content)


def delete(path: Path, _: random.Random) -> None:
    """Delete a file."""
    path.unlink()


DAMAGES: tuple[Callable[[Path, random.Random], None], ...] = (truncate, flip, delete)


def attack(seed: int, count: int | None, scratch: Path) -> list[tuple[str, str]]:
    """Damage one file of each kind in three ways, or ``count`` of these cases by chance.

    The results are deleted too, so that the next run reads what it rests on. Returns what was
    damaged, and what was said, with "equal" or "the numbers differ".
    """
    runs, random_numbers = TinyRuns(scratch), random.Random(seed)
    runs.whole()
    expected = runs.numbers("whole")
    cases = [
        (path, damage) for path in files_of_each_kind(runs.folder("whole")) for damage in DAMAGES
    ]
    if count is not None:
        cases = random_numbers.sample(cases, min(count, len(cases)))
    outcomes = []
    for path, damage in cases:
        shutil.copytree(scratch / "whole", scratch / "damaged")
        folder = runs.folder("damaged")
        damage(folder / path, random_numbers)
        for results in (folder / "artifacts" / "compare").glob("results-*"):
            if not path.is_relative_to(results.relative_to(folder)):
                shutil.rmtree(results)
        ended = runs.run("damaged")
        lines = [line for line in ended.text.split("\n") if "damaged" in line]
        said = re.sub(r"\S*/artifacts/", "", lines[0]) if lines else "nothing was said"
        if ended.status != 0:
            said = ended.text[-300:].strip()
            verdict = "one line" if is_one_line(ended.text) else f"exit status {ended.status}"
        else:
            equal = runs.numbers("damaged") == expected
            verdict = "equal" if equal else "the numbers differ"
        outcomes.append((f"{damage.__name__} {path}", f"{verdict}: {said}"))
        shutil.rmtree(scratch / "damaged")
    return outcomes


def files_of_each_kind(folder: Path) -> list[Path]:
    """Return one file of each kind in a run's folder, of artifacts of one kind the first's."""
    kinds: dict[object, Path] = {}
    for path in sorted(filter(Path.is_file, folder.rglob("*"))):
        relative = path.relative_to(folder)
        if path.name == ".lock" or relative.parts[0] == "tracking":
            continue
        if len(relative.parts) > 3:  # artifacts/KIND/NAME/...
            artifact = folder.joinpath(*relative.parts[:3])
            others = tuple(sorted(other.name for other in artifact.rglob("*")))
            kinds.setdefault((relative.parts[1], others, relative.parts[3:]), relative)
        else:
            kinds[relative] = relative
    return list(kinds.values())
