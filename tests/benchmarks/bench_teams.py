"""What another team costs: memory of the bot and of idle classifiers, and how soon a bot that has just started answers.

The bot is the real one (`pupil run` with MiniLM, its trainer a child of its own that does not count), its classifier
has 20 labels with 10 BANKING77 texts each. Idle classifiers are copies of what that one holds in memory; each part is
measured in a process of its own.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from bot.app import System, open_system
from bot.inference.engine import Engine, Origin, Served
from storage.records import Classifier
from storage.settings import load_settings
from tests.benchmarks.clients import closed_loop
from tests.benchmarks.data import intents
from tests.benchmarks.report import Figure, Skipped, compared
from tests.fakes.running import start_bot
from trainer.model.head import Head

LABELS, TEXTS_PER_LABEL = 20, 10
QUERIES = 400
FEW, MANY = 1_000, 10_000
STARTS = 3
NOBODY = "http://127.0.0.1:9"
"""A trainer that is never there."""


def run() -> list[Figure]:
    if sys.platform != "linux":
        raise Skipped("memory is read from /proc, which only Linux has")
    rows = _rows()
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder)
        bot = asyncio.run(_bot(data, rows))
        teams = _apart(_teams, data, [text for text, _ in intents("banking77", "test")])
    return [
        Figure("memory of the bot after 400 answers", bot.megabytes, "MB", target=300, better="lower"),
        Figure("the same at its highest, while a model is loaded", bot.peak, "MB", better="lower"),
        Figure(f"{FEW:,} idle classifiers of {LABELS} labels", teams.few, "MB", target=40, better="lower"),
        Figure(f"{MANY:,} idle classifiers of {LABELS} labels", teams.many, "MB", target=400, better="lower"),
        compared(
            f"one answer among {MANY:,} classifiers, p50",
            *(teams.among_many, "ms", "alone", teams.alone),
            target=1.1,
            better="lower",
        ),
        Figure("first answer of a classifier not in memory", teams.first, "ms", better="lower"),
        Figure("bot start to first answer", bot.start, "s", target=2, better="lower"),
    ]


def _rows() -> list[tuple[str, str]]:
    texts: dict[str, list[str]] = {}
    for text, label in intents("banking77", "train"):
        texts.setdefault(label, []).append(text)
    chosen = sorted(texts)[:LABELS]
    return [(text, label) for label in chosen for text in texts[label][:TEXTS_PER_LABEL]]


def _apart(function: Callable[..., Any], *arguments: Any) -> Any:
    """What the function returns, called in a fresh process."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def _megabytes(field: str, pid: int | str = "self") -> float:
    """Of /proc/<pid>/status: VmRSS now, VmHWM at its highest."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:")) / 1024


# The bot as people start it


@dataclass(frozen=True)
class _Bot:
    megabytes: float
    peak: float
    start: float
    """Seconds, median."""


async def _bot(data: Path, rows: Sequence[tuple[str, str]]) -> _Bot:
    bot = await start_bot(data, None)
    body = [{"text": text, "label": label} for text, label in rows]
    await bot.call("POST", "/classifiers/triage/examples", body)
    for number in range(QUERIES):
        await bot.call("POST", "/classifiers/triage/predict", {"text": f"question {number} " * (number % 40 + 1)})
    megabytes, peak = _megabytes("VmRSS", bot.pid), _megabytes("VmHWM", bot.pid)
    await bot.end()
    return _Bot(megabytes, peak, sorted([await _start(data) for _ in range(STARTS)])[STARTS // 2])


async def _start(data: Path) -> float:
    """Seconds from starting the process to its first answer, the playground's chat connection included."""
    began = time.perf_counter()
    bot = await start_bot(data, None)
    await bot.call("POST", "/classifiers/triage/predict", {"text": "my card is lost"})
    seconds = time.perf_counter() - began
    await bot.end()
    return seconds


# Many classifiers


@dataclass(frozen=True)
class _Teams:
    few: float
    many: float
    """Megabytes."""
    alone: float
    among_many: float
    first: float
    """Milliseconds, medians."""


def _teams(data: Path, questions: Sequence[str]) -> _Teams:
    return asyncio.run(_measure_teams(data, questions))


async def _measure_teams(data: Path, questions: Sequence[str]) -> _Teams:
    async with open_system(load_settings(data=data, trainer_url=NOBODY)) as system:
        engine: Engine = system.serving._engine
        (classifier,) = await system.stores.classifiers.list()
        await system.serving.ensure(classifier)
        await system.serving.settle(classifier)
        served = engine.current(classifier.id)
        assert served is not None
        before = await _p50(system, [classifier], questions[:QUERIES])
        at_first, grown = _megabytes("VmRSS"), {}
        others = []
        for count in range(1, MANY + 1):
            others.append(replace(classifier, id=classifier.id + count))
            engine.serve(_copy(served, others[-1]))
            grown[count] = _megabytes("VmRSS") - at_first if count in {FEW, MANY} else 0.0
        among = await _p50(system, others[:: MANY // QUERIES], questions[QUERIES : 2 * QUERIES])
        after = await _p50(system, [classifier], questions[2 * QUERIES : 3 * QUERIES])
        first = []
        for _ in range(9):
            engine.drop(classifier.id)
            first.append(await _p50(system, [classifier], questions[-1:]))
        return _Teams(grown[FEW], grown[MANY], (before + after) / 2, among, sorted(first)[4])


async def _p50(system: System, classifiers: Sequence[Classifier], questions: Sequence[str]) -> float:
    turns = {text: classifiers[index % len(classifiers)] for index, text in enumerate(questions)}
    load = await closed_loop(lambda text: system.serving.answer(turns[text], text), questions, 1)
    return load.quantile(0.5)


def _copy(served: Served, classifier: Classifier) -> Served:
    """The same answers for another classifier; nothing but the encoder is shared."""
    head, origin = served.head, served.origin
    scope = head.scope and replace(
        head.scope, prototypes=np.array(head.scope.prototypes), typical=np.array(head.scope.typical)
    )
    labels = tuple("".join(list(name)) for name in head.labels)
    own: Head = replace(head, labels=labels, weight=np.array(head.weight), bias=np.array(head.bias), scope=scope)
    return replace(
        served,
        classifier_id=classifier.id,
        head=own,
        origin=origin and Origin(classifier, origin.version, origin.head),
    )
