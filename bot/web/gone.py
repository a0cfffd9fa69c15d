"""Work for somebody who may hang up: it is given up once nobody would read what comes of it.

aiohttp could cancel every handler whose client is gone, also one in the middle of storing labels; this is for questions
alone. Knows nothing of what is asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from aiohttp import web

from storage.errors import Busy

T = TypeVar("T")

LOOK = 0.25
"""Seconds between looks at the connection: a text takes a hundredth of that, so only those who wait are looked at."""


async def unless_gone(request: web.Request, work: Coroutine[Any, Any, T]) -> T:
    """What `work` returns or raises.

    Raises:
        Busy: the client hung up; the work was cancelled. Nobody reads this.
    """
    task = asyncio.create_task(work)
    try:
        while not (await asyncio.wait({task}, timeout=LOOK))[0]:
            if request.transport is None or request.transport.is_closing():
                raise Busy("Nobody waits for this answer any more.")
        return task.result()
    finally:
        task.cancel()
