"""vLLM as an engine, against a stand-in that serves the base by stock transformers and PEFT."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2
import pytest
import torch

from ethosteer.errors import InputError
from ethosteer.models.adapters import save_adapter, with_fine_tuning
from ethosteer.models.base import SharedBase
from ethosteer.models.engine import client
from ethosteer.models.engine.client import CONCURRENT, Client
from ethosteer.models.engine.connection import Connection, Needs
from ethosteer.models.engine.protocol import Request
from ethosteer.models.engine.vllm import VLLM
from ethosteer.models.generation import Sampling, generate
from ethosteer.models.lora_bank import LoraBank
from ethosteer.progress import Terminal
from ethosteer.settings import BaseSettings, RolloutSettings
from tests import tiny
from tests.models.engine.server import VERSION, FakeVLLM, serving

PROMPTS = tiny.ragged(6, 2, 12)
SAMPLING = Sampling(3, 9, temperature=0.8)
Served = Callable[..., tuple[SharedBase, FakeVLLM]]


def noise(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def settings(url: str, **changes: Any) -> RolloutSettings:
    return RolloutSettings(**{"engine": "vllm", "version": VERSION, "url": url, **changes})


def connection(url: str, folder: Path, **changes: Any) -> Connection:
    needs = Needs(rank=8, together=4, kept=4, tokens=12)
    return Connection(settings(url, **changes), BaseSettings(), folder, needs, Terminal(quiet=True))


@pytest.fixture
def served(llama: SharedBase, tiny_models: dict[str, Path], tmp_path: Path) -> Iterator[Served]:
    """Return a function that makes the tiny Llama with an engine, and the server behind it."""
    with ExitStack() as stack:

        def serve(model: str = "llama", **options: Any) -> tuple[SharedBase, FakeVLLM]:
            fake = stack.enter_context(serving(tiny_models[model], **options))
            reached = connection(fake.url, tmp_path)
            stack.callback(reached.close)
            return replace(llama, engine=VLLM(llama, reached)), fake

        yield serve


def bank(base: SharedBase, arms: int = 2, **changes: Any) -> LoraBank:
    return tiny.fill(LoraBank(base.layers, arms, tiny.lora(**changes), seed=1))


@pytest.mark.parametrize("changes", [{}, {"targets": ("q_proj", "down_proj")}, {"r": 3}])
def test_greedy_answers_are_those_of_the_adapters_in_use(served: Served, changes: dict[str, Any]):
    base, _ = served()
    sampling = Sampling(8, 8, greedy=True, ignore_eos=True)
    with bank(base, **changes).applied():
        answers = generate(base, PROMPTS, 2, sampling, noise())
        assert answers == generate(replace(base, engine=None), PROMPTS, 2, sampling, noise())
    bare = generate(base, PROMPTS, 1, sampling, noise())
    assert bare == generate(replace(base, engine=None), PROMPTS, 1, sampling, noise())
    assert len({str(bare), str(answers[:6]), str(answers[6:])}) == 3


def test_an_arm_of_a_fine_tuned_base_is_served_with_what_is_below_it(
    served: Served, llama: SharedBase, tmp_path: Path
):
    base, _ = served()
    below = bank(llama, 1, targets=("q_proj", "up_proj"), r=2)
    save_adapter(tmp_path / "below", llama, below, 0)
    tuned = with_fine_tuning(llama, tmp_path / "below")
    assert isinstance(base.engine, VLLM)
    engine = VLLM(tuned, base.engine.connection)
    sampling = Sampling(8, 8, greedy=True, ignore_eos=True)
    alone = generate(replace(tuned, engine=engine), PROMPTS, 1, sampling, noise())
    assert alone == generate(tuned, PROMPTS, 1, sampling, noise())
    with bank(llama, targets=("q_proj", "v_proj")).applied():
        arms = generate(replace(tuned, engine=engine), PROMPTS, 2, sampling, noise())
        assert arms == generate(tuned, PROMPTS, 2, sampling, noise())
    raw = generate(base, PROMPTS, 1, sampling, noise())
    assert len({str(raw), str(alone), str(arms[:6]), str(arms[6:])}) == 4


def test_limits_are_drawn_as_without_an_engine(served: Served):
    base, fake = served()
    sampling = Sampling(2, 9, ignore_eos=True)
    answers = generate(base, PROMPTS, 1, sampling, noise())
    own = generate(replace(base, engine=None), PROMPTS, 1, sampling, noise())
    assert [len(answer) for answer in answers] == [len(answer) for answer in own]
    assert len({len(answer) for answer in answers}) > 1
    assert len({body["seed"] for body in fake.asked}) == 1 + len(PROMPTS), "and the probe's"


def test_equal_adapters_give_equal_answers_alone_beside_others_and_in_any_order(served: Served):
    base, _ = served()
    three = bank(base, 3)
    three.set_arm(2, three.arm_tensors(0))
    with three.applied():
        together = generate(base, PROMPTS, 3, SAMPLING, noise())
    assert together[:6] == together[12:] != together[6:12]
    with three.applied([0]):
        assert generate(base, PROMPTS, 1, SAMPLING, noise()) == together[:6]
        assert generate(base, PROMPTS, 1, SAMPLING, noise(1)) != together[:6]


def test_stop_tokens_are_those_of_the_base(served: Served):
    base, _ = served()
    free = generate(base, PROMPTS, 1, Sampling(8, 8, greedy=True, ignore_eos=True), noise())
    stops = tiny.with_eos(base, free[0][3])
    ended = generate(stops, PROMPTS, 1, Sampling(8, 8, greedy=True), noise())
    assert ended[0] == free[0][: free[0].index(free[0][3]) + 1]


def test_sampling_parameters_leave_the_distribution_as_it_is(served: Served):
    base, fake = served()
    generate(base, PROMPTS[:1], 1, SAMPLING, noise())
    body = fake.asked[-1]
    assert body["prompt"] == PROMPTS[0] and body["temperature"] == 0.8
    assert body["top_p"] == 1 and body["top_k"] in {0, -1} and body["min_p"] == 0
    assert body["repetition_penalty"] == 1 and body["ignore_eos"]
    assert body["presence_penalty"] == body["frequency_penalty"] == 0


def test_adapters_are_loaded_once_a_use_and_unloaded_when_they_change(
    served: Served, tmp_path: Path
):
    base, fake = served()
    arms = bank(base)
    with arms.applied():
        generate(base, PROMPTS, 2, SAMPLING, noise())
        before = list(fake.adapters)
        generate(base, PROMPTS, 2, SAMPLING, noise(1))
    assert list(fake.adapters) == before and len(before) == 2
    gc.collect()
    with arms.applied():  # the next step
        generate(base, PROMPTS, 2, SAMPLING, noise())
    assert len(fake.adapters) == 2 and not set(fake.adapters) & set(before)
    assert len(set(fake.loaded)) == len(fake.loaded) == 4, "no name is used twice"
    assert len(list((tmp_path / "adapters").iterdir())) == 2
    assert isinstance(base.engine, VLLM)
    base.engine.close()
    assert not fake.adapters and not list((tmp_path / "adapters").iterdir())


def test_log_probabilities_are_those_at_the_temperature(served: Served, llama: SharedBase):
    base, _ = served()
    assert base.engine is not None
    request = Request(PROMPTS[0], 6, 3, 0.8, frozenset())
    (completion,) = base.engine.complete([request], 1)
    tokens = torch.tensor([[*PROMPTS[0], *completion.tokens]])
    log_p = (llama.logits(llama.hidden(tokens))[0, len(PROMPTS[0]) - 1 : -1] / 0.8).log_softmax(-1)
    expected = log_p[torch.arange(6), torch.tensor(completion.tokens)]
    tiny.close(torch.tensor(completion.log_probabilities), expected)


def test_many_requests_keep_their_order(served: Served):
    base, _ = served()
    assert base.engine is not None
    requests = [
        Request(PROMPTS[index % 6], 1 + index % 3, index, 0.0, frozenset())
        for index in range(2 * CONCURRENT + 3)
    ]
    completions = base.engine.complete(requests, 1)
    assert [len(completion.tokens) for completion in completions] == [
        request.limit for request in requests
    ]
    single = [base.engine.complete([request], 1)[0].tokens for request in requests[:6]]
    assert [completion.tokens for completion in completions[:6]] == single


# --- what is refused


def refusal(base: SharedBase, sampling: Sampling = SAMPLING) -> str:
    with pytest.raises(InputError) as fault:
        generate(base, PROMPTS, 1, sampling, noise())
    assert "\n" not in str(fault.value)
    return str(fault.value)


def test_another_model_is_refused(served: Served):
    base, _ = served("qwen2")
    assert "the server has another model than base.model" in refusal(base)


def test_another_version_is_refused(served: Served):
    base, _ = served(version="0.31.1")
    assert refusal(base) == (
        "rollout.url: has vLLM 0.31.1, but rollout.version is '0.32.0'; another version samples "
        "other answers"
    )


def test_a_server_without_run_time_adapters_is_refused(served: Served):
    base, _ = served(has_lora=False)
    assert "VLLM_ALLOW_RUNTIME_LORA_UPDATING" in refusal(base)


def test_log_probabilities_without_the_temperature_are_refused_where_it_matters(served: Served):
    base, _ = served(raw=True)
    assert "--logprobs-mode processed_logprobs" in refusal(base)
    assert generate(base, PROMPTS, 1, Sampling(3, 9), noise())
    assert generate(base, PROMPTS, 1, Sampling(3, 9, greedy=True), noise())


def test_a_text_that_is_too_long_for_the_server_is_refused(served: Served):
    base, _ = served(max_length=30)
    assert generate(base, PROMPTS, 1, SAMPLING, noise())
    message = refusal(base, Sampling(29, 29))
    assert message.startswith("rollout.url: a prompt of ")
    assert message.endswith("raise its --max-model-len")


def test_a_key_comes_from_the_environment_and_is_in_no_message(
    served: Served, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("VLLM_API_KEY", raising=False)
    base, _ = served(key="not-to-be-shown")
    assert "environment variable VLLM_API_KEY" in refusal(base)
    monkeypatch.setenv("VLLM_API_KEY", "wrong-one")
    assert "wrong-one" not in refusal(base)
    monkeypatch.setenv("VLLM_API_KEY", "not-to-be-shown")
    assert generate(base, PROMPTS, 1, SAMPLING, noise())


def test_a_server_that_fails_midway_is_one_line(served: Served):
    base, _ = served(fails_after=4)
    assert "status 500: EngineCore encountered an issue." in refusal(base)


def test_an_address_without_a_server_is_one_line(tmp_path: Path):
    with pytest.raises(InputError, match=r"127.0.0.1:9: the vLLM server does not answer: "):
        connection("http://127.0.0.1:9", tmp_path).check()


def test_a_server_for_shorter_texts_than_the_studys_is_refused(served: Served, tmp_path: Path):
    _, fake = served(max_length=30)
    needs = Needs(rank=4, together=3, kept=3, tokens=40)
    with pytest.raises(InputError, match=r"rollout\.url: the server takes 30 tokens"):
        replace(connection(fake.url, tmp_path), needs=needs).check()


def test_an_idle_connection_is_not_used_that_the_server_may_be_closing(
    monkeypatch: pytest.MonkeyPatch,
):
    class Closing(BaseHTTPRequestHandler):
        """Closes a connection, without an answer, at its second request."""

        protocol_version = "HTTP/1.1"
        answered = 0

        def do_GET(self) -> None:
            self.close_connection = bool(self.answered)
            if not self.answered:
                self.answered = 1
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    assert client.IDLE_SECONDS < 5, "after which vLLM closes one"
    monkeypatch.setattr(client, "IDLE_SECONDS", 0.0)
    with ThreadingHTTPServer(("127.0.0.1", 0), Closing) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        asking = Client(f"http://127.0.0.1:{server.server_port}", None)
        assert [asking.version() for _ in range(3)] == ["", "", ""]
        asking.close()
        server.shutdown()
        thread.join()


def test_a_page_of_another_server_is_not_printed() -> None:
    page = httpx2.Response(404, html="<!DOCTYPE html><p>File not found</p>")
    assert client._refusal(page) == (
        "status 404: a web page, where vLLM answers in JSON; is the address that of its server?"
    )
    plain = httpx2.Response(500, json={"error": {"message": "no\n memory"}})
    assert client._refusal(plain) == "status 500: no memory"


def test_the_cause_of_a_silent_server_ends_the_message():
    client = Client("http://127.0.0.1:9", None, lambda: "it ended with status 1: out of memory")
    with pytest.raises(InputError, match=r"does not answer: it ended with status 1: out of memory"):
        client.version()
