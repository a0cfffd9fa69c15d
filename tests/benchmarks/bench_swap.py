"""What people notice while models are loaded and swapped in: waiting times, and how long the event loop stood still.

Eight clients keep asking a MiniLM engine. First nothing else happens; then one model after the other is verified,
loaded, warmed up, compared with its canary and swapped in, without a pause: worse than any real day.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bot.inference.engine import Engine, Served
from bot.inference.loader import load
from storage.artifacts import seal
from tests.benchmarks.bench_serving import exported, random_head
from tests.benchmarks.clients import Load, closed_loop
from tests.benchmarks.data import intents
from tests.benchmarks.report import Figure, compared

CLIENTS = 8
SWAPS = 10
QUERIES = 1500
LABELS = [f"label {index}" for index in range(77)]
STEADY = "steady"
TARGET = 2.0
"""p99 while swapping against p99 before."""


@dataclass
class Stall:
    """The longest time in milliseconds that the event loop did not get round to a callback that was due."""

    milliseconds: float = 0.0


@dataclass
class Swapping:
    load: Load
    stall: Stall
    seconds: list[float]
    """Per load."""


def run() -> list[Figure]:
    texts = [text for text, _ in intents("banking77", "test")]
    with tempfile.TemporaryDirectory() as folder:
        artifacts = _copies(Path(folder), SWAPS + 1)
        steady, swapping = asyncio.run(_measure(artifacts, texts))
    return [
        compared(
            "p99 while swapping",
            swapping.load.quantile(0.99),
            "ms",
            STEADY,
            steady.load.quantile(0.99),
            target=TARGET,
            better="lower",
        ),
        compared("questions while swapping", swapping.load.per_second, "q/s", STEADY, steady.load.per_second),
        compared(
            "longest stall of the event loop",
            swapping.stall.milliseconds,
            "ms",
            STEADY,
            steady.stall.milliseconds,
            better="lower",
        ),
        Figure("load, verify, warm up, canary (median)", sorted(swapping.seconds)[SWAPS // 2], "s", better="lower"),
        Figure("swaps while measuring", len(swapping.seconds), "swaps"),
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


async def _measure(artifacts: Sequence[Path], texts: Sequence[str]) -> tuple[Swapping, Swapping]:
    async with Engine(threads=os.cpu_count() or 1, remembered=0) as engine:
        await _swap(engine, artifacts[0])
        await closed_loop(lambda text: engine.answer(1, text), texts[:100], CLIENTS)  # warm up
        async with _stall() as stall:
            steady = Swapping(
                await closed_loop(lambda text: engine.answer(1, text), texts[:QUERIES], CLIENTS), stall, []
            )
        return steady, await _while_swapping(engine, artifacts[1:], texts)


async def _while_swapping(engine: Engine, artifacts: Sequence[Path], texts: Sequence[str]) -> Swapping:
    """Queries are asked for as long as the swaps take."""
    done = asyncio.Event()
    endless = itertools.takewhile(lambda _: not done.is_set(), itertools.cycle(texts))

    async def swaps() -> list[float]:
        try:
            return [await _swap(engine, artifact) for artifact in artifacts]
        finally:
            done.set()

    async with _stall() as stall:
        swapping = asyncio.create_task(swaps())
        load = await closed_loop(lambda text: engine.answer(1, text), endless, CLIENTS)
        return Swapping(load, stall, await swapping)


async def _swap(engine: Engine, artifact: Path) -> float:
    """Seconds until the new model answered."""
    began = time.perf_counter()
    encoder, _ = await load(artifact)
    engine.serve(Served(1, 1, 0, encoder, random_head(LABELS, encoder.dimensions)))
    return time.perf_counter() - began


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
