"""GGUF files, llama.cpp's format of one file a model, as models that transformers loads.

transformers dequantises the weights and rebuilds config and tokenizer from the file's metadata.
What it would get wrong in silence is mended or refused here: how a byte-level tokenizer splits text
before it merges, scaled rotary embeddings, and weights that the file lacks.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ethosteer.errors import InputError
from ethosteer.models.foreign import foreign
from ethosteer.progress import Terminal
from ethosteer.settings import ModelShape

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CONVERSION = 1
"""Raised when ``convert`` writes something else from the same file."""

BY_DIGIT = frozenset({"smollm", "starcoder", "refact"})
GPT2_SPLIT = frozenset({"gpt-2", "phi-2", "olmo", "mpt"})
WHOLE_WORDS = frozenset(
    {"llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2"}
    | {"jina-v5-nano", "tekken"}
)
"""Values of tokenizer.ggml.pre, as llama.cpp reads them (src/llama-vocab.cpp).

In turn: text is split at every digit and then as in GPT-2; text is split as in GPT-2; a word that
is a token is taken whole, whatever the merges.
"""

END_TOKENS = ("eos", "eot", "eom")
EXACT_TYPES = frozenset({"F32", "F16"})


@dataclass(frozen=True, slots=True)
class Header:
    """What a GGUF file says about its model: metadata by key (no arrays), and its tensors."""

    path: Path
    metadata: dict[str, Any]
    tensors: dict[str, str]
    """The type of each tensor, such as F32 or Q4_1."""
    vocabulary: int

    @property
    def architecture(self) -> str:
        """llama.cpp's name of the architecture."""
        return str(self.metadata.get("general.architecture"))

    @property
    def end_ids(self) -> list[int]:
        """The tokens that end an answer: of text, of a turn and of a message."""
        ids = (self.metadata.get(f"tokenizer.ggml.{name}_token_id") for name in END_TOKENS)
        return list(dict.fromkeys(int(token) for token in ids if token is not None))

    @property
    def shape(self) -> ModelShape:
        """The geometry of the model; KeyError where the file does not state it."""
        hidden, layers, intermediate = (
            int(self.metadata[f"{self.architecture}.{key}"])
            for key in ("embedding_length", "block_count", "feed_forward_length")
        )
        heads, key_value_heads, head_size = (
            self.metadata.get(f"{self.architecture}.attention.{key}")
            for key in ("head_count", "head_count_kv", "key_length")
        )
        return ModelShape(
            hidden=hidden,
            layers=layers,
            intermediate=intermediate,
            vocabulary=self.vocabulary,
            tied="output.weight" not in self.tensors,
            heads=heads and int(heads),
            key_value_heads=key_value_heads and int(key_value_heads),
            head_size=head_size and int(head_size),
        )


def require_gguf(name: str) -> None:
    """Raise InputError unless the package that reads GGUF files is installed."""
    if find_spec("gguf") is None:
        raise InputError(f"{name}: GGUF files need the package gguf: pip install 'ethosteer[gguf]'")


def read_header(path: Path) -> Header:
    """Read the metadata of a GGUF file, without torch.

    Raises InputError where the file is not GGUF, or the package gguf is not installed.
    """
    require_gguf(str(path))
    from gguf import GGUFReader, GGUFValueType

    with foreign(str(path), "not a GGUF file that can be read"):
        reader = GGUFReader(path)
        tokens = reader.fields.get("tokenizer.ggml.tokens")
        return Header(
            path,
            {
                name: field.contents()
                for name, field in reader.fields.items()
                if field.types and field.types[0] is not GGUFValueType.ARRAY
            },
            {tensor.name: tensor.tensor_type.name for tensor in reader.tensors},
            0 if tokens is None else len(tokens.data),
        )


def convert(path: Path, folder: Path, terminal: Terminal) -> None:
    """Write the model of a GGUF file as safetensors, config and tokenizer into ``folder``.

    Quantised weights become bfloat16; float32 and float16 ones become float32, which keeps every
    digit. Raises InputError for a model that transformers cannot read exactly.
    """
    header = read_header(path)
    _check(header)
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, GgufConfig

    exact = set(header.tensors.values()) <= EXACT_TYPES
    with foreign(str(path), "transformers cannot read this model"), _without_bars(terminal):
        tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            path.parent,
            gguf_file=path.name,
            dtype=torch.float32 if exact else torch.bfloat16,
            quantization_config=GgufConfig(dequantize=True),
            output_loading_info=True,
        )
    model, report = loaded
    if missing := sorted(report["missing_keys"]):
        raise InputError(
            f"{path}: weights are missing, first {missing[0]}; a model in several files must be "
            "merged into one (llama-gguf-split --merge)"
        )
    _mend_splitting(tokenizer, header)
    tokenizer.model_max_length = model.config.max_position_embeddings
    ends = header.end_ids
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=ends[0] if len(ends) == 1 else ends or None,
        pad_token_id=tokenizer.pad_token_id,
    )
    with _without_bars(terminal):
        model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _check(header: Header) -> None:
    """Raise InputError for what transformers does not read, or reads differently without a word."""
    from transformers.integrations.gguf.gguf_config_mapping import GGUF_CONFIG_ARCHS
    from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS
    from transformers.modeling_gguf_pytorch_utils import GGUF_SUPPORTED_ARCHITECTURES

    # transformers spells some with an underscore that llama.cpp does not: qwen2moe, gpt-oss
    spell = str.maketrans("", "", "-_")
    readable = {
        name.translate(spell) for name in (*GGUF_SUPPORTED_ARCHITECTURES, *GGUF_CONFIG_ARCHS)
    }
    original = "use the model's original, in safetensors"
    architecture, metadata = header.architecture, header.metadata
    if architecture.translate(spell) not in readable - {"general", "tokenizer"}:
        raise InputError(
            f"{header.path}: transformers cannot read {architecture} models from GGUF; {original}"
        )
    scaling = metadata.get(f"{architecture}.rope.scaling.type", "none")
    scaled = any(name.startswith("rope_") for name in header.tensors)
    if architecture != "gpt-oss" and (scaled or scaling != "none"):
        raise InputError(
            f"{header.path}: its rotary embedding is scaled, which transformers does not read from "
            f"GGUF; {original}"
        )
    split = metadata.get("tokenizer.ggml.pre")
    known = BY_DIGIT | GPT2_SPLIT | set(GGUF_PRE_TOKENIZER_SPLITS)
    if metadata.get("tokenizer.ggml.model") == "gpt2" and split not in known:
        raise InputError(
            f"{header.path}: its tokenizer splits text in a way that is not known here "
            f"(tokenizer.ggml.pre is {split}); {original}"
        )


def _mend_splitting(tokenizer: PreTrainedTokenizerBase, header: Header) -> None:
    """Set how a byte-level tokenizer splits text where transformers 5.23 leaves it out."""
    from tokenizers import pre_tokenizers

    split = header.metadata.get("tokenizer.ggml.pre")
    backend = tokenizer.backend_tokenizer
    if split in BY_DIGIT:
        backend.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Digits(individual_digits=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False),
            ]
        )
    elif split in WHOLE_WORDS:
        backend.model.ignore_merges = True


@contextmanager
def _without_bars(terminal: Terminal) -> Iterator[None]:
    """Keep transformers' own progress bars for people who watch a terminal."""
    if terminal.console.is_terminal and not terminal.console.quiet:
        yield
        return
    with redirect_stderr(StringIO()):
        yield
