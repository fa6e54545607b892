"""Checks of a model when it is loaded, since no list of architectures can be complete."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase
from transformers.pytorch_utils import Conv1D

from ethosteer.errors import InputError
from ethosteer.models.base import SharedBase
from ethosteer.models.cache import PreallocatedLayer, make_cache
from ethosteer.models.fast.decoding import Captured, Rows
from ethosteer.models.fast.trees import LARGEST_TREE, pack, stack
from ethosteer.models.foreign import foreign
from ethosteer.models.generation import Sampling, generate
from ethosteer.models.lora_bank import LoraBank, features
from ethosteer.models.sharding import while_all_live
from ethosteer.settings import LoraSettings


@torch.no_grad()
def arms_not_finite(base: SharedBase, arms: int = 1) -> list[int]:
    """Return the arms of the bank in use whose hidden states overflow; [0] for a bare base's."""
    tokens = probe_tokens(base, [range(8)] * arms)
    finite = base.hidden(tokens).isfinite().flatten(1).all(dim=1)
    return [arm for arm, is_finite in enumerate(finite.tolist()) if not is_finite]


def check_gradients(base: SharedBase) -> None:
    """Raise InputError where adapters of a base would get no gradient, or a wrong one.

    Quantised layers may drop it without a word, and other layers are foreign code too.
    """
    subject = f"model {base.model.name_or_path}"
    if not base.layers:
        raise InputError(
            f"{subject}: its decoder has no linear layer that could carry an adapter; use weights "
            "in full precision, with base.quantise = 'nf4' or 'int8'"
        )
    for name, layer in base.layers.items():
        # torch's own backward passes are right
        if type(layer.layer) not in {nn.Linear, Conv1D} and not passes_gradients(base, layer.layer):
            raise InputError(
                f"{subject}: layer {name} ({type(layer.layer).__name__}) passes on no gradient, or "
                "a wrong one, so that no adapter below it could be trained; use weights in full "
                "precision, with base.quantise = 'nf4' or 'int8'"
            )
    if names := layers_without_gradient(base):
        raise InputError(
            f"{subject}: an adapter of layer {names[0]} changes the hidden states but gets no "
            "gradient, so that it could not be trained; use a base of another architecture"
        )


def passes_gradients(base: SharedBase, layer: nn.Module) -> bool:
    """Return whether a linear layer's backward pass multiplies by the transpose of its weight.

    ``<W x, W x> = <W^T W x, x>``: on the left is its forward pass alone, so that no wrong gradient
    can agree with it by being 0.
    """
    noise = torch.Generator().manual_seed(0)
    x = torch.randn(1, 2, features(layer)[0], generator=noise)
    x = x.to(base.device, base.model.dtype)
    with torch.no_grad():  # first, as a layer may be changed by it
        product = layer(x) - layer(torch.zeros_like(x))  # without a bias
    x.requires_grad_()
    with torch.enable_grad():
        out = layer(x)
    if not out.requires_grad:
        return False
    (gradient,) = torch.autograd.grad(out, x, product, allow_unused=True)
    if gradient is None:
        return False
    forward = product.double().square().sum()
    return nearly_equal((gradient.double() * x.detach().double()).sum(), forward, x.dtype)


def layers_without_gradient(base: SharedBase) -> list[str]:
    """Return the layers whose adapters change the hidden states, and have a gradient of 0."""
    rank_one = LoraSettings(r=1, alpha=1.0, targets="all-linear")
    bank = LoraBank(base.layers, 1, rank_one, seed=0).to(base.device)
    tokens = probe_tokens(base, [range(8)])
    with torch.enable_grad(), bank.applied():  # B is 0, so that the base runs as it is
        hidden = base.hidden(tokens).float()
        # the sum of a layer norm's outputs is constant, so they are weighted
        weights = torch.arange(hidden.numel(), device=base.device).cos().view_as(hidden)
        if hidden.requires_grad:
            (hidden * weights).sum().backward()
    untouched = [
        (name, b)
        for name, (_, b) in bank.arm_tensors(0).items()
        if b.grad is None or not b.grad.any()
    ]

    @torch.no_grad()
    def changed(layers: Sequence[tuple[str, Tensor]]) -> bool:
        """Return whether adapters of these layers change the hidden states."""
        before = base.hidden(tokens)
        for _, b in layers:
            b.fill_(1.0)
        with bank.applied():
            after = base.hidden(tokens)
        for _, b in layers:
            b.zero_()
        return not torch.equal(before, after)

    # experts that no token is sent to, and layers that never run, need no gradient
    if not untouched or not changed(untouched):
        return []
    return [name for name, b in untouched if changed([(name, b)])]


