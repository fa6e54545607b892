"""[rollout]: what samples answers."""

from __future__ import annotations

import re
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from ethosteer.settings.base import LARGEST_LENGTH, Settings, absolute_path

SERVER_OPTIONS = {"memory": "--gpu-memory-utilization", "max_length": "--max-model-len"}
"""Settings of a server that is started, with vLLM's options for them."""


class RolloutSettings(Settings):
    """[rollout]: what samples answers: ethosteer itself, or a vLLM server spoken to over HTTP."""

    engine: Literal["ethosteer", "vllm"] = Field("ethosteer", description="what samples answers")
    version: str | None = Field(
        None,
        description="vLLM's version; a server of another one is refused, since it samples other "
        "answers",
    )
    url: str | None = Field(
        None,
        description="of a server that runs already, such as 'http://127.0.0.1:8000'; its API key "
        "is read from the environment variable VLLM_API_KEY",
    )
    python: str | None = Field(
        None,
        description="interpreter of an environment that has vLLM; the study starts a server by it "
        "and stops it in the end",
    )
    memory: float = Field(
        0.3, gt=0, lt=1, description="fraction of a GPU's memory for a server started by `python`"
    )
    max_length: int | None = Field(
        None,
        ge=2,
        le=LARGEST_LENGTH,
        description="tokens of the longest prompt with its answer, for a server started by "
        "`python`; default: the base's",
    )
    max_disagreement: float = Field(
        0.05,
        gt=0,
        le=1e6,
        description="nats per token; an alarm where the engine's log-probabilities differ from the "
        "trainer's by more, in the mean over sampled tokens",
    )

    @field_validator("version")
    @classmethod
    def _release(cls, version: str | None) -> str | None:
        if version is not None and not re.fullmatch(r"\d+(\.\w+)+", version):
            raise ValueError("must be a release of vLLM such as '0.32.0'")
        return version

    @field_validator("url")
    @classmethod
    def _address(cls, url: str | None) -> str | None:
        if url is None:
            return None
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError("must be an address such as 'http://127.0.0.1:8000'")
        if parts.username or parts.password or parts.query:
            raise ValueError(
                "must have no credentials; put the API key into the environment variable "
                "VLLM_API_KEY"
            )
        return url.rstrip("/").removesuffix("/v1")

    @field_validator("python")
    @classmethod
    def _interpreter(cls, python: str | None) -> str | None:
        return None if python is None else absolute_path(python)

    @model_validator(mode="after")
    def _consistent(self) -> RolloutSettings:
        if self.engine == "vllm":
            if self.version is None:
                raise ValueError("engine = 'vllm' needs vLLM's version, as in version = '0.32.0'")
            if self.url is not None and self.python is not None:
                raise ValueError(
                    "url is of a server that runs already, and python starts one: leave one of "
                    "them out"
                )
            if self.url is None and self.python is None:
                raise ValueError(
                    "engine = 'vllm' needs either url, of a server that runs already, or python, "
                    "the interpreter of an environment with vLLM"
                )
            if self.url is not None:
                self._refuse_options()
        elif "engine" not in self.model_fields_set and (unused := sorted(self.model_fields_set)):
            raise ValueError(f"{', '.join(unused)}: of an engine; set engine = 'vllm' too")
        return self

    def _refuse_options(self) -> None:
        """Raise ValueError for an option of a server that is started, where none is.

        The defaults are not refused, which stand in the file of every run.
        """
        for name, option in SERVER_OPTIONS.items():
            if getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(
                    f"{name} is for a server that is started by python; the one at url was started "
                    f"with an {option} of its own, so leave {name} out"
                )

    @property
    def sampler(self) -> str | None:
        """The name and version of the engine; None where ethosteer samples."""
        return f"vllm {self.version}" if self.engine == "vllm" else None

    @property
    def starts_server(self) -> bool:
        """Whether the study starts a server, of full weights, which shares the GPU's memory."""
        return self.engine == "vllm" and self.python is not None
