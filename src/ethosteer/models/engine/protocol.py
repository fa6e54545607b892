"""What a sampling engine is asked, and what it returns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Request:
    """A prompt to be answered by every arm, as token ids.

    limit: the answer's largest number of tokens; seed: of its sampling noise, the same in every
    arm; temperature: 0 takes the likeliest token; stop_ids: the tokens that end an answer.
    """

    prompt: Sequence[int]
    limit: int
    seed: int
    temperature: float
    stop_ids: frozenset[int]


@dataclass(frozen=True, slots=True)
class Completion:
    """An answer's token ids, and the engine's log-probability of each at the temperature."""

    tokens: list[int]
    log_probabilities: list[float]


class Engine(Protocol):
    """A program that samples in place of the base's passes, with the adapters in use."""

    @property
    def max_disagreement(self) -> float:
        """Mean difference of log-probabilities, in nats per token, above which an alarm is raised.

        It is between the engine's and the trainer's, over sampled tokens.
        """

    def start(self) -> None:
        """Get ready, if that has not been done; raises InputError where the engine is unfit."""

    def complete(self, requests: Sequence[Request], arms: int) -> list[Completion]:
        """Answer every request with every arm of the bank in use (1 for the bare base).

        Returns ``arms * len(requests)`` completions, arm by arm. Raises InputError where the engine
        cannot be reached or refuses.
        """
