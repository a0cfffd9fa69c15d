"""What several processes do together while they train one network, each on its slice of every batch.

All of them must call the same functions in the same order. Without a process group of `torch.distributed` each function
does what one process alone needs, which is nothing. DistributedDataParallel is not used: it reduces gradients while
they are computed, so a rank that cuts its slice into pieces because memory is short would leave the others waiting.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor, nn


def ranks() -> int:
    """How many processes train together; 1: this one alone."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Which of them this one is. Rank 0 does the job, the others assist."""
    return dist.get_rank() if ranks() > 1 else 0


def slice_of(batch: NDArray[np.int64]) -> NDArray[np.int64]:
    """This rank's positions of the batch; none, where the batch is smaller than the ranks are many."""
    part: NDArray[np.int64] = np.array_split(batch, ranks())[rank()]
    return part


def seed_step(seed: int, step: int) -> None:
    """Let every rank draw dropout of its own, the same again when step `step` is repeated after a crash."""
    if ranks() > 1:
        torch.manual_seed((seed * 1_000_003 + step) * ranks() + rank())


def sum_gradients(trained: Sequence[nn.Parameter], loss: Tensor) -> Tensor:
    """Give every rank the sum of all gradients; the sum of the losses."""
    if ranks() == 1:
        return loss
    parts = [torch.zeros_like(one) if one.grad is None else one.grad for one in trained]
    flat = torch.cat([part.reshape(-1) for part in parts] + [loss.reshape(1)])  # one message: latency counts
    dist.all_reduce(flat)
    *summed, total = flat.split([part.numel() for part in parts] + [1])
    for one, gradient in zip(trained, summed, strict=True):
        one.grad = gradient.view_as(one)
    return total[0]


def same_tensors(tensors: Mapping[str, Tensor] | None) -> dict[str, Tensor] | None:
    """Those of rank 0, on every rank and in main memory; what the others give is ignored."""
    if ranks() == 1:
        return None if tensors is None else dict(tensors)
    shapes = None if tensors is None else {name: (str(one.dtype), list(one.shape)) for name, one in tensors.items()}
    told = json.loads(same_bytes(json.dumps(shapes).encode()))
    if told is None:
        return None
    own = tensors or {}
    found = {}
    for name, (dtype, shape) in told.items():
        tensor = torch.empty(shape, dtype=getattr(torch, dtype.removeprefix("torch.")))
        if rank() == 0:
            tensor.copy_(own[name])
        dist.broadcast(tensor, src=0)
        found[name] = tensor
    return found


def same_bytes(data: bytes) -> bytes:
    """Those of rank 0, on every rank. JSON and files travel so: nothing is pickled."""
    if ranks() == 1:
        return data
    size = torch.tensor([len(data)])
    dist.broadcast(size, src=0)
    buffer = (
        torch.frombuffer(bytearray(data), dtype=torch.uint8)
        if rank() == 0
        else torch.empty(int(size), dtype=torch.uint8)
    )
    if int(size):
        dist.broadcast(buffer, src=0)
    return bytes(buffer.numpy())
