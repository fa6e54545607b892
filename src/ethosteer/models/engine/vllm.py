"""vLLM as the engine of a base: serves the adapters in use, and has it complete prompts.

Adapters get a new name whenever they change, so that no state that the server keeps by name is that
of an earlier step.
"""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from operator import is_not
from pathlib import Path
from weakref import ref

import torch
from peft import LoraConfig
from torch import Tensor

from ethosteer.errors import InputError
from ethosteer.maths.ppo import token_log_probabilities
from ethosteer.models.adapters import Matrices, pad_rank, save_tensors, stack_ranks
from ethosteer.models.base import SharedBase
from ethosteer.models.engine.client import Client, ServedModel
from ethosteer.models.engine.connection import Connection
from ethosteer.models.engine.protocol import Completion, Request
from ethosteer.models.lora_bank import Adapter

PROBE_TOKENS = 24
PROBE_TEMPERATURE = 2.0
PROBE_TOLERANCE = 0.25
"""Nats per token between the server and the base, in the mean over a prompt.

Rounding of bfloat16 stays far below it, another model far above.
"""


class VLLM:
    """The server at the end of ``connection``, as the engine that samples for ``base``."""

    def __init__(self, base: SharedBase, connection: Connection) -> None:
        self.base = base
        self.connection = connection
        self.model: ServedModel | None = None
        self.is_raw = False
        self._is_ready = False
        self._prefix = f"ethosteer-{secrets.token_hex(4)}"
        self._loads = 0
        self._names: list[str] = []
        self._served_tensors: list[ref[Tensor]] = []

    @property
    def max_disagreement(self) -> float:
        """Mean difference of log-probabilities, nats per token, above which an alarm is raised."""
        return self.connection.settings.max_disagreement

    def start(self) -> None:
        """Reach or start the server, if that has not been done, and compare it with the base.

        Raises InputError where the server has another model, or cannot be reached.
        """
        if self._is_ready:
            return
        self._client()
        self.model = self.connection.served_model()
        self._probe()
        self._is_ready = True

    def complete(self, requests: Sequence[Request], arms: int) -> list[Completion]:
        """Answer every request with every arm of the bank in use (1 for the bare base).

        Returns ``arms * len(requests)`` completions, arm by arm. Raises InputError where the server
        does not answer, or refuses.
        """
        self.start()
        self._check(requests)
        asked = [(name, request) for name in self._served(arms) for request in requests]
        return self._client().complete_all(asked)

    def close(self) -> None:
        """Leave no adapter on the server, where it is still there."""
        if self._names:
            with suppress(InputError):
                self._unload()

    def _client(self) -> Client:
        return self.connection.client(on_cpu=self.base.device.type == "cpu")

    def _check(self, requests: Sequence[Request]) -> None:
        """Raise InputError for what the server cannot do as it was started."""
        assert self.model is not None
        longest = max(requests, key=lambda request: len(request.prompt) + request.limit)
        if len(longest.prompt) + longest.limit > self.model.max_length:
            is_started = self.connection.settings.starts_server
            raise InputError(
                f"{'rollout.max_length' if is_started else 'rollout.url'}: a prompt of "
                f"{len(longest.prompt)} tokens and an answer of up to {longest.limit} exceed the "
                f"server's {self.model.max_length}; raise "
                f"{'it' if is_started else 'its --max-model-len'}"
            )
        if self.is_raw and any(request.temperature not in {0.0, 1.0} for request in requests):
            raise InputError(
                f"rollout.url: {self.connection.settings.url} returns log-probabilities without "
                "the temperature; start it with --logprobs-mode processed_logprobs"
            )

    def _served(self, arms: int) -> list[str]:
        """Return the names under which the server has the adapters in use, loaded where new."""
        assert self.model is not None
        in_use = adapters_in_use(self.base)
        if not in_use:
            assert arms == 1, "without adapters there is one model: the base itself"
            return [self.model.name]
        # a bank stacks its tensors anew whenever it is applied, so the same tensors have the same
        # content; weak references keep none of them alive
        before = [tensor() for tensor in self._served_tensors]
        now = [adapter.a for adapter in in_use]
        if len(before) != len(now) or any(map(is_not, before, now)):
            self._unload()
            for arm in range(arms):
                self._names.append(self._load(arm))
            self._served_tensors = [ref(adapter.a) for adapter in in_use]
        assert len(self._names) == arms
        return self._names

    def _load(self, arm: int) -> str:
        name = f"{self._prefix}-{self._loads}"
        self._loads += 1
        folder = self.connection.adapters / name
        save_update(folder, update_in_use(self.base, arm))
        self._client().load(name, folder)
        return name

    def _unload(self) -> None:
        for name in self._names:
            self._client().unload(name)
            shutil.rmtree(self.connection.adapters / name, ignore_errors=True)
        self._names, self._served_tensors = [], []

    @torch.no_grad()
    def _probe(self) -> None:
        """Compare the server's log-probabilities with the base's; note whether they are raw.

        Raises InputError where they differ by more than rounding: the server has another model.
        """
        size = int(self.base.config.vocab_size)
        prompt = [(11 * index + 5) % size for index in range(PROBE_TOKENS)]
        request = Request(prompt, 1, 0, PROBE_TEMPERATURE, frozenset())
        arms = max((len(adapter.a) for adapter in adapters_in_use(self.base)), default=1)
        rows = torch.tensor([prompt] * arms, device=self.base.device)
        hidden = self.base.hidden(rows)
        for name, states in zip(self._served(arms), hidden, strict=True):
            logits = self.base.logits(states)
            expected = token_log_probabilities(logits[:-1], rows[0, 1:], 1.0)
            served, completion = self._client().prompt_log_probabilities(name, request)
            difference = float((expected.cpu() - torch.tensor(served)).abs().mean())
            if not difference <= PROBE_TOLERANCE:
                raise InputError(
                    f"{self._client().url}: the server has another model than base.model: over "
                    f"{PROBE_TOKENS} tokens their log-probabilities differ by {difference:.2g} "
                    "nats per token in the mean"
                )
            sampled = torch.tensor(completion.tokens, device=rows.device)
            at_temperature, raw = (
                float(token_log_probabilities(logits[-1:], sampled, temperature))
                for temperature in (PROBE_TEMPERATURE, 1.0)
            )
            (value,) = completion.log_probabilities
            self.is_raw = abs(value - raw) < abs(value - at_temperature)


