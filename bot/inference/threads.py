"""A call made in a thread of our own, its outcome told to an event loop.

Not `asyncio.to_thread`: the threads of its pool must end before the process does, which a call that hangs never lets
them, and they all have one priority.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

log = logging.getLogger(__name__)

T = TypeVar("T")


def make_call(call: Callable[[], T], outcome: asyncio.Future[T]) -> None:
    """Make the call in this thread; what it returns or raises becomes `outcome`, unless nobody waits for it any more.

    What ends a thread (SystemExit and the like) passes through, and `outcome` stays open.
    """
    try:
        value = call()
    except Exception as error:
        tell(outcome.get_loop(), fail, outcome, error)
    else:
        tell(outcome.get_loop(), succeed, outcome, value)


def tell(loop: asyncio.AbstractEventLoop, function: Callable[..., object], *arguments: Any) -> None:
    """Have the loop run `function(*arguments)`, from any thread; nothing happens if the loop has been closed."""
    try:
        loop.call_soon_threadsafe(function, *arguments)
    except RuntimeError:
        log.debug("thread.late")


def succeed(outcome: asyncio.Future[T], value: T) -> None:
    if not outcome.done():
        outcome.set_result(value)


def fail(outcome: asyncio.Future[Any], error: Exception) -> None:
    if not outcome.done():
        # A future does not take StopIteration, and whoever waits would never hear.
        outcome.set_exception(RuntimeError(repr(error)) if isinstance(error, StopIteration) else error)


def nicely(call: Callable[[], T], niceness: int) -> T:
    """What `call()` returns or raises, made in a nicer thread that this one waits for.

    For work that does not hold the interpreter: a nice thread that does, and waits for a busy core, stops everybody.
    """
    outcome: Future[T] = Future()

    def run() -> None:
        _be_nicer(niceness)
        try:
            outcome.set_result(call())
        except BaseException as error:
            outcome.set_exception(error)

    threading.Thread(target=run, name="pupil-nice", daemon=True).start()
    return outcome.result()


async def in_background(call: Callable[[], T], niceness: int) -> T:
    """What `call()` returns or raises, made in a fresh daemon thread; on Linux one that is nicer by `niceness`.

    A fresh one, because a thread can be made nicer but never less nice again. A call whose waiter is cancelled goes on
    to its end unheard.
    """
    outcome: asyncio.Future[T] = asyncio.get_running_loop().create_future()

    def run() -> None:
        _be_nicer(niceness)
        make_call(call, outcome)

    threading.Thread(target=run, name="pupil-background", daemon=True).start()
    return await outcome


def _be_nicer(niceness: int) -> None:
    if niceness and sys.platform == "linux":  # there it is this thread's alone, elsewhere the whole process's
        os.nice(niceness)
