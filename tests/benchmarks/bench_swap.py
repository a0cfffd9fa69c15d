"""What people notice while models are loaded and swapped in: 100,000 questions over 100 swaps.

Eight clients keep asking a MiniLM engine, so both cores are busy all the time. First nothing else happens; then one
model after the other is verified, loaded, warmed up, compared with its canary and swapped in, a thousand questions
apart: worse than any real day. From the records alone it is counted afterwards whether every question was answered,
by a version that was champion at some time between asking and answering.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import json
import os
import shutil
import tempfile
import time
from array import array
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bot.inference.engine import Engine, Served
from bot.inference.loader import load
from bot.inference.memory import share_arenas
from storage.artifacts import seal
from tests.benchmarks.bench_serving import exported, random_head
from tests.benchmarks.data import intents
from tests.benchmarks.report import Figure, compared

CLIENTS = 8
SWAPS = 100
QUESTIONS_PER_SWAP = 1000
STEADY_QUESTIONS = 5000
"""Before the swaps and again after them."""
MODELS = 4
"""Different artifacts, loaded in turn; a model is gone before its turn comes again, so every load is a real one."""
NEAR = 1.0
"""Seconds before and after a swap in which a question counts as near it."""
STEADY = "steady"
SLOWER, STALLED, GROWN = 1.25, 50.0, 0.05
"""Targets: p99 near a swap against steady; milliseconds that the event loop stands still; MB that a swap leaves."""


@dataclass
class Record:
    """What clients and swaps wrote down; seconds of one monotonic clock."""

    asked: array[float] = field(default_factory=lambda: array("d"))
    answered: array[float] = field(default_factory=lambda: array("d"))
    numbers: array[int] = field(default_factory=lambda: array("l"))
    """Of the versions that say they answered. Arrays: a hundred thousand objects would look like a leak."""
    failed: int = 0
    reigns: list[float] = field(default_factory=list)
    """When version 0, 1, ... became champion."""
    loads: list[float] = field(default_factory=list)
    """Seconds per load."""
    megabytes: list[float] = field(default_factory=list)
    """Resident memory after each swap."""

    @property
    def milliseconds(self) -> NDArray[np.float64]:
        return 1000 * (np.array(self.answered) - np.array(self.asked))

    def strangers(self) -> int:
        """Answers by a version that was champion at no time between asking and answering."""
        since = np.array([*self.reigns, np.inf])
        numbers = np.array(self.numbers)
        was_champion = (since[numbers] <= np.array(self.answered)) & (since[numbers + 1] >= np.array(self.asked))
        return int((~was_champion).sum())

    def near_swaps(self) -> NDArray[np.float64]:
        """Milliseconds of the questions that were under way within `NEAR` seconds of a swap."""
        since = np.array([*self.reigns, np.inf])
        next_swap = since[np.searchsorted(since[:-1], np.array(self.asked) - NEAR)]
        return self.milliseconds[next_swap <= np.array(self.answered) + NEAR]


@dataclass
class Stall:
    """The longest time in milliseconds that the event loop did not get round to a callback that was due."""

    milliseconds: float = 0.0


def run() -> list[Figure]:
    share_arenas()  # as the bot does
    texts = [text for text, _ in intents("banking77", "test")]
    labels = [f"label {index}" for index in range(77)]
    with tempfile.TemporaryDirectory() as folder:
        artifacts = _copies(Path(folder), MODELS)
        return asyncio.run(_measure(artifacts, texts, labels))


async def _measure(artifacts: Sequence[Path], texts: Sequence[str], labels: Sequence[str]) -> list[Figure]:
    record = Record()
    async with Engine(threads=os.cpu_count() or 1, remembered=0) as engine:
        await _swap(engine, artifacts[0], 0, labels, record)
        await _ask(engine, itertools.islice(itertools.cycle(texts), 200), Record())  # warm up
        gc.collect()
        gc.freeze()  # as the bot does once it is ready; here torch's objects are there, too
        async with _stall() as calm:
            before = await _ask(engine, itertools.islice(itertools.cycle(texts), STEADY_QUESTIONS), Record())
        async with _stall() as stall:
            await _ask_while_swapping(engine, artifacts, texts, labels, record)
        after = await _ask(engine, itertools.islice(itertools.cycle(texts), STEADY_QUESTIONS), Record())
    steady = _p99(np.concatenate([before.milliseconds, after.milliseconds]))
    near = _p99(record.near_swaps())
    settled = record.megabytes[len(record.megabytes) // 2 :]  # the allocator's arenas fill at first
    growth = float(np.polyfit(np.arange(len(settled)), settled, 1)[0])
    return [
        Figure("questions while swapping", len(record.asked), "questions"),
        Figure("swaps", len(record.loads) - 1, "swaps"),
        Figure("questions that failed", record.failed, "questions", target=0, better="lower"),
        Figure(
            "answered by a version that was not champion", record.strangers(), "questions", target=0, better="lower"
        ),
        compared("p99 within 1 s of a swap", near, "ms", STEADY, steady, target=SLOWER, better="lower"),
        Figure("longest stall of the event loop", stall.milliseconds, "ms", target=STALLED, better="lower"),
        Figure("longest stall of the event loop, steady", calm.milliseconds, "ms", better="lower"),
        Figure("memory that a swap leaves", growth, "MB", target=GROWN, better="lower"),
        Figure("load, verify, warm up, canary (median)", float(np.median(record.loads)), "s", better="lower"),
    ]


def _copies(folder: Path, count: int) -> list[Path]:
    """The exported base as `count` artifacts whose encoders are not shared: their descriptions differ."""
    exported(folder / "base")
    paths = []
    for number in range(count):
        staging = Path(shutil.copytree(folder / "base", folder / f"{number}.part"))
        description = json.loads((staging / "encoder.json").read_text(encoding="utf-8"))
        (staging / "encoder.json").write_text(json.dumps(description | {"copy": number}), encoding="utf-8")
        paths.append(folder / seal(staging, folder, "base", [], {}, 0.0))
    return paths


async def _ask_while_swapping(
    engine: Engine, artifacts: Sequence[Path], texts: Sequence[str], labels: Sequence[str], record: Record
) -> None:
    """Clients ask for as long as the swaps take."""
    done = asyncio.Event()

    async def swaps() -> None:
        try:
            for number in range(1, SWAPS + 1):
                while len(record.asked) < number * QUESTIONS_PER_SWAP:
                    await asyncio.sleep(0.005)
                await _swap(engine, artifacts[number % len(artifacts)], number, labels, record)
        finally:
            done.set()

    swapping = asyncio.create_task(swaps())
    await _ask(engine, itertools.takewhile(lambda _: not done.is_set(), itertools.cycle(texts)), record)
    await swapping


async def _ask(engine: Engine, texts: Iterable[str], record: Record) -> Record:
    left = iter(texts)

    async def client() -> None:
        for text in left:
            asked = time.perf_counter()
            try:
                answer = await engine.answer(1, text)
            except Exception:
                record.failed += 1
            else:
                record.asked.append(asked)
                record.answered.append(time.perf_counter())
                record.numbers.append(answer.number)

    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    return record


async def _swap(engine: Engine, artifact: Path, number: int, labels: Sequence[str], record: Record) -> None:
    began = time.perf_counter()
    encoder, _ = await load(artifact)
    engine.serve(Served(1, number, 0, encoder, random_head(labels, encoder.dimensions)))
    record.reigns.append(time.perf_counter())
    record.loads.append(record.reigns[-1] - began)
    record.megabytes.append(_resident())


def _resident() -> float:
    """MB of this process; 0 where the system does not tell."""
    with contextlib.suppress(OSError):
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
    return 0.0


def _p99(milliseconds: NDArray[np.float64]) -> float:
    return float(np.quantile(milliseconds, 0.99))


@contextlib.asynccontextmanager
async def _stall() -> AsyncIterator[Stall]:
    """Notes, while the block runs, how late a callback every millisecond comes at worst."""
    stall = Stall()

    async def watch() -> None:
        while True:
            due = time.perf_counter() + 0.001
            await asyncio.sleep(0.001)
            stall.milliseconds = max(stall.milliseconds, 1000 * (time.perf_counter() - due))

    watching = asyncio.create_task(watch())
    try:
        yield stall
    finally:
        watching.cancel()
