"""Pretrain the pocket base model: a Llama of 5.8 M parameters for two CPU cores.

    python scripts/pretrain_pocket.py --data-dir DATA --work-dir WORK --steps 1250

Resumes from the last checkpoint in WORK. The learning rate is constant and then falls linearly to
zero over the last 30 % of --steps, so a run can be made longer or shorter while it runs. The text
is that of `pretraining_text`; 2 % of it is held out. When done, the model, its tokenizer and its
card with the measured figures stand in WORK/pocket, to be copied to src/ethosteer/assets/pocket.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import hashlib
import json
import math
import time
from collections.abc import Iterator
from pathlib import Path
from string import Template

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from ethosteer.data.splits import connected_groups, split_of, unit_hash
from ngram import KneserNey

VOCABULARY = 4096
CONTEXT = 512
BATCH_ROWS = 16
HELD_OUT_SHARE = 0.02
BLOCK_CHARACTERS = 6000
MUON_RATE, ADAM_RATE = 0.01, 2e-3
LICENCES = {
    "inaugural": "public domain",
    "shakespeare": "public domain",
    "state_union": "public domain",
    "wiki": "CC BY-SA",
    "ethics deontology, train": "MIT",
    "ethics justice, train": "MIT",
    "ethics virtue, train": "MIT",
    "ethics utilitarianism, train": "MIT",
    "hh-rlhf harmless, train": "MIT",
}
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '### Human: ' if message['role'] == 'user' else '### Assistant: ' }}"
    "{{ message['content'] }}{{ ' ' if not loop.last else '' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ ' ### Assistant:' }}{% endif %}"
)


def pretraining_text(data_dir: Path) -> dict[str, list[str]]:
    """Read the documents by source: no benchmark file, and no group of a held-out pair."""
    ethics = data_dir / "ethics"
    return {
        **{
            source: list(blocks((data_dir / "corpus" / f"{source}.txt").read_text("utf-8")))
            for source in ("inaugural", "shakespeare", "state_union", "wiki")
        },
        "ethics deontology, train": scenarios(
            ethics / "deontology" / "deontology_train.csv", "scenario", "excuse"
        ),
        "ethics justice, train": scenarios(ethics / "justice" / "justice_train.csv", "scenario"),
        "ethics virtue, train": virtue(ethics / "virtue" / "virtue_train.csv"),
        "ethics utilitarianism, train": utilitarianism(
            ethics / "utilitarianism" / "util_train.csv"
        ),
        "hh-rlhf harmless, train": dialogues(
            data_dir / "hh-rlhf" / "harmless-base" / "train.jsonl.gz"
        ),
    }


def blocks(text: str) -> Iterator[str]:
    """Cut a long text at line ends into documents of about ``BLOCK_CHARACTERS``."""
    block = ""
    for line in text.splitlines(keepends=True):
        block += line
        if len(block) >= BLOCK_CHARACTERS:
            yield block.strip()
            block = ""
    if block.strip():
        yield block.strip()


def csv_rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def scenarios(path: Path, *columns: str) -> list[str]:
    """One document per scenario: its rows without their labels, a line each."""
    documents: dict[str, list[str]] = {}
    for row in csv_rows(path):
        line = " ".join(row[column].strip() for column in columns)
        documents.setdefault(row["scenario"].strip(), []).append(line)
    return ["\n".join(lines) for group, lines in documents.items() if split_of(group) == "train"]


def virtue(path: Path) -> list[str]:
    """Each scenario once, without its traits."""
    texts = {row["scenario"].split("[SEP]")[0].strip() for row in csv_rows(path)}
    return sorted(text for text in texts if split_of(text) == "train")


def utilitarianism(path: Path) -> list[str]:
    """Both scenarios of a row, in an order that does not tell which one is better."""
    with path.open(encoding="utf-8", newline="") as file:
        pairs = [(row[0].strip(), row[1].strip()) for row in csv.reader(file)]
    groups = connected_groups(pairs)
    return [
        "\n".join(sorted(pair))
        for pair, group in zip(pairs, groups, strict=True)
        if split_of(group) == "train"
    ]


def dialogues(path: Path) -> list[str]:
    """One of the two dialogues of a row, chosen by hash and not by preference."""
    documents = []
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            opening = row["chosen"].split("\n\nAssistant:")[0].strip()
            if split_of(opening) == "train":
                documents.append(row["chosen" if unit_hash(opening) < 0.6 else "rejected"].strip())
    return documents


def train_tokenizer(documents: list[str]) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE that starts every text with BOS."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        documents,
        trainers.BpeTrainer(
            vocab_size=VOCABULARY,
            special_tokens=["<|bos|>", "<|eos|>", "<|pad|>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        ),
    )
    tokenizer.post_processor = processors.Sequence(
        [
            processors.ByteLevel(trim_offsets=False),
            processors.TemplateProcessing(
                single="<|bos|> $A",
                pair="<|bos|> $A $B",
                special_tokens=[("<|bos|>", 0)],
            ),
        ]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<|bos|>",
        eos_token="<|eos|>",
        pad_token="<|pad|>",
        model_max_length=CONTEXT,
        clean_up_tokenization_spaces=False,
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast


def build_model() -> LlamaForCausalLM:
    """Return the untrained model: 5,795,072 parameters, tied embeddings."""
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=256,
            intermediate_size=688,
            num_hidden_layers=6,
            num_attention_heads=4,
            num_key_value_heads=4,
            max_position_embeddings=CONTEXT,
            tie_word_embeddings=True,
            bos_token_id=0,
            eos_token_id=1,
            pad_token_id=2,
        )
    )


def encode(tokenizer: PreTrainedTokenizerFast, documents: list[str]) -> list[np.ndarray]:
    """Encode each document as BOS, text, EOS."""
    ids = tokenizer(documents).input_ids
    return [np.array([*row, tokenizer.eos_token_id], dtype=np.int64) for row in ids]


def loss_of(model: LlamaForCausalLM, rows: torch.Tensor) -> torch.Tensor:
    """Return the mean next-token loss of ``rows: [rows, CONTEXT + 1]``, in nats."""
    with torch.autocast("cpu", torch.bfloat16):
        hidden = model.model(input_ids=rows[:, :-1]).last_hidden_state
        logits = model.lm_head(hidden.flatten(0, 1))
    return torch.nn.functional.cross_entropy(logits.float(), rows[:, 1:].flatten())


def optimisers(model: LlamaForCausalLM) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the layers, AdamW for embeddings and norms."""
    matrices = [p for p in model.model.layers.parameters() if p.ndim == 2]
    chosen = {id(p) for p in matrices}
    others = [p for p in model.parameters() if id(p) not in chosen]
    return [
        torch.optim.Muon(matrices, lr=MUON_RATE, weight_decay=0.05),
        torch.optim.AdamW(others, lr=ADAM_RATE, betas=(0.9, 0.95), weight_decay=0.0),
    ]


