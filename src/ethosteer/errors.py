"""InputError: the error that means the input is invalid, not the program; a worker's failure."""

from __future__ import annotations

import re
from pathlib import Path

LONGEST = 2000
"""Characters of a message."""
_CREDENTIALS = re.compile(r"(?<=://)[^/?#\s]+@")
"""Up to the last @ before the path: passwords may have one too."""
DIRECTIONS = r"\u202a-\u202e\u2066-\u2069"
"""Embeddings, overrides and isolates of the writing direction, for a set of a regular expression.

They change the order of the text beside them."""


class InputError(Exception):
    """Invalid input. The command line prints it as one line and exits with status 2."""

    def __init__(self, message: str) -> None:
        super().__init__(_one_line(message))

    @classmethod
    def at(cls, path: Path, line: int | None, problem: str) -> InputError:
        """Return the error for a problem at a line of a file (counted from 1; None: no line)."""
        return cls(f"{path}: {problem}" if line is None else f"{path}:{line}: {problem}")


def without_credentials(text: str) -> str:
    """Return a text whose addresses have no user and password, as in ``https://user:word@host``."""
    return _CREDENTIALS.sub("", text)


def spelt(match: re.Match[str]) -> str:
    r"""Return a matched character as an escape, as ``\x1b`` or ``\u202e``."""
    return ascii(match[0])[1:-1]


def _one_line(message: str) -> str:
    """Return a message as one line, with escapes for what a terminal would obey, and not too long.

    Names of columns and files come from outside and may be anything; addresses of the environment
    may have a password.
    """
    message = without_credentials(message)
    line = "".join(
        character if character.isprintable() else ascii(character)[1:-1]
        for character in " ".join(message.split())
    )
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 500]} ... {line[-500:]}"


class RefusedDialogueError(InputError):
    """A dialogue that the tokenizer's chat template does not take."""


class WorkerFailedError(Exception):
    """A worker of several ended by an error: its exit status, and one line on it."""

    def __init__(self, status: int, line: str) -> None:
        super().__init__(_one_line(line))
        self.status = status
