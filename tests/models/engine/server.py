"""A stand-in for a vLLM server on loopback: its protocol, over stock transformers and PEFT."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel

VERSION = "0.32.0"
Reply = tuple[int, object]


@dataclass
class FakeVLLM:
    """A server of the model in ``folder``.

    ``raw``: log-probabilities leave out the temperature. ``noisy``: they are this much too high.
    ``key``: the API key it wants. ``adapters`` are its adapters by name, ``loaded`` all names that
    were ever loaded, ``asked`` the bodies of all completions.
    """

    folder: Path
    version: str = VERSION
    key: str | None = None
    has_lora: bool = True
    raw: bool = False
    noisy: float = 0.0
    max_length: int = 128
    fails_after: int | None = None
    url: str = ""
    adapters: dict[str, str] = field(default_factory=dict)
    loaded: list[str] = field(default_factory=list)
    asked: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._model = AutoModelForCausalLM.from_pretrained(self.folder).eval()
        self._peft: PeftModel | None = None

    def reply(self, method: str, path: str, key: str, body: dict[str, Any]) -> Reply:
        """Answer one request: (status, content)."""
        if path.startswith("/v1") and self.key is not None and key != f"Bearer {self.key}":
            return 401, {"error": "Unauthorized"}
        with self._lock:
            return getattr(self, f"{method}_{path.strip('/').replace('/', '_')}", _unknown)(body)

    def get_health(self, _: object) -> Reply:
        return 200, None

    def get_version(self, _: object) -> Reply:
        return 200, {"version": f"{self.version}+cpu"}

    def get_v1_models(self, _: object) -> Reply:
        served = [{"id": "base", "parent": None, "max_model_len": self.max_length}]
        adapters = [{"id": name, "parent": "base"} for name in self.adapters]
        return 200, {"data": [*adapters, *served]}

    def post_v1_load_lora_adapter(self, body: dict[str, Any]) -> Reply:
        name, folder = body["lora_name"], body["lora_path"]
        if not self.has_lora:
            return 404, {"detail": "Not Found"}
        if not name or not folder:
            return 400, {"error": {"message": "Both 'lora_name' and 'lora_path' must be provided."}}
        if name in self.adapters:
            return 400, {
                "error": {"message": f"The lora adapter '{name}' has already been loaded."}
            }
        if self._peft is None:
            self._peft = PeftModel.from_pretrained(self._model, folder, adapter_name=name)
        else:
            self._peft.load_adapter(folder, adapter_name=name)
        self.adapters[name] = folder
        self.loaded.append(name)
        return 200, f"Success: LoRA adapter '{name}' added successfully."

    def post_v1_unload_lora_adapter(self, body: dict[str, Any]) -> Reply:
        del self.adapters[body["lora_name"]]
        return 200, "Success"

    @torch.no_grad()
    def post_v1_completions(self, body: dict[str, Any]) -> Reply:
        self.asked.append(body)
        if self.fails_after is not None and len(self.asked) > self.fails_after:
            return 500, {"error": {"message": "EngineCore encountered an issue."}}
        if body["model"] != "base" and body["model"] not in self.adapters:
            return 404, {"error": {"message": f"The model `{body['model']}` does not exist."}}
        noise = torch.Generator().manual_seed(body["seed"])
        tokens: list[int] = []
        values: list[float] = []
        for _ in range(body["max_tokens"]):
            logits = self._logits(body["model"], [*body["prompt"], *tokens])[-1]
            temperature = body["temperature"] or 1.0
            probabilities = (logits / temperature).softmax(-1)
            if body["temperature"]:
                probabilities /= torch.empty_like(logits).exponential_(generator=noise)
            tokens.append(int(probabilities.argmax()))
            shown = logits if self.raw else logits / temperature
            values.append(float(shown.log_softmax(-1)[tokens[-1]]) + self.noisy)
            if tokens[-1] in body["stop_token_ids"]:
                break
        choice: dict[str, Any] = {
            "token_ids": tokens,
            "logprobs": {"token_logprobs": values},
            "prompt_logprobs": None,
        }
        if body.get("prompt_logprobs") is not None:
            log_p = self._logits(body["model"], body["prompt"]).log_softmax(-1)
            choice["prompt_logprobs"] = [
                None,
                *(
                    {str(token): {"logprob": float(row[token]), "rank": 1}}
                    for row, token in zip(log_p, body["prompt"][1:], strict=False)
                ),
            ]
        return 200, {"choices": [choice]}

    def _logits(self, name: str, tokens: list[int]) -> Tensor:
        model: PreTrainedModel | PeftModel = self._model
        context: Any = nullcontext()
        if self._peft is not None:
            model = self._peft
            if name == "base":
                context = self._peft.disable_adapter()
            else:
                self._peft.set_adapter(name)
        with context:
            logits: Tensor = model(torch.tensor([tokens])).logits[0].float()
        return logits


def _unknown(_: object) -> Reply:
    return 404, {"detail": "Not Found"}


@contextmanager
def serving(folder: Path, **options: Any) -> Iterator[FakeVLLM]:
    """Serve the model in ``folder`` for a block."""
    fake = FakeVLLM(folder, **options)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer("get", {})

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self._answer("post", json.loads(body))

        def _answer(self, method: str, body: dict[str, Any]) -> None:
            key = self.headers.get("Authorization", "")
            status, content = fake.reply(method, self.path, key, body)
            data = json.dumps(content).encode() if content is not None else b""
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        request_queue_size = 256  # of clients that connect at once

    with Server(("127.0.0.1", 0), Handler) as server:
        fake.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield fake
        finally:
            server.shutdown()
            thread.join()
