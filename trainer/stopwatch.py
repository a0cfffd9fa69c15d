"""Seconds by kind of work: what a training was busy with. Each second counts once; it does not know what work is."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Stopwatch:
    """For one thread. `with watch.on("export"): ...`; what is begun inside another kind of work interrupts that."""

    def __init__(self, otherwise: str, clock: Callable[[], float] = time.monotonic) -> None:
        """`otherwise`: what the time outside every block is called."""
        self._clock = clock
        self._kind, self._since = otherwise, clock()
        self._seconds: dict[str, float] = {}

    @contextmanager
    def on(self, kind: str) -> Iterator[None]:
        before = self._turn_to(kind)
        try:
            yield
        finally:
            self._turn_to(before)

    def seconds(self) -> dict[str, float]:
        """So far, in milliseconds' precision; they add up to the time since the beginning."""
        self._turn_to(self._kind)
        return {kind: round(seconds, 3) for kind, seconds in self._seconds.items()}

    def _turn_to(self, kind: str) -> str:
        now, before = self._clock(), self._kind
        self._seconds[before] = self._seconds.get(before, 0.0) + now - self._since
        self._kind, self._since = kind, now
        return before
