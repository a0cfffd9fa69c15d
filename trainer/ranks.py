"""Several processes of one host train one network: this one does the job, the others assist.

    rank 0   snapshot -> ... -> call_in(network, head, rows) -> training loop -> ... -> report -> leave
    others   assist: wait for the call -> the same network -> the same loop -> wait for the next call, or leave

The assistants are children of this process in its own process group, and meet it over a file in the run folder. The
usual launcher, torchrun, puts each into a session of its own, out of the reach of whoever ends the run, and opens two
ports on every address of the host. A cluster that has made its process group itself, such as Ray, has rank 0 call
`trainer.run_job.run` and all others `assist`.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray

from storage.errors import TrainingFailed
from storage.processes import PYTHON
from trainer.children import child_environment
from trainer.collectives import rank, ranks, same_bytes, same_tensors
from trainer.finetune import CosineHead, Recipe, finetune
from trainer.network import Network

log = logging.getLogger(__name__)

Floats = NDArray[np.float32]

_MEETING_POINT = "ranks"
PATIENCE = timedelta(hours=12)
"""Between two calls rank 0 embeds, exports and measures alone, which takes an hour where texts are many and the encoder
is large, and the others wait. Who is lost is noticed otherwise."""
_NOTICED_WITHIN = 5.0
"""Seconds from the end of an assistant's connections to its own."""
_LOOPBACK = {"GLOO_SOCKET_IFNAME": "lo", "NCCL_SOCKET_IFNAME": "lo"}


@contextmanager
def team(folder: Path, workers: int, device: torch.device) -> Iterator[None]:
    """Have `workers - 1` assistants while the context lasts. Ends this process if one of them dies before.

    Args:
        folder: of the run.
        workers: 1: nobody is started.

    Raises:
        TrainingFailed: this host has fewer GPUs than that.
    """
    if workers == 1 or ranks() > 1:
        yield
        _dismiss()
        return
    if device.type == "cuda" and torch.cuda.device_count() < workers:
        raise TrainingFailed(
            f"The recipe asks for {workers} workers and this host has {torch.cuda.device_count()} GPUs. Lower workers."
        )
    (folder / _MEETING_POINT).unlink(missing_ok=True)
    assistants = [_start(folder, number, workers, device) for number in range(1, workers)]
    done = threading.Event()
    watches = [
        threading.Thread(target=_watch, args=(assistant, done), name="assistant-watch", daemon=True)
        for assistant in assistants
    ]
    for watch in watches:
        watch.start()
    try:
        join(folder, 0, workers, device)
        yield
        done.set()
        _dismiss()
        for assistant in assistants:
            assistant.wait()
    except RuntimeError:
        # Its connections end before a process that dies is seen to have died: what fails here may be a lost assistant.
        for watch in watches:
            watch.join(_NOTICED_WITHIN / len(watches))
        raise
    finally:
        done.set()
        for assistant in assistants:
            assistant.kill()
        if dist.is_initialized():
            dist.destroy_process_group()
        (folder / _MEETING_POINT).unlink(missing_ok=True)


def join(folder: Path, number: int, workers: int, device: torch.device) -> None:
    """Become rank `number` of those that meet in the run folder; waits for all the others."""
    os.environ |= _LOOPBACK
    if device.type == "cuda":
        torch.cuda.set_device(number)
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo",
        init_method=f"file://{(folder / _MEETING_POINT).absolute()}",
        rank=number,
        world_size=workers,
        timeout=PATIENCE,
    )


def call_in(
    network: Network,
    rows: Floats,
    texts: Sequence[str],
    targets: NDArray[np.int64],
    recipe: Recipe,
    *,
    seed: int,
    continuing: bool,
) -> None:
    """Rank 0 is about to call `finetune` with these, `rows` being its head's: have the others do the same."""
    if ranks() == 1:
        return
    asked = {"texts": list(texts), "recipe": asdict(recipe), "seed": seed, "continuing": continuing}
    with tempfile.TemporaryDirectory(prefix="call-") as folder:
        network.save(Path(folder))
        files = sorted(Path(folder).iterdir())
        same_bytes(json.dumps(asked | {"files": [path.name for path in files]}).encode())
        same_tensors({"rows": torch.tensor(rows), "targets": torch.tensor(targets)})
        for path in files:
            same_bytes(path.read_bytes())


def assist(device: torch.device) -> None:
    """What every rank but 0 does: train along whenever it is called in, until rank 0 needs nobody any more."""
    while (asked := json.loads(same_bytes(b""))) is not None:
        recipe = Recipe(**asked["recipe"])
        tensors = same_tensors({}) or {}
        with tempfile.TemporaryDirectory(prefix="called-") as folder:
            for name in asked["files"]:
                (Path(folder) / name).write_bytes(same_bytes(b""))
            network = Network(Path(folder)).to(device)
            head = CosineHead(tensors["rows"].numpy(), recipe.scale).to(device)
            targets = tensors["targets"].numpy()
            # All ranks see the same loss and end alike; rank 0 says why.
            with suppress(TrainingFailed):
                for _ in finetune(
                    network, head, asked["texts"], targets, recipe, seed=asked["seed"], continuing=asked["continuing"]
                ):
                    pass


def _dismiss() -> None:
    if ranks() > 1 and rank() == 0:
        same_bytes(json.dumps(None).encode())


def _start(folder: Path, number: int, workers: int, device: torch.device) -> subprocess.Popen[bytes]:
    """In this process's group, so that whoever ends the run ends it too; its stdin ends with this process."""
    arguments = [str(folder), str(number), str(workers), device.type, "--parent", str(os.getpid())]
    command = [*PYTHON, "-m", "trainer", "assist", *arguments]
    return subprocess.Popen(command, stdin=subprocess.PIPE, env=child_environment())


def _watch(assistant: subprocess.Popen[bytes], done: threading.Event) -> None:
    code = assistant.wait()
    if not done.is_set():
        # Rank 0 may wait for it in the middle of a step: nothing but its own end gets it out of there.
        log.error("assistant.lost", extra={"pid": assistant.pid, "code": code})
        os._exit(1)
