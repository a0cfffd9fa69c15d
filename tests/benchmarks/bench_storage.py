"""Storage: durable labels a second, the time of the queries at 50,000 examples, and labels lost in 200 kills."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from storage.classifiers import Classifiers
from storage.database import Database
from storage.examples import Examples
from storage.records import Source
from tests.benchmarks.report import Figure, compared

EXAMPLES = 50_000
LABELS = 20
TOGETHER = 64
"""People who label at the same moment: many more than a team has, so that group commit has something to group."""


def run() -> list[Figure]:
    with tempfile.TemporaryDirectory() as directory:
        return [*asyncio.run(_measure(Path(directory) / "pupil.db")), _kills(Path(directory))]


async def _measure(path: Path) -> list[Figure]:
    async with Database(path) as db:
        classifiers, examples = Classifiers(db), Examples(db)
        at = ("g1", (await classifiers.create("g1", "triage", "maria", "base", 1.0)).id)
        labels = [(await classifiers.add_label(*at, f"label {number}")).id for number in range(LABELS)]
        rows = [
            (f"text number {number} with a dozen words in it", labels[number % LABELS]) for number in range(EXAMPLES)
        ]

        def teach(text: str) -> Awaitable[Any]:
            return examples.add_label(*at, text, labels[0], "maria", Source.COMMAND, 2.0)

        alone = await _rate(teach, people=1, seconds=2)
        together = await _rate(teach, people=TOGETHER, seconds=2)
        imported = await _seconds(lambda: examples.add_many(*at, rows, "maria", Source.FILE, "b", 1.0))
        current = min([await _seconds(lambda: examples.current(*at)) for _ in range(3)])
        counts = min([await _seconds(lambda: classifiers.label_counts(*at)) for _ in range(3)])
    return [
        compared(f"durable labels, {TOGETHER} at a time", together, "1/s", "one at a time", alone, target=5.0),
        Figure("import of 50,000 labels", imported, "s", target=10.0, better="lower"),
        Figure("all current labels of 50,000 examples", current, "s", target=0.5, better="lower"),
        Figure("label counts of 50,000 examples", counts, "s", target=0.5, better="lower"),
    ]


async def _rate(teach: Callable[[str], Awaitable[Any]], people: int, seconds: float) -> float:
    """Acknowledged labels a second."""
    end, done = time.perf_counter() + seconds, 0

    async def person(which: int) -> None:
        nonlocal done
        while time.perf_counter() < end:
            await teach(f"{people} people, person {which}, text {done}")
            done += 1

    await asyncio.gather(*(person(which) for which in range(people)))
    return done / seconds


async def _seconds(call: Callable[[], Awaitable[Any]]) -> float:
    begun = time.perf_counter()
    await call()
    return time.perf_counter() - begun


def _kills(directory: Path) -> Figure:
    command = [sys.executable, "-m", "tests.integration.kill_storage", str(directory / "kill"), "--kills", "200"]
    found = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    name = f"labels lost in 200 kills, of {found['acknowledged']:,} acknowledged"
    return Figure(name, found["lost"], "labels", target=0, better="lower")