def adapters_in_use(base: SharedBase) -> list[Adapter]:
    """Return what the layers apply: fine-tuning's adapters, then those of the bank in use."""
    frozen = base.fine_tuning.adapters.values() if base.fine_tuning else ()
    return [*frozen, *(layer.adapter for layer in base.layers.values() if layer.adapter)]


def update_in_use(base: SharedBase, arm: int) -> dict[str, Matrices]:
    """Return what an arm of the bank in use changes of the raw base, exactly, as one adapter.

    By layer, A ``[r, in]`` and B ``[out, r]`` with its scale, fine-tuning's below the arm's.
    """
    frozen = base.fine_tuning.adapters if base.fine_tuning else {}
    below = {name: (adapter.a[0], adapter.b[0] * adapter.scale) for name, adapter in frozen.items()}
    above = {
        name: (layer.adapter.a[arm], layer.adapter.b[arm] * layer.adapter.scale)
        for name, layer in base.layers.items()
        if layer.adapter
    }
    return stack_ranks(below, above, Path())


def save_update(folder: Path, layers: Mapping[str, Matrices]) -> None:
    """Write an update of layers by ``B A`` as a PEFT adapter of one rank, whose scale is 1."""
    folder.mkdir(parents=True)
    rank = max(len(a) for a, _ in layers.values())
    LoraConfig(
        task_type="CAUSAL_LM",
        r=rank,
        lora_alpha=rank,
        target_modules=sorted({name.rsplit(".", 1)[-1] for name in layers}),
        inference_mode=True,
    ).save_pretrained(str(folder))
    save_tensors(folder, {name: pad_rank(m, rank) for name, m in layers.items()}, None)
