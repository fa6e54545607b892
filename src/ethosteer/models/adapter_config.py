"""Which adapters can be applied exactly, and to which base, by their adapter_config.json.

Plain LoRA adds ``scale * B A`` to the weights of a linear layer, and nothing else. Some fields of
PEFT's LoraConfig change something else: base weights, biases, embeddings, the forward pass. So an
allow-list decides: a field that is not on it, with a value other than PEFT's default, is refused
by name, and so is a field of a later version of PEFT.
"""

from __future__ import annotations

from ethosteer.models import no_kernels  # noqa: F401 (before PEFT)

# isort: split
import math
import re
import reprlib
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal

from peft import LoraConfig
from peft.tuners.tuners_utils import check_target_module_exists
from peft.utils.other import get_pattern_key
from pydantic import AfterValidator, Field

from ethosteer.errors import InputError
from ethosteer.files import file_hash, from_json
from ethosteer.models.cached import remembered_hash
from ethosteer.models.foreign import foreign
from ethosteer.models.identity import WHOLE_BYTES, resolve_model
from ethosteer.settings import BaseSettings

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
FINE_TUNING = "finetune"
"""The folder of fine-tuned bases among a run's artifacts."""

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")

TaskType = Literal["CAUSAL_LM", "SEQ_CLS"]
TASKS = {"CAUSAL_LM": "a language model", "SEQ_CLS": "a reward model or another classifier"}

RANK_AND_SCALE = {"r", "lora_alpha", "use_rslora", "rank_pattern", "alpha_pattern"}
SELECT_LAYERS = {"target_modules", "exclude_modules", "layers_to_transform", "layers_pattern"}
ONLY_IN_TRAINING = {"lora_dropout", "inference_mode", "runtime_config"}
ONLY_WITH_AN_INITIALISATION = {"eva_config", "corda_config", "lora_ga_config", "loftq_config"}
ONLY_WITH_ANOTHER_FIELD = {"megatron_core", "qalora_group_size"}
DESCRIBE = {
    "auto_mapping",
    "base_model_name_or_path",
    "fan_in_fan_out",  # PEFT corrects it by the type of the layer
    "peft_version",
    "revision",
}
CHECKED_BY_VALUE = {"peft_type", "task_type", "init_lora_weights", "modules_to_save"}
ALLOWED = (
    RANK_AND_SCALE
    | SELECT_LAYERS
    | ONLY_IN_TRAINING
    | ONLY_WITH_AN_INITIALISATION
    | ONLY_WITH_ANOTHER_FIELD
    | DESCRIBE
    | CHECKED_BY_VALUE
)
"""Fields with any value: they are read here, or do not change what a layer computes."""

DEFAULTS = {
    entry.name: None if entry.default is MISSING else entry.default for entry in fields(LoraConfig)
}
INITIALISATIONS = ("gaussian", "eva", "orthogonal", "mica")
"""Initialisations of A and B alone. PiSSA, OLoRA, CorDA, LoftQ and LoRA-GA change the base too."""
SCORE_HEADS = {"score", "classifier"}
"""What PEFT names in ``modules_to_save`` of every SEQ_CLS adapter; decoders have ``score``."""
LFS_POINTER = b"version https://git-lfs"


def _expression(text: str) -> str:
    try:
        re.compile(text)
    except re.error as fault:
        raise ValueError(f"{text!r} is not a regular expression: {fault}") from fault
    return text


Expression = Annotated[str, AfterValidator(_expression)]
Rank = Annotated[int, Field(ge=1)]
Alpha = Annotated[float, Field(allow_inf_nan=False)]


@dataclass(frozen=True)
class AdapterConfig:
    """What is read of an adapter_config.json: which layers it adapts, at which rank and scale."""

    r: Rank
    lora_alpha: Alpha
    use_rslora: bool = False
    rank_pattern: dict[Expression, Rank] | None = None
    alpha_pattern: dict[Expression, Alpha] | None = None
    target_modules: Expression | list[str] | None = None
    exclude_modules: Expression | list[str] | None = None
    layers_to_transform: int | list[int] | None = None
    layers_pattern: Expression | list[Expression] | None = None
    modules_to_save: list[str] | None = None
    base_model_name_or_path: str | None = None

    def rank(self, layer: str) -> int:
        """Return a layer's rank: by the first key of ``rank_pattern`` that matches its name."""
        ranks = self.rank_pattern or {}
        return ranks.get(get_pattern_key(list(ranks), layer), self.r)

    def scale(self, layer: str) -> float:
        """Return the factor of a layer's ``B A``: alpha / r, or alpha / sqrt(r) with rslora.

        Rank-stabilised LoRA is by Kalajdzievski (2023).
        """
        alphas = self.alpha_pattern or {}
        alpha = alphas.get(get_pattern_key(list(alphas), layer), self.lora_alpha)
        rank = self.rank(layer)
        return alpha / (math.sqrt(rank) if self.use_rslora else rank)

    def selects(self, layer: str) -> bool:
        """Tell whether PEFT adapts the layer; it ignores tensors of any other."""
        if self.target_modules in (None, "all-linear"):
            return True  # PEFT decides by the type of the layer, as SharedBase does
        return bool(check_target_module_exists(self, layer))


