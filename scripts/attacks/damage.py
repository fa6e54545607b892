"""Files of a study are truncated, changed or deleted: what is said, and the numbers.

Files of a finished study, of which all that it stores is one of a kind; and of one that was killed,
which has checkpoints.
"""

from __future__ import annotations

import random
import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

from attacks.tiny_runs import Attack, TinyRuns, is_one_line

TRAINED = ("finetune", "reward", "steer")
"""The kinds of stages that store checkpoints."""


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

    Of a finished study the results are deleted too, so that the next run reads what they rest on.
    Returns what was damaged, and what was said, with "equal" or "the numbers differ".
    """
    runs, random_numbers = TinyRuns(scratch), random.Random(seed)
    _, operations = runs.whole()
    expected = runs.numbers("whole")
    files = [("whole", path) for path in files_of_each_kind(runs.folder("whole"))]
    for kind in TRAINED:
        files += [(f"killed-{kind}", path) for path in _checkpoints(runs, kind, operations)]
    cases = [(name, path, damage) for name, path in files for damage in DAMAGES]
    if count is not None:
        cases = random_numbers.sample(cases, min(count, len(cases)))
    outcomes = []
    for name, path, damage in cases:
        shutil.copytree(scratch / name, scratch / "damaged")
        folder = runs.folder("damaged")
        damage(folder / path, random_numbers)
        for results in (folder / "artifacts" / "compare").glob("results-*"):
            if not path.is_relative_to(results.relative_to(folder)):
                shutil.rmtree(results)
        outcomes.append((f"{damage.__name__} {path}", _resumed(runs, "damaged", expected)))
        shutil.rmtree(scratch / "damaged")
    return outcomes


def _resumed(runs: TinyRuns, name: str, expected: dict[str, object]) -> str:
    """Run a damaged study again; return whether numbers are those expected, and what it said."""
    ended = runs.run(name)
    lines = [line for line in ended.text.split("\n") if "damaged" in line]
    said = re.sub(r"\S*/artifacts/", "", lines[0]) if lines else "nothing was said"
    if ended.status != 0:
        said = ended.text[-300:].strip()
        verdict = "refused" if is_one_line(ended.text) else f"exit status {ended.status}"
    else:
        verdict = "equal" if runs.numbers(name) == expected else "the numbers differ"
    return f"{verdict}: {said}"


def _checkpoints(runs: TinyRuns, kind: str, operations: tuple[str, ...]) -> list[Path]:
    """Kill a run before the last file operation on checkpoints of ``kind``; return their files."""
    last = max(
        number
        for number, path in enumerate(operations, start=1)
        if path.startswith(f"demo/artifacts/{kind}/")
        and re.search(r"\.checkpoint/\.[0-9a-f]{8}\.part", path)
    )
    name = f"killed-{kind}"
    if not runs.folder(name).is_dir():
        runs.run(name, Attack(signal.SIGKILL, operation=last))
    folder = runs.folder(name)
    return [
        path.relative_to(folder)
        for path in sorted(folder.glob(f"artifacts/{kind}/.*.checkpoint/*"))
        if path.is_file() and path.stat().st_size
    ]


def files_of_each_kind(folder: Path) -> list[Path]:
    """Return one file of each kind in a run's folder, of artifacts of one kind the first's."""
    kinds: dict[object, Path] = {}
    for path in sorted(filter(Path.is_file, folder.rglob("*"))):
        relative = path.relative_to(folder)
        if path.name == ".lock":
            continue
        if relative.parts[0] == "tracking":
            kinds.setdefault("tracking", relative)
        elif len(relative.parts) > 3:  # artifacts/KIND/NAME/...
            artifact = folder.joinpath(*relative.parts[:3])
            others = tuple(sorted(other.name for other in artifact.rglob("*")))
            kinds.setdefault((relative.parts[1], others, relative.parts[3:]), relative)
        else:
            kinds[relative] = relative
    return list(kinds.values())
