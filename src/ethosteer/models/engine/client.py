"""The client of a vLLM server: its OpenAI-compatible API, with token ids on both sides.

Sampling parameters are sent in full, since a server may take its defaults from the model's
generation_config.json. Importable without torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import httpx2

from ethosteer.errors import InputError
from ethosteer.models.engine.protocol import Completion, Request

CONCURRENT = 64
"""Requests under way at once; the server batches them."""
CONNECT_SECONDS = 10.0
"""To connect, and for what takes a server no time."""
ANSWER_SECONDS = 1800.0
"""Until an answer must be there, queueing included."""
IDLE_SECONDS = 2.0
"""For which an idle connection is kept: vLLM closes it after 5, and loses a request on its way."""
LONGEST_REPLY = 300
"""Characters of a server's reply that an error repeats."""
UNPROCESSED = {
    "top_p": 1.0,
    "top_k": -1,
    "min_p": 0.0,
    "repetition_penalty": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
}
"""The model's distribution, of which nothing is cut off or penalised."""


class EngineError(InputError):
    """A server that cannot be reached, or that refuses what it is asked."""


@dataclass(frozen=True, slots=True)
class ServedModel:
    """The base that a server has: its name in requests, and the tokens of its longest sequence."""

    name: str
    max_length: int


class Client:
    """Speaks to the server at ``url``; ``key`` is its API key.

    ``cause`` returns why the server does not answer, "" where that is unknown: it ends the error.
    """

    def __init__(self, url: str, key: str | None, cause: Callable[[], str] = lambda: "") -> None:
        self.url = url
        self.cause = cause
        self.http = httpx2.Client(
            base_url=url,
            headers={"Authorization": f"Bearer {key}"} if key else {},
            limits=httpx2.Limits(max_connections=CONCURRENT, keepalive_expiry=IDLE_SECONDS),
            trust_env=False,  # a proxy for the internet does not know the server
        )

    def close(self) -> None:
        """Close the connections."""
        self.http.close()

    def is_up(self) -> bool:
        """Return whether the server answers."""
        try:
            return self.http.get("/health", timeout=CONNECT_SECONDS).is_success
        except httpx2.HTTPError:
            return False

    def version(self) -> str:
        """Return vLLM's version without what marks a build, such as ``+cpu``."""
        return str(self._ask("GET", "/version").get("version", "")).partition("+")[0]

    def served_model(self) -> ServedModel:
        """Return the base that the server has."""
        models = self._ask("GET", "/v1/models").get("data") or [{}]
        # an adapter names the model that it is for
        base: dict[str, Any] = next((model for model in models if not model.get("parent")), {})
        if not base.get("id") or not base.get("max_model_len"):
            raise EngineError(f"{self.url}: serves no language model of vLLM's")
        return ServedModel(str(base["id"]), int(base["max_model_len"]))

    def loads_adapters(self) -> bool:
        """Return whether adapters can be loaded at run time."""
        # without a name nothing is loaded: the server refuses, or has no such address
        reply = self._send("POST", "/v1/load_lora_adapter", {"lora_name": "", "lora_path": ""})
        return reply.status_code != httpx2.codes.NOT_FOUND

    def load(self, name: str, folder: Path) -> None:
        """Load the PEFT adapter in ``folder``, which the server must be able to read."""
        self._ask("POST", "/v1/load_lora_adapter", {"lora_name": name, "lora_path": str(folder)})

    def unload(self, name: str) -> None:
        """Unload an adapter; one that the server has dropped already is no error."""
        self._send("POST", "/v1/unload_lora_adapter", {"lora_name": name}, CONNECT_SECONDS)

    def complete_all(self, asked: Sequence[tuple[str, Request]]) -> list[Completion]:
        """Complete every (model, request), many at once, in the order given."""
        with ThreadPoolExecutor(CONCURRENT, "completion") as pool:
            try:
                return list(pool.map(lambda pair: self.complete(*pair), asked))
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    def complete(self, model: str, request: Request) -> Completion:
        """Complete one prompt by the base or an adapter of that name."""
        choice = self._complete(model, request)
        tokens, log_p = choice["token_ids"], choice["logprobs"]["token_logprobs"]
        if not 1 <= len(tokens) <= request.limit or len(log_p) != len(tokens):
            raise EngineError(
                f"{self.url}: returned {len(tokens)} tokens with {len(log_p)} log-probabilities "
                f"for an answer of 1 to {request.limit} tokens"
            )
        if not all(value is not None and isfinite(value) for value in log_p):
            raise EngineError(
                f"{self.url}: a log-probability of model {model} is not finite; its weights are "
                "damaged, or too large for the server's number format"
            )
        return Completion(tokens, log_p)

    def prompt_log_probabilities(
        self, model: str, request: Request
    ) -> tuple[list[float], Completion]:
        """Return the log-probability of every token of a prompt but the first, and its completion.

        Those of the prompt are at temperature 1.
        """
        choice = self._complete(model, request, prompt_logprobs=0)
        rest = zip(request.prompt[1:], choice["prompt_logprobs"][1:], strict=True)
        prompt = [float(by_token[str(token)]["logprob"]) for token, by_token in rest]
        return prompt, Completion(choice["token_ids"], choice["logprobs"]["token_logprobs"])

    def _complete(self, model: str, request: Request, **options: object) -> dict[str, Any]:
        body = {
            **UNPROCESSED,
            "model": model,
            "prompt": list(request.prompt),
            "max_tokens": request.limit,
            "seed": request.seed,
            "temperature": request.temperature,
            # only the stop tokens of the study end an answer, not those of the model's config
            "ignore_eos": True,
            "stop_token_ids": sorted(request.stop_ids),
            "logprobs": 0,
            "return_token_ids": True,
            "return_tokens_as_token_ids": True,
            "skip_special_tokens": False,
            **options,
        }
        choices = self._ask("POST", "/v1/completions", body).get("choices") or [{}]
        choice: dict[str, Any] = choices[0]
        if choice.get("token_ids") is None or choice.get("logprobs") is None:
            raise EngineError(f"{self.url}: returns no token ids; use vLLM 0.10.2 or later")
        return choice

    def _ask(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        """Return the JSON object of a reply, {} for a plain text; EngineError for a refusal."""
        reply = self._send(method, path, body)
        if not reply.is_success:
            raise EngineError(f"{self.url}{path}: {_refusal(reply)}")
        try:
            content = reply.json()
        except ValueError:
            return {}
        return content if isinstance(content, dict) else {}

    def _send(
        self, method: str, path: str, body: object = None, seconds: float = ANSWER_SECONDS
    ) -> httpx2.Response:
        timeout = httpx2.Timeout(seconds, connect=CONNECT_SECONDS)
        try:
            return self.http.request(method, path, json=body, timeout=timeout)
        except httpx2.HTTPError as fault:
            why = self.cause() or str(fault) or type(fault).__name__
            raise EngineError(f"{self.url}: the vLLM server does not answer: {why}") from fault


def _refusal(reply: httpx2.Response) -> str:
    """Return the status and the message of a reply that refuses."""
    if reply.status_code == httpx2.codes.UNAUTHORIZED:
        return "status 401: put the server's API key into the environment variable VLLM_API_KEY"
    try:
        content = reply.json()
        message = str(content.get("error", content).get("message", content))
    except (ValueError, AttributeError):
        message = reply.text
        if "html" in reply.headers.get("content-type", ""):
            message = "a web page, where vLLM answers in JSON; is the address that of its server?"
    return f"status {reply.status_code}: {' '.join(message.split())[:LONGEST_REPLY]}"