@torch.no_grad()
def is_causal(base: SharedBase) -> bool:
    """Return whether no hidden state depends on the tokens that follow it."""
    tokens = probe_tokens(base, [range(8), [*range(4), *range(9, 13)]])
    first, second = base.hidden(tokens)[:, :4]
    return nearly_equal(first, second)


@torch.no_grad()
def makes_its_logits(base: SharedBase) -> bool:
    """Return whether ``base.logits`` equal the model's own logits."""
    tokens = probe_tokens(base, [range(8)])
    own_logits = base.model(tokens, use_cache=False).logits
    return nearly_equal(base.logits(base.hidden(tokens)), own_logits)


@torch.no_grad()
def runs_packed(base: SharedBase) -> bool:
    """Return whether packed rows and prefix trees have the same hidden states as single rows.

    They do not with ALiBi, recurrence, or attention outside transformers' interface.
    """
    if has_sliding_window(base):
        return False
    tokens = probe_tokens(base, [range(20), [*range(4), *range(8, 24)]])
    first, second = (tuple(row) for row in tokens.tolist())
    # a tree of both rows, which begin alike, and behind it the first row once more by itself
    trees = [*pack([first, second], float("inf"), LARGEST_TREE), *pack([first], None, LARGEST_TREE)]
    packed = stack(trees, base.device)
    try:
        together = replace(base, runs_packed=True).hidden_packed(packed)[0]
    except torch.OutOfMemoryError:
        raise  # a RuntimeError that says nothing of the model
    except (TypeError, ValueError, RuntimeError):
        return False
    apart = base.hidden(tokens)
    paths = trees[0].paths
    return (
        nearly_equal(together[list(paths[first])], apart[0])
        and nearly_equal(together[list(paths[second])], apart[1])
        and nearly_equal(together[-len(first) :], apart[0])
    )


def has_sliding_window(base: SharedBase) -> bool:
    """Return whether a layer attends to recent tokens only, which a tree's mask would undo."""
    kinds = getattr(base.config, "layer_types", None)
    if kinds is not None:
        return any(kind != "full_attention" for kind in kinds)
    return getattr(base.config, "sliding_window", None) is not None


@torch.no_grad()
def samples_as_it_scores(base: SharedBase) -> bool:
    """Return whether sampling with a cache and padding has the hidden states of whole rows.

    It does not where a model finds its positions in another way than by ``position_ids`` or the
    padding mask. Raises whatever a model does that takes no cache of keys and values (recurrent
    ones).
    """
    prompts = probe_tokens(base, [range(6), range(1, 7)]).tolist()
    prompts[1] = prompts[1][:3]
    states: list[Tensor] = []
    sampling = Sampling(3, 3, ignore_eos=True, greedy=True)
    answers = generate(
        replace(base, captures=False),  # what is recorded calls no function
        prompts,
        1,
        sampling,
        torch.Generator(),
        lambda rows, column, hidden, logits, chosen: states.append(hidden[rows.argsort()]),
    )
    return all(
        nearly_equal(
            torch.stack([state[row] for state in states]),
            base.hidden(torch.tensor([[*prompt, *answer]], device=base.device))[
                0, len(prompt) - 1 : -1
            ],
        )
        for row, (prompt, answer) in enumerate(zip(prompts, answers, strict=True))
    )