def rate_factor(step: int, steps: int) -> float:
    """Warm up over 50 steps, stay, and fall to zero over the last 30 %."""
    return min(1.0, (step + 1) / 50, (steps - step) / (0.3 * steps))


def save_checkpoint(
    path: Path, model: LlamaForCausalLM, rules: list[torch.optim.Optimizer], step: int
) -> None:
    tensors = {f"model.{name}": p.detach() for name, p in model.named_parameters()}
    for index, rule in enumerate(rules):
        for key, state in rule.state_dict()["state"].items():
            for name, value in state.items():
                tensors[f"rule.{index}.{key}.{name}"] = torch.as_tensor(value)
    save_file(tensors, path.with_suffix(".part"), metadata={"step": str(step)})
    path.with_suffix(".part").replace(path)
    path.with_suffix(".json").write_text(json.dumps({"step": step}), encoding="utf-8")


def load_checkpoint(path: Path, model: LlamaForCausalLM, rules: list[torch.optim.Optimizer]) -> int:
    tensors = load_file(path)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(tensors[f"model.{name}"])
    for index, rule in enumerate(rules):
        state: dict[int, dict[str, torch.Tensor]] = {}
        for name, value in tensors.items():
            if name.startswith(f"rule.{index}."):
                _, _, key, field = name.split(".", 3)
                state.setdefault(int(key), {})[field] = value
        rule.load_state_dict({**rule.state_dict(), "state": state})
    return int(json.loads(path.with_suffix(".json").read_text("utf-8"))["step"])


