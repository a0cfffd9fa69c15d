"""Fifty people at once while the bot trains: how long until Discord hears from it, and until the answer is there.

The real bot over the playground's gateway, MiniLM, 8 BANKING77 texts per label, and a training under way in the
trainer's process on the same cores. The first reply is what Discord gives three seconds for; the playground, which runs
in the bot's process here, counts it from the delivery of the interaction to the arrival of the reply.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np

from bot.playground.objects import GUILD_ID
from bot.playground.people import Person
from bot.services.people import Actor, Role
from storage.records import Source
from tests.benchmarks.data import intents
from tests.benchmarks.report import Figure
from tests.fakes.running import Running, running_bot
from trainer.bases import PACKAGED

NAME, SHOTS = "triage", 8
AT_ONCE, BURSTS = 50, 10
PAUSE = 2.0
"""Seconds between two bursts."""
TARGET = 1000.0
"""Milliseconds to the first reply of the slowest."""
PEOPLE = ("maria", "ada", "jonas")
LEAD = Actor(GUILD_ID, "lead", "Lead", Role.LEAD)


def run() -> list[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(_measure(Path(folder)))


async def _measure(data: Path) -> list[Figure]:
    by_label: dict[str, list[str]] = {}
    for text, label in intents("banking77", "train"):
        by_label.setdefault(label, []).append(text)
    rows = [(text, label) for label, texts in by_label.items() for text in texts[:SHOTS]]
    spare = [(text, label) for label, texts in by_label.items() for text in texts[SHOTS:]]
    async with running_bot(data, Path(PACKAGED), recipe={}) as bot:
        await bot.system.services.labeling.import_rows(LEAD, NAME, rows, Source.FILE)
        classifier = await bot.system.stores.classifiers.get(GUILD_ID, NAME)
        texts = [text for text, _ in random.Random(1).sample(spare, 400)]
        await bot.system.stores.examples.add_unlabelled(GUILD_ID, classifier.id, texts, LEAD.id, Source.FILE, 1.0)
        await bot.system.serving.settle(classifier)
        idle = await _bursts(bot, spare)
        await bot.person("maria").command("train now")
        busy = await _bursts(bot, spare)
        update = await bot.system.services.training.status(classifier)
        assert update is not None
        still = not update.job.state.is_final
    return [
        Figure("the training outlasted the bursts", float(still), "", target=1),
        *_figures("while nothing trains", idle),
        *_figures("during a training", busy, TARGET),
    ]


async def _bursts(bot: Running, spare: list[tuple[str, str]]) -> tuple[list[float], list[float]]:
    """Milliseconds to the first reply, and to the finished answer, of every interaction."""
    first: list[float] = []
    interactions = bot.person("maria")._actions.interactions
    mark = interactions.mark_answered

    def timed(interaction: Any, kind: Any) -> None:
        first.append(1000 * (time.monotonic() - interaction.born))
        mark(interaction, kind)

    interactions.mark_answered = timed  # type: ignore[method-assign]
    whole: list[float] = []
    chance = random.Random(0)
    for _ in range(BURSTS):
        calls = [_call(bot.person(chance.choice(PEOPLE)), number, *chance.choice(spare)) for number in range(AT_ONCE)]
        whole += await asyncio.gather(*map(_timed, calls))
        await asyncio.sleep(PAUSE)
    interactions.mark_answered = mark  # type: ignore[method-assign]
    return first, whole


def _call(person: Person, number: int, text: str, label: str) -> Callable[[], Awaitable[Any]]:
    """A team's mixture: mostly questions and labels, some teaching, some looking."""
    match number % 10:
        case 0 | 1 | 2:
            return lambda: person.command("ask", text=text)
        case 3 | 4:
            return lambda: person.command("label", text=text, label=label)
        case 5 | 6:
            return lambda: person.autocomplete("label", focused="label", text=text)
        case 7:
            return lambda: person.command("teach", count=1)
        case 8:
            return lambda: person.command("stats")
    return lambda: person.command("labels list")


async def _timed(call: Callable[[], Awaitable[Any]]) -> float:
    began = time.perf_counter()
    await call()
    return 1000 * (time.perf_counter() - began)


def _figures(when: str, taken: tuple[list[float], list[float]], target: float | None = None) -> list[Figure]:
    first, whole = (np.array(each) for each in taken)
    return [
        Figure(f"interactions, {AT_ONCE} at once, {when}", len(whole), "interactions"),
        Figure(f"first reply {when}, p50", float(np.median(first)), "ms", better="lower"),
        Figure(f"first reply {when}, p99", float(np.quantile(first, 0.99)), "ms", better="lower"),
        Figure(f"first reply {when}, slowest", float(first.max()), "ms", target=target, better="lower"),
        Figure(f"finished answer {when}, p50", float(np.median(whole)), "ms", better="lower"),
        Figure(f"finished answer {when}, p99", float(np.quantile(whole, 0.99)), "ms", better="lower"),
    ]