@torch.no_grad()
def captures_tokens(base: SharedBase) -> bool:
    """Return whether a token can be one CUDA graph, with the hidden states of sampling without.

    It cannot where a layer's cache is not one of all keys and values, where a model looks at
    numbers between its operations, or where it ignores a mask of four dimensions.
    """
    cache = make_cache(base, 1)
    if base.device.type != "cuda" or any(
        type(layer) is not PreallocatedLayer for layer in cache.layers
    ):
        return False
    try:
        return nearly_equal(_states_of_forced_tokens(base, True), _states_of_forced_tokens(base))
    except torch.OutOfMemoryError:
        raise  # a RuntimeError that says nothing of the model
    except (AssertionError, IndexError, TypeError, ValueError, RuntimeError):
        return False


def _states_of_forced_tokens(base: SharedBase, captures: bool = False) -> Tensor:
    """Return the hidden states that would choose each of a few tokens: ``[tokens, R, hidden]``."""
    prompts = probe_tokens(base, [range(6), range(1, 7)]).tolist()
    tokens = probe_tokens(base, [range(6, 12), range(7, 13)])
    text = Rows(base, [prompts[0], prompts[1][:3]], 1, tokens.shape[1])
    column = torch.zeros(1, dtype=torch.long, device=base.device)
    states = torch.zeros(
        tokens.shape[1], 2, base.hidden_size, dtype=base.model.dtype, device=base.device
    )

    def step() -> None:
        states[column] = text.read()
        text.append(tokens[:, column].squeeze(1))
        column.add_(1)

    step()
    if captures:
        text.fix()
    take = Captured(step, base.device) if captures else step
    for _ in range(1, tokens.shape[1]):
        take()
    return states


def check_sampling(base: SharedBase) -> None:
    """Raise InputError where answers cannot be sampled from a base, as every study does."""
    subject = f"base.model: {base.model.name_or_path}"
    problem = (
        f"ethosteer cannot sample from {base.model.config.model_type} models with its cache; "
        "`ethosteer evaluate` may still score it on benchmarks of fixed choices; for a study use "
        "another architecture"
    )
    with foreign(subject, problem), while_all_live():
        agrees = samples_as_it_scores(base)
    if not agrees:
        raise InputError(
            f"{subject}: {problem}: its hidden states are others with the cache than without"
        )


def check_vocabulary(
    subject: str,
    tokenizer: PreTrainedTokenizerBase,
    embeddings: nn.Module,
    stop_ids: Collection[int],
) -> None:
    """Raise InputError where a tokenizer and the input embeddings are not of one model.

    Embeddings may have spare rows, but not as many as tokens. Special tokens that no text needs may
    lie beyond them (Gemma 3's image token does).
    """
    weight = embeddings.weight
    assert isinstance(weight, Tensor)
    rows = int(weight.shape[0])
    needed = {tokenizer.bos_token_id, tokenizer.eos_token_id, *stop_ids}
    added = tokenizer.added_tokens_decoder
    spare = {index for index, token in added.items() if token.special} - needed
    vocabulary = tokenizer.get_vocab()
    beyond = {index: token for token, index in vocabulary.items() if index >= rows}
    beyond |= {index: "stop token" for index in stop_ids if index >= rows and index not in beyond}
    if wrong := sorted(beyond.keys() - spare):
        raise InputError(
            f"{subject}: token {beyond[wrong[0]]!r} has id {wrong[0]}, but the embeddings have "
            f"{rows} rows; the tokenizer (or eos_token_id) is another model's, or the embeddings "
            "were not resized"
        )
    if len(vocabulary) < rows / 2:
        raise InputError(
            f"{subject}: its tokenizer has {len(vocabulary)} tokens, but the embeddings have "
            f"{rows} rows; the tokenizer is another model's"
        )


def probe_tokens(base: SharedBase, rows: Sequence[Iterable[int]]) -> Tensor:
    """Make token rows ``[R, T]`` whose ids are in every vocabulary."""
    size = base.config.vocab_size
    return torch.tensor([[(11 * i + 5) % size for i in row] for row in rows], device=base.device)


def nearly_equal(a: Tensor, b: Tensor, dtype: torch.dtype | None = None) -> bool:
    """Return whether two tensors, computed in ``dtype`` or their own, differ by rounding only."""
    tolerance = 1e-3 if (dtype or a.dtype) == torch.float32 else 5e-2
    return bool((a - b).float().norm() <= tolerance * b.float().norm())
