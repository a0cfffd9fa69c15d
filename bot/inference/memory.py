"""How much memory this process may still take: the machine's and, in a container, the control group's.

Only Linux says so in files; elsewhere the answer is None and nobody is refused.
"""

from __future__ import annotations

import ctypes
import sys
from contextlib import suppress
from pathlib import Path

GROUP = Path("/sys/fs/cgroup")
"""Where a container sees its own control group (version 2)."""

MACHINE = Path("/proc/meminfo")

M_ARENA_MAX, ARENAS = -8, 3

LEAST_FOR_MODELS, MOST_FOR_MODELS = 256 << 20, 4096 << 20
"""Bytes: four fine-tuned MiniLMs, or some seventy."""


def available_memory(machine: Path = MACHINE, group: Path = GROUP) -> int | None:
    """Bytes that can be taken without swapping or being killed; None where the system does not say."""
    give_back()
    known = [value for value in (_machine_bytes(machine), _group_bytes(group)) if value is not None]
    return min(known, default=None)


def give_back() -> None:
    """Hand what was freed back to the system, 1 to 10 ms; without the GNU library nothing happens.

    It keeps freed blocks for later: of five encoders (165 MB) that were freed it kept 145, all of which came back here.
    """
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)


def share_arenas() -> None:
    """Let all threads allocate from a few arenas; for the start of the program, and without the GNU library nothing.

    Else every thread that loads a model leaves freed blocks in an arena of its own: after 100 swaps 45 MB more.
    """
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).mallopt(M_ARENA_MAX, ARENAS)


def memory_for_models(available: int | None) -> int:
    """Bytes that fine-tuned encoders may take together where nobody said: half of what is free, within bounds."""
    return LEAST_FOR_MODELS if available is None else min(max(available // 2, LEAST_FOR_MODELS), MOST_FOR_MODELS)


def _machine_bytes(path: Path) -> int | None:
    kilobytes = _fields(path).get("MemAvailable:")
    return None if kilobytes is None else kilobytes * 1024


def _group_bytes(folder: Path) -> int | None:
    """The group's limit less what it holds; file cache that the kernel would give up does not count as held."""
    limit, held = _number(folder / "memory.max"), _number(folder / "memory.current")
    if limit is None or held is None:
        return None
    return max(0, limit - held + _fields(folder / "memory.stat").get("inactive_file", 0))


def _number(path: Path) -> int | None:
    """The file's number; None if there is no such file or it says "max"."""
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def _fields(path: Path) -> dict[str, int]:
    """Lines of "name number" as a dictionary; empty if there is no such file."""
    try:
        lines = path.read_text(encoding="ascii").splitlines()
        return {parts[0]: int(parts[1]) for line in lines if len(parts := line.split()) >= 2}
    except (OSError, ValueError):
        return {}
