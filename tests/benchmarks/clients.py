"""A closed loop of clients: each asks, waits for the answer, asks again; and what that took."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field

import numpy as np


@dataclass
class Load:
    """What the clients saw."""

    seconds: float = 0.0
    milliseconds: list[float] = field(default_factory=list)
    """Per query, in the order of the answers."""
    cpu_seconds: float = 0.0
    """Processor time of the whole process, all threads."""

    @property
    def per_second(self) -> float:
        return len(self.milliseconds) / self.seconds

    def quantile(self, share: float) -> float:
        """Milliseconds."""
        return float(np.quantile(self.milliseconds, share))


async def closed_loop(ask: Callable[[str], Awaitable[object]], texts: Iterable[str], clients: int) -> Load:
    """Ask every text once, `clients` at a time."""
    load, left = Load(), iter(texts)

    async def client() -> None:
        for text in left:
            asked = time.perf_counter()
            await ask(text)
            load.milliseconds.append(1000 * (time.perf_counter() - asked))

    began, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(client() for _ in range(clients)))
    load.seconds, load.cpu_seconds = time.perf_counter() - began, time.process_time() - cpu
    return load
