"""InputError: the error that means the input is invalid, not the program."""

from __future__ import annotations

from pathlib import Path


class InputError(Exception):
    """Invalid input. The command line prints it as one line and exits with status 2."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))

    @classmethod
    def at(cls, path: Path, line: int | None, problem: str) -> InputError:
        """Return the error for a problem at a line of a file (counted from 1; None: no line)."""
        return cls(f"{path}: {problem}" if line is None else f"{path}:{line}: {problem}")


class RefusedDialogueError(InputError):
    """A dialogue that the tokenizer's chat template does not take."""
