from __future__ import annotations

import logging
import subprocess
import sys
import warnings

import pytest
import torch
import transformers

from ethosteer.errors import InputError
from ethosteer.models import loading
from ethosteer.models.loading import (
    choose_device,
    load_base,
    load_tokenizer,
    processor_note,
    quiet_libraries,
)
from ethosteer.models.lora_bank import LoraBank
from ethosteer.settings import BaseSettings
from tests import tiny


def test_a_base_that_cannot_be_loaded_is_the_users_error(tmp_path, tiny_models):
    with pytest.raises(InputError, match=r"model .*empty: no usable tokenizer"):
        load_tokenizer(BaseSettings(model=str(tmp_path / "empty")))
    broken = tmp_path / "broken"
    broken.mkdir()
    for path in tiny_models["llama"].iterdir():
        if path.suffix != ".safetensors":
            (broken / path.name).write_bytes(path.read_bytes())
    with pytest.raises(InputError, match=r"model .*broken: cannot be loaded"):
        load_base(BaseSettings(model=str(broken), device="cpu"))


def test_the_end_of_another_process_is_no_fault_of_the_architecture(tiny_models, monkeypatch):
    def broken(*_: object) -> None:
        raise RuntimeError("[/pytorch/gloo/transport/tcp/pair.cc:537] Connection closed by peer")

    monkeypatch.setattr(loading, "share", broken)
    with pytest.raises(InputError, match=r"^another process has ended"):
        load_base(BaseSettings(model=str(tiny_models["llama"]), device="cpu"))


@torch.no_grad()
def test_a_bfloat16_base_carries_fp32_adapters(tiny_models):
    base = load_base(BaseSettings(model=str(tiny_models["llama"]), dtype="bfloat16", device="cpu"))
    bank = tiny.fill(LoraBank(base.layers, 2, tiny.lora(), seed=0))
    assert {p.dtype for p in bank.parameters()} == {torch.float32}
    with bank.applied():
        assert base.hidden(torch.tensor(tiny.ragged(2, 5, 5))).dtype == torch.bfloat16


def test_devices_are_chosen_or_named():
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize("name", ["cdua", "", "cuda:-1", "cuda:99", "meta", "cpu cuda"])
def test_a_device_that_is_not_there_is_refused_in_one_line(name):
    with pytest.raises(
        InputError, match=rf"^device '{name}' \(base\.device, --device\): not usable"
    ):
        choose_device(name)


def test_auto_says_where_a_large_base_runs_on_the_processor():
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    note = processor_note("auto", cpu, 7_240_000_000)
    assert note is not None and "\n" not in note
    assert "no GPU" in note and "7.2 billion parameters" in note
    assert processor_note("auto", cpu, 3_000_000_000) is None
    assert processor_note("cpu", cpu, 7_000_000_000) is None
    assert processor_note("auto", gpu, 7_000_000_000) is None


def test_pefts_own_deprecated_call_stays_off_the_users_terminal(recwarn):
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        quiet_libraries()
        warnings.warn(
            "`is_gradient_checkpointing` is deprecated and ...", FutureWarning, stacklevel=1
        )
        warnings.warn("something else is deprecated", FutureWarning, stacklevel=1)
    assert [str(w.message) for w in recwarn] == ["something else is deprecated"]


def test_the_hubs_log_of_failed_attempts_stays_off_the_users_terminal():
    """In a process of its own, as the hub's library prints to the stderr that it starts with."""
    code = """
import logging, sys
import huggingface_hub
from ethosteer.models.loading import quiet_libraries
log = logging.getLogger("huggingface_hub.utils._http")
if "quiet" in sys.argv:
    quiet_libraries()
log.warning("an attempt failed")
"""
    printed = [
        subprocess.run(
            [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True
        ).stderr
        for arguments in ([], ["quiet"])
    ]
    assert "an attempt failed" in printed[0]
    assert printed[1] == ""


def test_whatever_loads_a_base_keeps_transformers_bars_and_advice_off_the_terminal(tiny_models):
    transformers.logging.enable_progress_bar()
    transformers.logging.set_verbosity_warning()
    load_tokenizer(BaseSettings(model=str(tiny_models["llama"])))
    assert not transformers.logging.is_progress_bar_enabled()
    assert transformers.logging.get_verbosity() == logging.ERROR
