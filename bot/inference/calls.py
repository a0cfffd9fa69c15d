"""Where calls wait for a thread, and a thread that takes and makes them.

The threads take their next call themselves, so a busy event loop does not leave them idle. This module does not know
how many threads there are, who looks after them, or what a call computes.
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from bot.inference.lanes import Lanes
from bot.inference.threads import make_call
from storage.errors import Busy

SMOOTHED_OVER = 32
"""Calls that the running mean of their seconds looks back on: one slow text moves it by 3 %, another encoder is
followed within a second."""


@dataclass(eq=False, slots=True)
class Work:
    call: Callable[[], Any]
    result: asyncio.Future[Any]
    """Belongs to the event loop; a thread only looks whether somebody still waits."""
    group: str
    until: float = math.inf
    """When its deadline passes (monotonic seconds)."""


class Waiting:
    """Where calls wait: the lanes and their lock. Every method may be called from any thread."""

    def __init__(self, limit: int) -> None:
        self._lanes = Lanes[Work](limit)
        self._changed = threading.Condition(threading.Lock())
        self._calls = 0
        self.seconds_per_call = 0.0
        """A running mean over the newest calls of both lanes; 0 before the first."""
        self.closed = False

    def __len__(self) -> int:
        """Queries that wait."""
        return len(self._lanes.queries)

    def ahead(self, group: str) -> int:
        """Queries that would be taken before one which this group puts now."""
        with self._changed:
            return self._lanes.queries.ahead(group)

    def put_query(self, work: Work) -> Work | None:
        """Returns the query that there is no room for, if so: one of the group that has the most."""
        with self._changed:
            self._refuse_if_closed()
            refused = self._lanes.queries.put(work.group, work)
            self._changed.notify()
            return refused

    def put_bulk(self, works: Sequence[Work]) -> None:
        with self._changed:
            self._refuse_if_closed()
            for work in works:
                self._lanes.bulk.put(work.group, work)
            self._changed.notify(len(works))

    def discard(self, works: Iterable[Work]) -> None:
        """Nobody waits for these any more; those that have not begun never will."""
        with self._changed:
            for work in works:
                self._lanes.queries.discard(work.group, work)
                self._lanes.bulk.discard(work.group, work)

    def take(self, worker: Worker) -> Work | None:
        """The worker is done with its last call: its next one; blocks until there is one. None: go home."""
        with self._changed:
            if worker.busy is not None and not worker.given_up:
                self._note(time.monotonic() - worker.busy[1])
            worker.busy = None
            while not (self.closed or worker.given_up):
                work, now = self._lanes.take(), time.monotonic()
                if work is None:
                    self._changed.wait()
                elif work.until > now and not work.result.done():
                    worker.busy = (work, now)
                    return work
            return None

    def give_up(self, worker: Worker, busy: tuple[Work, float]) -> bool:
        """The worker may take no more calls. False if it has finished this one after all."""
        with self._changed:
            worker.given_up = worker.busy is busy
            return worker.given_up

    def clear(self) -> list[Work]:
        """Everything that waited, no longer does."""
        with self._changed:
            return list(iter(self._lanes.take, None))

    def close(self) -> list[Work]:
        """Let every thread go home; returns what was never begun."""
        with self._changed:
            self.closed = True
            self._changed.notify_all()
        return self.clear()

    def _note(self, seconds: float) -> None:
        self._calls = min(self._calls + 1, SMOOTHED_OVER)
        self.seconds_per_call += (seconds - self.seconds_per_call) / self._calls

    def _refuse_if_closed(self) -> None:
        if self.closed:
            raise stopping()


class Worker(threading.Thread):
    """Takes and makes calls until nothing more may come, the call kills it, or it is given up.

    A daemon, so that a call which never returns cannot keep the process from ending.
    """

    def __init__(self, waiting: Waiting, gone: Callable[[], None]) -> None:
        """`gone` is called, in this thread, when it ends."""
        super().__init__(name="pupil-inference", daemon=True)
        self._waiting, self._gone = waiting, gone
        self.busy: tuple[Work, float] | None = None
        """The call it makes and since when (monotonic seconds); still set after a death: that waiter must be told."""
        self.given_up = False
        self.ended = False

    def run(self) -> None:
        try:
            while self._make_one_call():
                pass
        finally:
            self.ended = True
            self._gone()

    def _make_one_call(self) -> bool:
        # A function of its own: while the thread waits, no local keeps the last call's encoder alive.
        work = self._waiting.take(self)
        if work is None:
            return False
        try:
            make_call(work.call, work.result)
        except BaseException:  # SystemExit and the like end the thread; `Workers` sees `busy` and tells the waiter
            return False
        return True


def stopping() -> Busy:
    return Busy("Pupil is shutting down. Ask again when it is back.", retry_after=10.0)
