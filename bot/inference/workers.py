"""A few threads that make short calls, one at a time each, from two lanes: queries first, bulk work behind them.

The threads take their next call themselves, so a busy event loop does not leave them idle. A thread that dies or hangs
fails its waiter at once and is replaced. This module does not know what a call computes, nor what a model is.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar

from bot.inference.threads import fail, make_call, tell
from storage.errors import Busy

log = logging.getLogger(__name__)

T = TypeVar("T")

QUERIES_PER_BULK_CALL = 32
"""While queries keep waiting, one call in 33 is bulk work: 3 % of the capacity, so that labels land under full load."""

HUNG_LIMIT = 8
"""Hung threads at which none is replaced any more, until one returns: they cannot be ended from outside."""

STOP_SECONDS = 2.0
"""How long `Workers` waits at its end for calls that are running."""


@dataclass(eq=False, slots=True)
class _Work:
    call: Callable[[], Any]
    result: asyncio.Future[Any]
    """Belongs to the event loop; a thread only looks whether somebody still waits."""


class _Lanes:
    """Where calls wait. Every method may be called from any thread."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._queries: deque[_Work] = deque()
        self._bulk: deque[_Work] = deque()
        self._changed = threading.Condition()
        self._queries_in_a_row = 0
        self._closed = False

    @property
    def waiting(self) -> int:
        return len(self._queries)

    @property
    def closed(self) -> bool:
        return self._closed

    def put_query(self, work: _Work) -> None:
        with self._changed:
            if self._closed:
                raise _stopping()
            if len(self._queries) >= self._limit:
                raise Busy(f"{self._limit} questions are waiting already. Ask again in a moment.")
            self._queries.append(work)
            self._changed.notify()

    def put_bulk(self, works: Sequence[_Work]) -> None:
        with self._changed:
            if self._closed:
                raise _stopping()
            self._bulk.extend(works)
            self._changed.notify(len(works))

    def take(self) -> _Work | None:
        """The next call somebody waits for; blocks until there is one. None once closed."""
        with self._changed:
            while not self._closed:
                if (work := self._next()) is None:
                    self._changed.wait()
                elif not work.result.done():
                    return work
            return None

    def close(self) -> list[_Work]:
        """Let every thread go home; returns what was never begun."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            left = [*self._queries, *self._bulk]
            self._queries.clear()
            self._bulk.clear()
            return left

    def _next(self) -> _Work | None:
        bulk_has_waited = self._queries_in_a_row >= QUERIES_PER_BULK_CALL
        if self._queries and not (self._bulk and bulk_has_waited):
            self._queries_in_a_row += 1
            return self._queries.popleft()
        self._queries_in_a_row = 0
        return self._bulk.popleft() if self._bulk else None


class _Worker(threading.Thread):
    """Takes and makes calls until the lanes close, the call kills it, or it is given up.

    A daemon, so that a call which never returns cannot keep the process from ending.
    """

    def __init__(self, lanes: _Lanes, gone: Callable[[], None]) -> None:
        """`gone` is called, in this thread, when it ends."""
        super().__init__(name="pupil-inference", daemon=True)
        self._lanes, self._gone = lanes, gone
        self.busy: tuple[_Work, float] | None = None
        """The call it makes and since when (monotonic seconds); still set after a death: that waiter must be told."""
        self.given_up = False
        self.ended = False

    def run(self) -> None:
        try:
            while not self.given_up and self._make_one_call():
                pass
        finally:
            self.ended = True
            self._gone()

    def _make_one_call(self) -> bool:
        # A function of its own: while the thread waits, no local keeps the last call's encoder alive.
        work = self._lanes.take()
        if work is None:
            return False
        self.busy = (work, time.monotonic())
        try:
            make_call(work.call, work.result)
        except BaseException:  # SystemExit and the like end the thread; `Workers` sees `busy` and tells the waiter
            return False
        self.busy = None
        return True


class Workers:
    """Runs calls on `threads` threads: `async with Workers(2, 1024, 10.0) as workers`.

    All methods belong to the event loop that entered it; the calls run in the threads.

    Args:
        threads: calls made at a time.
        queue_limit: queries that may wait; one more is refused.
        deadline: seconds from asking to answering for a query. A call that *runs* for half of it counts as hung.
    """

    def __init__(self, threads: int, queue_limit: int, deadline: float) -> None:
        self._threads = threads
        self._deadline = deadline
        self._lanes = _Lanes(queue_limit)
        self._workers: list[_Worker] = []
        self._hung: list[_Worker] = []
        self._watch: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._look_after()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Calls that run are finished and answered; those that wait are refused."""
        if self._watch is not None:
            self._watch.cancel()
        for work in self._lanes.close():
            fail(work.result, _stopping())
        await asyncio.to_thread(_join, self._workers, STOP_SECONDS)

    @property
    def waiting(self) -> int:
        """Queries that wait for a thread."""
        return self._lanes.waiting

    async def query(self, call: Callable[[], T]) -> T:
        """What `call()` returns, or whatever it raises.

        Raises:
            Busy: the lane is full, the deadline passed, or the thread that made the call hung or died.
        """
        work = _Work(call, self._loop.create_future())
        self._lanes.put_query(work)
        try:
            await asyncio.wait((work.result,), timeout=self._deadline)
            if work.result.done():
                answer: T = work.result.result()
                return answer
        finally:
            work.result.cancel()  # nobody waits any more: a thread that comes to it passes it over
        raise Busy(f"There was no answer within {self._deadline:g} seconds. Ask again in a moment.", self._deadline)

    async def bulk(self, calls: Sequence[Callable[[], T]]) -> list[T]:
        """The results of many calls in their order, without a deadline for the whole.

        A query waits for at most one of them (and one more per `QUERIES_PER_BULK_CALL` queries ahead of it).

        Raises:
            Busy: a thread hung or died over one of the calls; otherwise the first exception any call raised. The calls
                that have not begun are dropped.
        """
        works = [_Work(call, self._loop.create_future()) for call in calls]
        self._lanes.put_bulk(works)
        try:
            return list(await asyncio.gather(*(work.result for work in works)))
        finally:
            for work in works:
                work.result.cancel()

    def _look_after(self) -> None:
        """Tend the threads now and ten times per deadline."""
        self._tend()
        self._watch = self._loop.call_later(self._deadline / 10, self._look_after)

    def _tend(self) -> None:
        """Give up threads that died or hang, and fill their places."""
        if self._lanes.closed:
            return
        oldest = time.monotonic() - self._deadline / 2
        for worker in list(self._workers):
            busy = worker.busy
            if worker.ended or (busy is not None and busy[1] < oldest):
                self._give_up(worker, busy[0] if busy else None)
        self._hung = [worker for worker in self._hung if not worker.ended]
        while len(self._workers) < self._threads and len(self._hung) < HUNG_LIMIT:
            worker = _Worker(self._lanes, partial(tell, self._loop, self._tend))
            self._workers.append(worker)
            worker.start()

    def _give_up(self, worker: _Worker, work: _Work | None) -> None:
        worker.given_up = True
        self._workers.remove(worker)
        self._hung.append(worker)
        fate = "died" if worker.ended else "hung"
        log.error("worker.replaced", extra={"fate": fate, "hung": len(self._hung)})
        if work is not None:
            fail(work.result, Busy(f"The thread that was working on this {fate} and was replaced. Ask again."))


def _stopping() -> Busy:
    return Busy("Pupil is shutting down. Ask again when it is back.", retry_after=10.0)


def _join(threads: Sequence[threading.Thread], seconds: float) -> None:
    end = time.monotonic() + seconds
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