def bits_per_byte(
    model: LlamaForCausalLM, encoded: list[np.ndarray], documents: list[str]
) -> float:
    """Return the bits of the held-out tokens (EOS left out) over the bytes of their text.

    A document longer than the context is read in windows that overlap by half, each token scored
    once with at least half a context before it.
    """
    nats = 0.0
    with torch.no_grad():
        for ids in encoded:
            text = ids[:-1]
            for start in range(0, max(1, len(text) - 1), CONTEXT // 2):
                window = torch.from_numpy(text[start : start + CONTEXT + 1])[None]
                if window.shape[1] < 2:
                    break
                logits = model(input_ids=window[:, :-1]).logits[0]
                losses = torch.nn.functional.cross_entropy(logits, window[0, 1:], reduction="none")
                nats += float(losses[0 if start == 0 else CONTEXT // 2 :].sum())
    return nats / math.log(2) / sum(len(d.encode("utf-8")) for d in documents)


def ngram_bits_per_byte(
    order: int, train: list[np.ndarray], held_out: list[np.ndarray], documents: list[str]
) -> float:
    """The same figure for an interpolated Kneser-Ney model over the same tokens."""
    model = KneserNey(order, train, VOCABULARY)
    nats = sum(float(-model.log_probabilities(ids[:-1]).sum()) for ids in held_out)
    return nats / math.log(2) / sum(len(d.encode("utf-8")) for d in documents)


def packed_rows(encoded: list[np.ndarray], epoch: int) -> torch.Tensor:
    """Join all documents in an order of the epoch's own, cut into ``[rows, CONTEXT + 1]``."""
    order = np.random.default_rng(epoch)
    stream = np.concatenate([encoded[i] for i in order.permutation(len(encoded))])
    count = len(stream) // (CONTEXT + 1)
    rows = torch.from_numpy(stream[: count * (CONTEXT + 1)]).view(count, CONTEXT + 1)
    return rows[torch.from_numpy(order.permutation(count))]


def train(encoded: list[np.ndarray], work: Path, steps: int) -> int:
    """Train to ``steps``, resuming from ``work``, and keep ``work/pocket`` up to date.

    Returns the number of steps in one pass through the text.
    """
    torch.manual_seed(0)
    model, step = build_model(), 0
    rules = optimisers(model)
    checkpoint = work / "checkpoint.safetensors"
    if checkpoint.exists():
        step = load_checkpoint(checkpoint, model, rules)
        print(f"resumed at step {step}", flush=True)
    per_epoch = sum(map(len, encoded)) // (CONTEXT + 1) // BATCH_ROWS
    rows, rows_epoch, started = torch.empty(0), -1, time.monotonic()
    while step < steps:
        epoch, batch = divmod(step, per_epoch)
        if epoch != rows_epoch:
            rows, rows_epoch = packed_rows(encoded, epoch), epoch
        for rule, rate in zip(rules, (MUON_RATE, ADAM_RATE), strict=True):
            rule.param_groups[0]["lr"] = rate * rate_factor(step, steps)
            rule.zero_grad()
        loss = loss_of(model, rows[batch * BATCH_ROWS : (batch + 1) * BATCH_ROWS])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for rule in rules:
            rule.step()
        step += 1
        if step % 20 == 0:
            print(f"step {step} loss {loss:.4f} at {time.monotonic() - started:.0f} s", flush=True)
        if step % 100 == 0 or step == steps:
            save_checkpoint(checkpoint, model, rules, step)
            half = {name: value.bfloat16() for name, value in model.state_dict().items()}
            model.save_pretrained(work / "pocket", state_dict=half)
    return per_epoch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--work-dir", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=1250, help="of 8,192 tokens each")
    arguments = parser.parse_args()
    work: Path = arguments.work_dir
    work.mkdir(parents=True, exist_ok=True)

    sources = pretraining_text(arguments.data_dir)
    documents = sorted({text for texts in sources.values() for text in texts if text})
    held_out = [text for text in documents if unit_hash("held-out" + text) < HELD_OUT_SHARE]
    training = [text for text in documents if unit_hash("held-out" + text) >= HELD_OUT_SHARE]
    tokenizer = train_tokenizer(training)
    tokenizer.save_pretrained(work / "pocket")
    encoded = encode(tokenizer, training)
    print(f"{len(training)} documents, {sum(map(len, encoded))} tokens to train on", flush=True)

    per_epoch = train(encoded, work, arguments.steps)

    model = LlamaForCausalLM.from_pretrained(work / "pocket", dtype=torch.float32).eval()
    held_out_ids = encode(tokenizer, held_out)
    figures = {
        "parameters": model.num_parameters(),
        "context": CONTEXT,
        "steps": arguments.steps,
        "tokens_per_step": BATCH_ROWS * CONTEXT,
        "tokens_seen": arguments.steps * BATCH_ROWS * CONTEXT,
        "epochs": round(arguments.steps / per_epoch, 1),
        "held_out_documents": len(held_out),
        "held_out_bytes": sum(len(d.encode("utf-8")) for d in held_out),
        "text_sha256": hashlib.sha256("\0".join(training).encode()).hexdigest(),
        "bits_per_byte": round(bits_per_byte(model, held_out_ids, held_out), 3),
        "bits_per_byte_5gram": round(ngram_bits_per_byte(5, encoded, held_out_ids, held_out), 3),
    }
    write_card(work / "pocket", figures, sources)
    print(json.dumps(figures, indent=2))


def write_card(
    folder: Path, figures: dict[str, float | int | str], sources: dict[str, list[str]]
) -> None:
    """Fill the model card with the measured figures."""
    rows = [f"| {name} | {len(texts):,} | {LICENCES[name]} |" for name, texts in sources.items()]
    shown = {key: f"{value:,}" for key, value in figures.items() if isinstance(value, int)}
    card = Template(Path(__file__).with_name("pocket_card.md").read_text("utf-8"))
    text = card.substitute({**figures, **shown}, sources="\n".join(rows))
    (folder / "README.md").write_text(text, "utf-8")


if __name__ == "__main__":
    main()
