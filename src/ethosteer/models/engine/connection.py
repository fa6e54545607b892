"""A study's connection to its vLLM server: made at the first use, closed at the study's end.

Importable without torch.
"""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ethosteer import interruption
from ethosteer.errors import InputError
from ethosteer.models.engine.server import Server, installed_version, smallest_rank
from ethosteer.models.identity import resolve_model
from ethosteer.progress import LOG_SECONDS, Terminal
from ethosteer.settings import BaseSettings, RolloutSettings

if TYPE_CHECKING:
    from ethosteer.models.engine.client import Client, ServedModel

API_KEY = "VLLM_API_KEY"
POLL_SECONDS = 0.5
ADAPTERS = "adapters"
LOG = "vllm.log"


@dataclass(frozen=True, slots=True)
class Needs:
    """What a study needs of its server.

    It holds adapters of ``rank``, ``together`` in a batch and ``kept`` in all, and answers prompts
    of up to ``tokens`` with the answer.
    """

    rank: int
    together: int
    kept: int
    tokens: int


@dataclass
class Connection:
    """What leads to the server of a study, which is reached or started when it is first needed.

    ``folder`` is for the log of a server that is started, and for adapters while they are served.
    """

    settings: RolloutSettings
    base: BaseSettings
    folder: Path
    needs: Needs
    terminal: Terminal
    _server: Server | None = field(default=None, repr=False)
    _client: Client | None = field(default=None, repr=False)

    def check(self) -> None:
        """Raise InputError where there is no server or environment as the settings say.

        Nothing is started, so this can be asked before any work.
        """
        if self.settings.python is not None:
            self._check_version("rollout.python", installed_version(self.settings.python))
            smallest_rank(self.needs.rank)
            if self.settings.max_length is not None:
                self._check_length("rollout.max_length", self.settings.max_length)
        else:
            self.client(on_cpu=False)

    def client(self, *, on_cpu: bool) -> Client:
        """Return the client of the running server, started where there is none yet.

        ``on_cpu``: the base is on the processor. Raises InputError where the server is unfit.
        """
        if self._client is None:
            self._client = self._started(on_cpu) if self.settings.python else self._reached()
        return self._client

    def served_model(self) -> ServedModel:
        """Return the base that the server has."""
        assert self._client is not None
        return self._client.served_model()

    @property
    def adapters(self) -> Path:
        """Where adapters lie while they are served."""
        return (self.folder / ADAPTERS).absolute()

    def close(self) -> None:
        """Stop the server that was started, and remove the adapters."""
        if self._client is not None:
            self._client.close()
        if self._server is not None:
            self._server.stop()
        self._client = self._server = None
        shutil.rmtree(self.adapters, ignore_errors=True)

    def _reached(self) -> Client:
        from ethosteer.models.engine.client import Client

        assert self.settings.url is not None
        client = Client(self.settings.url, os.environ.get(API_KEY))
        try:
            self._check_version("rollout.url", client.version())
            self._check_length("rollout.url", client.served_model().max_length)
            if not client.loads_adapters():
                raise InputError(
                    f"rollout.url: {self.settings.url} loads no adapters at run time; start it "
                    "with --enable-lora and VLLM_ALLOW_RUNTIME_LORA_UPDATING=True"
                )
        except InputError:
            client.close()
            raise
        return client

    def _started(self, on_cpu: bool) -> Client:
        from ethosteer.models.engine.client import Client

        settings = self.settings
        assert settings.python is not None
        log = self.folder / LOG
        self.terminal.say(f"starting vLLM {settings.version}; its log is {log}")
        self._server = server = Server(settings.python, self._options(on_cpu), log, on_cpu=on_cpu)
        client = Client(server.url, server.key, server.why_ended)
        started = logged = time.monotonic()
        while not client.is_up():
            if server.has_ended():
                raise InputError(f"rollout.python: vLLM did not start: {server.why_ended()}")
            interruption.stop_if_requested()
            time.sleep(POLL_SECONDS)
            if time.monotonic() - logged > LOG_SECONDS:
                logged = time.monotonic()
                seconds = f"{logged - started:.0f} s"
                self.terminal.say(f"waiting for vLLM ({seconds}): {server.last_line()}")
        self._check_version("rollout.python", client.version())
        return client

    def _options(self, on_cpu: bool) -> list[str]:
        """Return the options of a server for this base and these adapters."""
        base, needs = self.base, self.needs
        model = resolve_model(base.model)
        options: dict[str, object] = {
            "--model": str(Path(model).absolute()) if Path(model).is_dir() else model,
            "--served-model-name": "base",
            "--dtype": "bfloat16" if base.autocast else base.dtype,
            "--max-loras": needs.together,
            "--max-cpu-loras": needs.kept,
            "--max-lora-rank": smallest_rank(needs.rank),
            # the model's distribution, not that of its generation_config.json
            "--generation-config": "vllm",
            # at the sampling temperature, as the trainer's
            "--logprobs-mode": "processed_logprobs",
        }
        if base.revision is not None:
            options["--revision"] = base.revision
        if self.settings.max_length is not None:
            options["--max-model-len"] = self.settings.max_length
        if not on_cpu:
            options["--gpu-memory-utilization"] = self.settings.memory
        flags = ["--enable-lora", "--skip-tokenizer-init", "--disable-uvicorn-access-log"]
        flags += ["--enforce-eager"] if on_cpu else []
        return [*flags, *(str(word) for pair in options.items() for word in pair)]

    def _check_length(self, key: str, provided: int) -> None:
        if provided < self.needs.tokens:
            raise InputError(
                f"{key}: the server takes {provided} tokens (--max-model-len), but a prompt with "
                f"its answer has up to {self.needs.tokens} (data.max_prompt_tokens and "
                "steer.max_new_tokens)"
            )

    def _check_version(self, key: str, version: str) -> None:
        if version != self.settings.version:
            raise InputError(
                f"{key}: has vLLM {version or 'of no known version'}, but rollout.version is "
                f"{self.settings.version!r}; another version samples other answers"
            )
