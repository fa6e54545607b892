"""Attack ethosteer, and count what came of it; the exit status is 1 where anything was a fault.

    python scripts/attack.py kills --count 80      # signals at any time; one in four is SIGTERM
    python scripts/attack.py claims --count 60     # one of two workers is killed or paused
    python scripts/attack.py damage                # every kind of stored file, in three ways
    python scripts/attack.py disk --count 60       # full at every stage, and read-only
    python scripts/attack.py inputs --count 4000   # study files, settings, readers, arguments
    python scripts/attack.py models --count 900    # folders of models, adapters, classifiers
    python scripts/attack.py size --count 100000   # invented outcomes, compared and reported
    python scripts/attack.py curate --count 500000 # invented pairs, curated

An attack is repeated by its ``--seed``.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).parents[1]))
# before the hub's client is imported, which reads it then and would try again for minutes
os.environ["HF_HUB_OFFLINE"] = "1"

from tests import tiny

from attacks import claims, curation, damage, disk, inputs, kills, models, size

Outcomes = list[tuple[str, str]]

EXPECTED = ("equal", "refused", "accepted", models.KEPT, models.REFUSED)
"""How outcomes begin that are no faults."""
CHAT = "{% for message in messages %}<s>{{ message.role }}: {{ message.content }}</s>{% endfor %}"


def attack_models(seed: int, count: int, scratch: Path) -> Outcomes:
    """Spoil a tiny Llama with a chat template, a policy's adapter on it, and a classifier."""
    from transformers import AutoTokenizer

    from ethosteer.models.adapters import save_adapter
    from ethosteer.models.identity import POCKET
    from ethosteer.models.loading import load_base
    from ethosteer.models.lora_bank import LoraBank
    from ethosteer.settings import BaseSettings

    model, adapter, classifier = (scratch / name for name in ("model", "adapter", "classifier"))
    tiny.save_llama(model, AutoTokenizer.from_pretrained(POCKET))
    tiny.save_classifier(classifier)
    path = model / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), "chat_template": CHAT}))
    base = load_base(BaseSettings(model=str(model), device="cpu"))
    save_adapter(adapter, base, tiny.fill(LoraBank(base.layers, 1, tiny.lora(), seed=0)), 0)
    return models.attack(seed, count, scratch, models.Folders(model, adapter, classifier), base)


ATTACKS: dict[str, tuple[Callable[[int, int, Path], Outcomes], int]] = {
    "kills": (kills.attack, 80),
    "claims": (claims.attack, 60),
    "damage": (damage.attack, 10**9),
    "disk": (disk.attack, 60),
    "inputs": (inputs.attack, 4000),
    "models": (attack_models, 900),
}
"""Every attack whose outcomes are counted, with how often it is tried by default."""
MEASURED: dict[str, tuple[Callable[[int, int, Path], Outcomes], int]] = {
    "size": (size.attack, 100_000),
    "curate": (curation.attack, 500_000),
}
"""Attacks by size, whose time and memory are printed, with their usual size."""


def main() -> int:
    """Run one attack; print its counts, and every fault."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("attack", choices=(*ATTACKS, *MEASURED))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int)
    options = parser.parse_args()
    with TemporaryDirectory() as folder:
        scratch = Path(folder) / "scratch"
        scratch.mkdir()
        if options.attack in MEASURED:
            attack, usual = MEASURED[options.attack]
            for name, value in attack(options.seed, options.count or usual, scratch):
                print(f"{name}: {value}")
            return 0
        attack, usual = ATTACKS[options.attack]
        outcomes = attack(options.seed, options.count or usual, scratch)
    faults = [(name, outcome) for name, outcome in outcomes if not outcome.startswith(EXPECTED)]
    for outcome, count in Counter(outcome for _, outcome in outcomes).most_common():
        if outcome.startswith(EXPECTED):
            print(f"{count} {outcome}")
    for name, outcome in faults:
        print(f"FAULT {name}: {outcome}")
    print(f"{len(outcomes)} tried, {len(faults)} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
