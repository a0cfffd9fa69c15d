"""What the trainer's host computes with, asked of the driver's own tool: importing torch for it would cost 300 MB."""

from __future__ import annotations

import asyncio
import shutil
from contextlib import suppress

from trainer.children import child_environment

_QUERY = ("--query-gpu=name,memory.free", "--format=csv,noheader,nounits")
_PATIENCE = 5.0


async def describe_device(device: str) -> tuple[str, int | None]:
    """("cpu", None), or the first GPU's name and its free memory in bytes.

    Args:
        device: "auto", "cpu" or "cuda", as the trainer was told.
    """
    tool = shutil.which("nvidia-smi")
    if device == "cpu" or tool is None:
        return "cpu", None
    with suppress(OSError, TimeoutError, ValueError):
        return _parse(await _ask(tool))
    return "cpu", None


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


def _parse(output: str) -> tuple[str, int]:
    name, free = output.strip().splitlines()[0].rsplit(",", 1)
    return name.strip(), int(free) * 2**20
