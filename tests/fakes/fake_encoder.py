"""An encoder without a model, for tests that steer when it answers, hangs or dies."""

from __future__ import annotations

import asyncio
import threading
import time
import zlib
from collections.abc import Callable

import numpy as np

from trainer.model.encoder import Encoder, Reading


class FakeEncoder(Encoder):
    """Calls `during(text)` in `read` and notes the text in `texts`.

    Texts that share words are near each other: a vector is the sum of its words' random vectors, L2 norm 1.
    """

    def __init__(self, digest: str = "fake", dimensions: int = 4, during: Callable[[str], None] | None = None) -> None:
        self.digest = digest
        self.dimensions = dimensions
        self.max_tokens = 8
        self.bytes = 0
        self.texts: list[str] = []
        self._during = during

    def read(self, text: str) -> Reading:
        self.texts.append(text)
        if self._during is not None:
            self._during(text)
        words = [np.random.default_rng(zlib.crc32(word.encode())) for word in text.casefold().split()]
        total = np.sum([word.normal(size=self.dimensions) for word in words], axis=0)
        return Reading((total / np.linalg.norm(total)).astype(np.float32), len(text.split()) > self.max_tokens)


class Gate:
    """Holds every text in `held` (all, if None) inside `read` until `open`; `entered` counts the arrivals."""

    def __init__(self, held: set[str] | None = None) -> None:
        self._held = held
        self._opened = threading.Event()
        self.entered = threading.Semaphore(0)

    def __call__(self, text: str) -> None:
        if self._held is None or text in self._held:
            self.entered.release()
            self._opened.wait(30)

    def open(self) -> None:
        self._opened.set()


async def until(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    """Return as soon as `condition()` holds; fails the test after `seconds`."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        await asyncio.sleep(0.002)
