"""A small sample of scripts/attacks/models.py: malformed folders of models and adapters."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from attacks.models import KEPT, REFUSED, Folders, attack, outcome
from ethosteer.errors import InputError
from ethosteer.models.adapters import save_adapter
from ethosteer.models.base import SharedBase
from ethosteer.models.lora_bank import LoraBank
from tests import tiny

CHAT = (
    "{% for message in messages %}<s>{{ message.role }}: {{ message.content }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<s>assistant: {% endif %}"
)


@pytest.mark.parametrize("seed", [0, 1])
def test_malformed_folders_load_or_are_refused_in_one_line(
    seed: int, llama: SharedBase, tiny_models: dict[str, Path], tmp_path: Path
) -> None:
    model, adapter, classifier = (tmp_path / name for name in ("model", "adapter", "classifier"))
    shutil.copytree(tiny_models["llama"], model)
    path = model / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "chat_template": CHAT}))
    bank = tiny.fill(LoraBank(llama.layers, 1, tiny.lora(), seed=0))
    save_adapter(adapter, llama, bank, 0)
    tiny.save_classifier(classifier)
    outcomes = attack(seed, 24, tmp_path, Folders(model, adapter, classifier), llama)
    assert [(done, ended) for done, ended in outcomes if ended not in {KEPT, REFUSED}] == []
    assert {ended for _, ended in outcomes} == {KEPT, REFUSED}


def test_what_is_counted_as_a_fault() -> None:
    def raising(fault: BaseException) -> str | None:
        raise fault

    assert outcome(lambda: None) == KEPT
    assert outcome(lambda: "logits that are not finite") == "logits that are not finite"
    assert outcome(lambda: raising(InputError("x"))) == REFUSED
    assert outcome(lambda: raising(KeyError("x"))) == "traceback: KeyError: 'x'"
