"""What the trainer's host has: GPUs, as the driver's own tool tells them, memory, disk, and what is installed.

Light on purpose: importing torch to ask it would cost 300 MB.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

from trainer.children import child_environment

_QUERY = ("--query-gpu=index,uuid,memory.free,name", "--format=csv,noheader,nounits")
_PATIENCE = 5.0

MACHINE = Path("/proc/meminfo")
GROUP = Path("/sys/fs/cgroup")
"""Where a container sees its own control group (version 2)."""


class Device(NamedTuple):
    """What trainings compute with."""

    name: str
    """"cpu", or the first GPU's name."""
    free_bytes: int | None = None
    """Of the first GPU's memory; None where its driver does not say."""
    gpus: int = 0


CPU = Device("cpu")


async def describe_device(device: str) -> Device:
    """The GPUs that CUDA_VISIBLE_DEVICES leaves visible, or the processor.

    Args:
        device: "auto", "cpu" or "cuda", as the trainer was told.
    """
    tool = shutil.which("nvidia-smi")
    if device == "cpu" or tool is None:
        return CPU
    with suppress(OSError, TimeoutError, ValueError):
        return _parse(await _ask(tool), os.environ.get("CUDA_VISIBLE_DEVICES"))
    return CPU


async def _ask(tool: str) -> str:
    process = await asyncio.create_subprocess_exec(
        tool, *_QUERY, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL, env=child_environment()
    )
    try:
        async with asyncio.timeout(_PATIENCE):
            output, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        raise
    return output.decode(errors="replace")


def _parse(output: str, visible: str | None) -> Device:
    """Raises ValueError: not what the tool prints."""
    found: dict[str, tuple[str, int | None]] = {}
    for line in output.strip().splitlines():
        index, uuid, free, name = (part.strip() for part in line.split(",", 3))
        gpu = (name, int(free) * 2**20 if free.isdecimal() else None)  # "[N/A]" where memory is shared with the host
        found |= {index: gpu, uuid: gpu}
    wanted = [key for key in found if key.isdecimal()] if visible is None else visible.replace(" ", "").split(",")
    gpus = [found[key] for key in wanted if key in found]
    return Device(*gpus[0], len(gpus)) if gpus else CPU


def free_memory() -> int | None:
    """Bytes that can be taken of main memory, also by the limit of a container; None where Linux does not say."""
    machine, group = _fields(MACHINE).get("MemAvailable:"), _fields(GROUP / "memory.stat").get("inactive_file", 0)
    limit, held = _number(GROUP / "memory.max"), _number(GROUP / "memory.current")
    known = [machine * 1024] if machine is not None else []
    if limit is not None and held is not None:  # file cache that the kernel would give up does not count as held
        known.append(max(0, limit - held + group))
    return min(known, default=None)


def free_disk(folder: Path) -> int | None:
    """Bytes; None where the file system does not say."""
    with suppress(OSError):
        return shutil.disk_usage(folder).free
    return None


@cache
def installed(package: str) -> str | None:
    """Its version, from its metadata: nothing is imported."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _number(path: Path) -> int | None:
    """The file's number; None if there is no such file or it says "max"."""
    with suppress(OSError, ValueError):
        return int(path.read_text(encoding="ascii"))
    return None


def _fields(path: Path) -> dict[str, int]:
    """Lines of "name number" as a dictionary; empty if there is no such file."""
    with suppress(OSError, ValueError):
        lines = path.read_text(encoding="ascii").splitlines()
        return {parts[0]: int(parts[1]) for line in lines if len(parts := line.split()) >= 2}
    return {}
