"""One call at a time for each key: whoever comes while it is under way waits for it and gets its outcome."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class Flights(Generic[T]):
    """Belongs to one event loop."""

    def __init__(self) -> None:
        self._under_way: dict[Hashable, asyncio.Future[T]] = {}

    async def join(self, key: Hashable, call: Callable[[], Awaitable[T]]) -> T:
        """The outcome of `call`, or of the one that is under way for `key`; an error is everybody's.

        It goes on when who waits for it is cancelled: others may wait, and the next will.
        """
        flight = self._under_way.get(key)
        if flight is None:
            flight = self._under_way[key] = asyncio.ensure_future(call())
            flight.add_done_callback(lambda _: self._under_way.pop(key))
        return await asyncio.shield(flight)
