"""Which texts to ask about next, for every classifier: planned in the background from what serves now.

A plan is a few texts, best first. It goes stale with the labels that come in, and then the next one is made. Where
there is none yet, texts come by lot, which needs no model, so that nobody waits for the pool to be read.
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
from collections import deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from bot.inference.engine import Engine
from bot.inference.planning import plan
from bot.inference.vectors import Vectors
from bot.services.serving import Serving
from storage.errors import PupilError
from storage.records import Classifier, PoolText
from storage.stores import Stores
from trainer.model.selection import Reason

log = logging.getLogger(__name__)

POOL_STAGES = (300, 3000)
"""Texts of the pool that a plan looks at, first and then: the first takes about a second to read, the second is about
what `trainer.model.selection` was measured with. Of a larger pool always the same ones, by lot, until they have one."""
MOST_KNOWN = 3000
"""Labelled texts, the newest, that a plan keeps away from: likeness to them takes 6 kB each."""
PLANNED = 30
"""Texts planned ahead."""
STALE = 10
"""Texts of a plan that are asked about before the next one is made: what was measured are batches of about ten."""
PATIENCE = 0.8
"""Seconds that somebody waits for the first plan."""

Pick = tuple[PoolText, bool]
"""(text, whether the model picked it)"""


@dataclass(slots=True)
class _Plan:
    picks: deque[Pick]
    given: int = 0


class QuestionPlans:
    """`async with` owns the planning that is under way. Belongs to the engine's event loop."""

    def __init__(self, stores: Stores, serving: Serving, engine: Engine) -> None:
        self._rounds = stores.rounds
        self._examples = stores.examples
        self._serving = serving
        self._engine = engine
        self._vectors = Vectors(stores.examples, engine)
        self._plans: dict[int, _Plan] = {}
        self._under_way: dict[int, asyncio.Task[None]] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        tasks = list(self._under_way.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def texts(self, classifier: Classifier, not_for: set[int]) -> AsyncIterator[Pick]:
        """Texts to ask somebody about, best first; `not_for` are examples that this person is not to be asked about.

        What is taken from here is taken out of the plan, so that whoever asks next is given another text.
        """
        await self._refresh(classifier)
        if (plan := self._plans.get(classifier.id)) is not None:
            for pick in [pick for pick in plan.picks if pick[0].example_id not in not_for]:
                if pick in plan.picks:
                    plan.picks.remove(pick)
                    plan.given += 1
                    yield pick
        for pick in await self._by_lot(classifier, not_for):
            yield pick

    async def _by_lot(self, classifier: Classifier, not_for: set[int]) -> list[Pick]:
        pool = await self._rounds.pool(classifier.guild, classifier.id, POOL_STAGES[-1] + len(not_for))
        free = [(text, False) for text in pool if text.example_id not in not_for]
        random.shuffle(free)
        return free

    async def _refresh(self, classifier: Classifier) -> None:
        """Sees to it that there will be a fresh plan; waits a moment where there is none at all."""
        plan = self._plans.get(classifier.id)
        if plan is not None and plan.picks and plan.given < STALE:
            return
        if classifier.id not in self._under_way:
            task = asyncio.create_task(self._make(classifier), name="question plan")
            self._under_way[classifier.id] = task
            task.add_done_callback(lambda _: self._under_way.pop(classifier.id, None))
        if plan is None or not plan.picks:
            await asyncio.wait({self._under_way[classifier.id]}, timeout=PATIENCE)

    async def _make(self, classifier: Classifier) -> None:
        """A plan over a part of the pool, and where the pool is larger another one over more of it."""
        try:
            await self._serving.ensure(classifier)
            labelled = await self._examples.current(classifier.guild, classifier.id)
            known = [row.text for row in labelled[-MOST_KNOWN:]]
            for stage in POOL_STAGES:
                pool = await self._rounds.pool(classifier.guild, classifier.id, stage)
                self._plans[classifier.id] = _Plan(deque(await self._picks(classifier, pool, known)))
                if len(pool) < stage:
                    return
        except PupilError as error:
            log.warning("questions.unplanned", extra={"classifier": classifier.id, "why": type(error).__name__})
        except Exception:
            log.exception("questions.unplanned", extra={"classifier": classifier.id})

    async def _picks(self, classifier: Classifier, pool: Sequence[PoolText], known: Sequence[str]) -> list[Pick]:
        served = self._engine.current(classifier.id)
        if served is None or not pool:
            return []
        picks = await plan(
            self._vectors,
            served,
            classifier.guild,
            pool,
            known,
            PLANNED,
            wants_golden=await self._rounds.wants_golden(classifier.guild, classifier.id),
            seed=secrets.randbits(32),
        )
        return [(pool[pick.position], pick.reason is Reason.MARGIN) for pick in picks]
