"""A base above one card: FSDP2 shards its weights over processes (Zhao et al. 2023).

Of every layer of the decoder a process holds one share, and a pass gathers the layers one after
another. Adapters, heads, optimisers and the output embedding are whole in every process. So all
processes must make equally many passes through the decoder, in the same order: those of training
and scoring are divided among them, sampling is repeated by all.

With one process every function returns its argument, and torch.distributed is not imported.
"""

from __future__ import annotations

import atexit
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from ethosteer import processes
from ethosteer.errors import InputError

T = TypeVar("T")

PATIENCE = timedelta(days=7)
"""How long a process waits for the others: the main one may be fetching data, or comparing.

A process that ends is noticed at once; torchrun then ends all.
"""


def start() -> None:
    """Join the other processes, once; nothing with one process."""
    if processes.count() == 1:
        return
    from torch import distributed

    if distributed.is_initialized():
        return
    backend = "gloo"
    if torch.cuda.is_available():
        torch.cuda.set_device(processes.local_rank() % torch.cuda.device_count())
        backend = "cpu:gloo,cuda:nccl"
    distributed.init_process_group(backend, timeout=PATIENCE)
    atexit.register(distributed.destroy_process_group)


def sharded_device(setting: str) -> torch.device:
    """Return this process's device: a GPU each, or the processor.

    Raises InputError where the setting names another device, or there are too few GPUs.
    """
    if setting not in ("auto", "cpu", "cuda"):
        raise InputError(
            f"base.device = {setting!r}: with several processes each takes the GPU of its number; "
            "use 'auto', 'cuda' or 'cpu'"
        )
    gpus = torch.cuda.device_count()
    if setting == "cpu" or (setting == "auto" and not gpus):
        return torch.device("cpu")
    if processes.local_rank() >= gpus:
        raise InputError(
            f"process {processes.rank()}: this machine has {gpus} GPUs, one for each of its "
            "processes; start as many processes"
        )
    return torch.device("cuda", processes.local_rank())


def shard(model: PreTrainedModel, device: torch.device) -> None:
    """Shard the layers of a model's decoder over the processes, and move the rest to ``device``.

    A layer is moved and cut before the next one, so that a GPU never holds more than its shares and
    one layer. The decoder is a root by itself, since hidden states are asked of it and not of the
    model. The output embedding stays whole: all of it is needed when most memory is used, and how
    often a pass asks for logits may then differ between processes.

    Raises InputError for a model whose layers are unknown.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    decoder, head = model.get_decoder(), model.get_output_embeddings()
    kinds = set(model._no_split_modules or ())
    layers = [module for module in decoder.modules() if type(module).__name__ in kinds]
    if not layers:
        raise InputError(
            f"model {model.name_or_path}: transformers does not say which layers of a "
            f"{model.config.model_type} model are whole, so it cannot be sharded; use one process"
        )
    mesh = init_device_mesh(device.type, (processes.count(),))
    # tied to the input embedding, it is the decoder's too
    whole = set(head.to(device).parameters())
    for layer in layers:
        fully_shard(layer, mesh=mesh, reshard_after_forward=True)
    fully_shard(decoder, mesh=mesh, reshard_after_forward=True, ignored_params=whole)
    model.to(device)  # type: ignore[arg-type]  # misread by the stubs


def divided(passes: Sequence[T]) -> list[tuple[T, float]]:
    """Return the passes of this process with their weights: 1, or 0 for one that must not count.

    Where passes do not go round, a process repeats the first one, to keep step with the others.
    """
    count, rank = processes.count(), processes.rank()
    return [
        (passes[start + rank], 1.0) if start + rank < len(passes) else (passes[0], 0.0)
        for start in range(0, len(passes), count)
    ]


def summed(values: Sequence[float]) -> list[float]:
    """Return the sums of numbers over the processes."""
    return _reduced(values, "SUM")


def largest(value: float) -> float:
    """Return the largest of the processes' numbers."""
    return _reduced([value], "MAX")[0]


def smallest(value: float) -> float:
    """Return the smallest of the processes' numbers."""
    return _reduced([value], "MIN")[0]


def _reduced(values: Sequence[float], how: str) -> list[float]:
    if processes.count() == 1:
        return list(values)
    from torch import distributed

    tensor = torch.tensor(values, dtype=torch.float64)
    distributed.all_reduce(tensor, getattr(distributed.ReduceOp, how))
    return tensor.tolist()


@torch.no_grad()
def add_up(tensors: Sequence[Tensor]) -> None:
    """Replace tensors of one dtype by their sums over the processes."""
    if processes.count() == 1 or not tensors:
        return
    from torch import distributed

    flat = torch.cat([tensor.flatten() for tensor in tensors])
    distributed.all_reduce(flat)
    for tensor, total in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
        tensor.copy_(total.view_as(tensor))


def add_up_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """Make the gradients of the processes' passes those of all passes."""
    add_up([parameter.grad for parameter in parameters if parameter.grad is not None])


def agreed(tensor: Tensor) -> Tensor:
    """Return the main process's tensor, where others' may differ from it by rounding."""
    if processes.count() > 1:
        from torch import distributed

        distributed.broadcast(tensor, src=0)
    return tensor


def gathered(value: T) -> list[T]:
    """Return the processes' values, which hold no tensor on a GPU, in their order."""
    if processes.count() == 1:
        return [value]
    from torch import distributed

    values: list[T] = [value] * processes.count()
    distributed.all_gather_object(values, value)
    return values


@contextmanager
def main_first() -> Iterator[None]:
    """Let the main process run a block before the others, which see the files that it left."""
    if not processes.is_main():
        _meet()
    yield
    if processes.is_main():
        _meet()


def _meet() -> None:
    """Go on when all processes are here."""
    largest(0.0)


def announce(text: str) -> None:
    """Send a text to the other processes, which ``listen``."""
    if processes.count() > 1:
        from torch import distributed

        distributed.broadcast_object_list([text], src=0)


def listen() -> str:
    """Wait for the main process, and return what it announces."""
    from torch import distributed

    received: list[str] = [""]
    distributed.broadcast_object_list(received, src=0)
    return received[0]


@contextmanager
def while_all_live() -> Iterator[None]:
    """Raise InputError where another process ends while this one waits for it in a block."""
    try:
        yield
    except RuntimeError as fault:
        from torch import distributed

        # gloo, which connects processors, raises no class of its own
        if not (isinstance(fault, distributed.DistError) or "/gloo/" in str(fault)):
            raise
        raise InputError(
            "another process has ended, for the reason that it printed; a new run goes on from its "
            "last checkpoint"
        ) from fault
