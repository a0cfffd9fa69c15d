"""A few threads that make short calls, one at a time each: queries first, bulk work behind them, guilds in turn.

A query that could not be answered in time is refused at once; one that nobody waits for gives up its place. A thread
that dies or hangs fails its waiter at once and is replaced. This module does not know what a call computes, nor what a
model is.
"""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from types import TracebackType
from typing import Self, TypeVar

from bot.inference.calls import Waiting, Work, Worker, stopping
from bot.inference.threads import fail, tell
from storage.errors import Busy

log = logging.getLogger(__name__)

T = TypeVar("T")

HUNG_LIMIT = 8
"""Hung threads at which none is replaced any more, until one returns: they cannot be ended from outside."""

STOP_SECONDS = 2.0
"""How long `Workers` waits at its end for calls that are running."""

IN_TIME = 0.9
"""Share of its deadline that a query may have to wait when it comes. The rest is for its own call, for guilds that come
later and take turns before it, and for what the mean does not know."""


class Workers:
    """Runs calls on `threads` threads: `async with Workers(2, 1024, 10.0) as workers`.

    All methods belong to the event loop that entered it; the calls run in the threads. A group is a guild: each waits
    behind its own calls, and behind one of every other group per turn.

    Args:
        threads: calls made at a time.
        queue_limit: queries that may wait. One more, and the group with the most is refused its newest.
        deadline: seconds from asking to answering for a query. A call that *runs* for half of it counts as hung.
    """

    def __init__(self, threads: int, queue_limit: int, deadline: float) -> None:
        self._threads = threads
        self._deadline = deadline
        self._waiting = Waiting(queue_limit)
        self._workers: list[Worker] = []
        self._hung: list[Worker] = []
        self._watch: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._look_after()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Calls that run are finished and answered; those that wait, or run for too long, are refused."""
        if self._watch is not None:
            self._watch.cancel()
        _fail_all(self._waiting.close(), stopping)
        await asyncio.to_thread(_join, self._workers, STOP_SECONDS)
        _fail_all([worker.busy[0] for worker in self._workers if worker.busy], stopping)

    @property
    def waiting(self) -> int:
        """Queries that wait for a thread."""
        return len(self._waiting)

    async def query(self, call: Callable[[], T], group: str = "", deadline: float | None = None) -> T:
        """What `call()` returns, or whatever it raises.

        Args:
            group: whose turn it takes.
            deadline: seconds from now to the answer; None: the one of all queries.

        Raises:
            Busy: it could not be made before the deadline, or was not; too many wait; its thread hung or died. Says
                when to ask again.
        """
        seconds = self._deadline if deadline is None else deadline
        work = Work(call, self._loop.create_future(), group, time.monotonic() + seconds)
        self._admit(work, seconds)
        timer = self._loop.call_later(seconds, self._expire, work, seconds)
        try:
            answer: T = await work.result
            return answer
        except BaseException:  # also when the asker is gone
            self._waiting.discard((work,))
            raise
        finally:
            timer.cancel()

    async def bulk(self, calls: Sequence[Callable[[], T]], group: str = "") -> list[T]:
        """The results of many calls in their order, without a deadline for the whole.

        A query waits for at most one of them (and one more per `QUERIES_PER_BULK_CALL` queries ahead of it).

        Raises:
            Busy: a thread hung or died over one of the calls; otherwise the first exception any call raised. The calls
                that have not begun are dropped.
        """
        self._refuse_if_nobody_works()
        works = [Work(call, self._loop.create_future(), group) for call in calls]
        self._waiting.put_bulk(works)
        try:
            return list(await asyncio.gather(*(work.result for work in works)))
        except BaseException:
            self._waiting.discard(works)
            raise
        finally:
            for work in works:
                work.result.cancel()

    def _admit(self, work: Work, deadline: float) -> None:
        """Put a query where it waits, or refuse it at once."""
        self._refuse_if_nobody_works()
        # What waits in all is quicker to know than what is ahead of this group, and never less.
        most = IN_TIME * deadline
        if self._seconds_for(len(self._waiting)) > most and (wait := self._wait(work.group)) > most:
            sentence = f"About {math.ceil(wait)} s of questions are waiting already. Ask again in a moment."
            raise Busy(sentence, _later(wait, deadline))
        if (refused := self._waiting.put_query(work)) is not None:
            error = Busy(
                f"{len(self._waiting)} questions are waiting already. Ask again in a moment.",
                _later(self._wait(refused.group), deadline),
            )
            fail(refused.result, error)

    def _expire(self, work: Work, deadline: float) -> None:
        sentence = f"There was no answer within {deadline:g} seconds. Ask again in a moment."
        # The wait of all groups together: a thousand may expire at once, and that of one takes longer to know.
        fail(work.result, Busy(sentence, _later(self._seconds_for(len(self._waiting)), deadline)))

    def _wait(self, group: str) -> float:
        """Seconds until a query that this group asks now would begin."""
        return self._seconds_for(self._waiting.ahead(group))

    def _seconds_for(self, calls: int) -> float:
        return calls * self._waiting.seconds_per_call / max(1, len(self._workers))

    def _refuse_if_nobody_works(self) -> None:
        if not self._workers and not self._waiting.closed:
            raise self._nobody_works()

    def _nobody_works(self) -> Busy:
        return Busy(
            "No thread is left that could answer this. If it stays so, the operator has to restart Pupil.",
            retry_after=self._deadline,
        )

    def _look_after(self) -> None:
        """Tend the threads now and ten times per deadline."""
        self._tend()
        self._watch = self._loop.call_later(self._deadline / 10, self._look_after)

    def _tend(self) -> None:
        """Give up threads that died or hang, and fill their places. Nobody waits where none can be filled."""
        if self._waiting.closed:
            return
        oldest = time.monotonic() - self._deadline / 2
        for worker in list(self._workers):
            busy = worker.busy
            hangs = busy is not None and busy[1] < oldest and self._waiting.give_up(worker, busy)
            if worker.ended or hangs:
                self._drop(worker, busy[0] if busy else None)
        self._hung = [worker for worker in self._hung if not worker.ended]
        while len(self._workers) < self._threads and len(self._hung) < HUNG_LIMIT and self._start_one():
            pass
        if not self._workers:
            _fail_all(self._waiting.clear(), self._nobody_works)

    def _start_one(self) -> bool:
        worker = Worker(self._waiting, partial(tell, self._loop, self._tend))
        try:
            worker.start()
        except RuntimeError:  # the system has no thread left; the next look tries again
            log.exception("worker.missing")
            return False
        self._workers.append(worker)
        return True

    def _drop(self, worker: Worker, work: Work | None) -> None:
        self._workers.remove(worker)
        self._hung.append(worker)
        fate = "died" if worker.ended else "hung"
        log.error("worker.replaced", extra={"fate": fate, "hung": len(self._hung)})
        if work is not None:
            fail(work.result, Busy(f"The thread that was working on this {fate} and was replaced. Ask again."))


def _later(wait: float, deadline: float) -> float:
    """Seconds after which to ask again: by then half of the wait is over, and the rest is half a deadline at most."""
    return max(1.0, wait - min(wait, deadline) / 2)


def _fail_all(works: Iterable[Work], error: Callable[[], Busy]) -> None:
    """Each hears an error of its own: an exception that is raised in many tasks gathers all their frames."""
    for work in works:
        fail(work.result, error())


def _join(threads: Sequence[threading.Thread], seconds: float) -> None:
    end = time.monotonic() + seconds
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