def read_config(folder: Path, task_type: TaskType = "CAUSAL_LM") -> AdapterConfig:
    """Read the adapter_config.json of a LoRA adapter for a task.

    Raises InputError, in one line with the file and the key, for a file that cannot be read, an
    adapter for another task, and a field that changes more than A, B and their scale.
    """
    path = folder / CONFIG
    if not path.is_file() or not (folder / WEIGHTS).is_file():
        raise InputError(f"{folder}: not a PEFT adapter ({CONFIG} and {WEIGHTS} are needed)")
    refuse_pointer(path)
    text = path.read_text("utf-8", errors="replace")
    stored = from_json(text, dict[str, Any], str(path))
    if stored.get("peft_type") != "LORA":
        raise InputError(
            f"{path}: peft_type is {stored.get('peft_type')!r}; only LORA adapters can be applied"
        )
    config = from_json(text, AdapterConfig, str(path))
    _check_task(path, stored.get("task_type"), task_type)
    initialisation = stored.get("init_lora_weights", True)
    if not isinstance(initialisation, bool) and initialisation not in INITIALISATIONS:
        raise InputError(
            f"{path}: init_lora_weights is {initialisation!r}, which changes the weights of the "
            "base; save the adapter with PEFT's path_initial_model_for_weight_conversion"
        )
    saved = set(config.modules_to_save or ())
    if saved - (SCORE_HEADS if task_type == "SEQ_CLS" else set()):
        raise _refusal(path, "modules_to_save", sorted(saved))
    for key in sorted(stored.keys() - ALLOWED):
        # PEFT writes null, false or an empty list where a field is not in use
        if (stored[key] or None) != (DEFAULTS.get(key) or None):
            raise _refusal(path, key, stored[key])
    return config


def adapter_below(folder: Path, config: AdapterConfig) -> Path | None:
    """Return the folder of the adapter that another was trained on top of; None without one.

    Arms on a fine-tuned base state the adapter of fine-tuning as their base, by its path from their
    folder. Raises InputError where it is missing, or was trained on top of a third.
    """
    stated = config.base_model_name_or_path
    if not stated:
        return None
    path, below = folder / CONFIG, folder / stated
    with foreign(str(path), "base_model_name_or_path cannot be read"):
        # other relative paths are of a base, from wherever its adapter was trained
        is_of_a_run = stated.startswith("..") and FINE_TUNING in Path(stated).parts
        if is_of_a_run and not below.is_dir():
            raise InputError(
                f"{path}: the adapter was trained on top of that in {stated}, which is not there; "
                "keep both where the run wrote them, or use `ethosteer export`"
            )
        if not (below / CONFIG).is_file():
            return None
        third = read_config(below).base_model_name_or_path
        if third and (below / third / CONFIG).is_file():
            raise InputError(f"{path}: the adapter in {stated} is on top of another one itself")
    return below


def check_base_of_adapter(adapter: Path, settings: BaseSettings) -> str | None:
    """Check that an adapter was trained on a base, by what its config names.

    Returns a line for the user where that cannot be told: names differ, and the named base is not
    at hand. Raises InputError where it is another one: a folder with other weights, or another id
    of the hub (a mirror of the same name counts as the same).
    """
    config = read_config(adapter)
    if below := adapter_below(adapter, config):
        return check_base_of_adapter(below, settings)
    stated = config.base_model_name_or_path
    if not stated:
        return None
    path, model = adapter / CONFIG, resolve_model(settings.model)
    claim = f"{path}: the adapter was trained on {stated}, not on {settings.model}"
    with foreign(str(path), "base_model_name_or_path cannot be read"):
        folders = [folder for folder in (adapter / stated, Path(stated)) if folder.is_dir()]
        expected = _weight_hashes(folders[0]) if folders else []
        given = _weight_hashes(Path(model)) if Path(model).is_dir() else []
    if expected and given:
        if expected == given:
            return None
        raise InputError(
            f"{claim}: their weights differ, or the number format in which they are stored; use "
            f"--model {folders[0]}"
        )
    if Path(stated).name.lower() == Path(model).name.lower():
        return None
    if HUB_ID.fullmatch(stated) and HUB_ID.fullmatch(model) and not given:
        raise InputError(
            f"{claim}; use --model {stated}, or, if both have the same weights, change "
            "base_model_name_or_path"
        )
    return f"{claim}; whether both have the same weights cannot be told here"


def _weight_hashes(folder: Path) -> list[str]:
    return sorted(
        remembered_hash(path) if path.stat().st_size > WHOLE_BYTES else file_hash(path)
        for path in folder.glob("*.safetensors")
    )


def refuse_pointer(path: Path) -> None:
    """Raise InputError where a file is Git LFS's pointer to it, as after a clone without LFS."""
    with path.open("rb") as file:
        if file.read(len(LFS_POINTER)) == LFS_POINTER:
            raise InputError(
                f"{path}: a Git LFS pointer instead of the file; run `git lfs pull` in its folder"
            )


def _check_task(path: Path, stored: object, expected: TaskType) -> None:
    # an adapter made without a task type is applied to the causal model that it is given
    if stored == expected or (stored is None and expected == "CAUSAL_LM"):
        return
    kind = f", {TASKS[stored]}," if isinstance(stored, str) and stored in TASKS else ""
    raise InputError(
        f"{path}: task_type is {stored!r}{kind} where {expected} is needed, {TASKS[expected]}"
    )


def _refusal(path: Path, key: str, value: object) -> InputError:
    return InputError(
        f"{path}: {key} is {reprlib.repr(value)}; ethosteer applies only LoRA adapters that change "
        "nothing but linear layers, by scale * B A"
    )
