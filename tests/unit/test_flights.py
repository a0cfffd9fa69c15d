"""Calls that are made once for all who want them at the same time."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest

from bot.services.flights import Flights


@dataclass
class Slow:
    """A call that takes until `gate` is open."""

    gate: asyncio.Event = field(default_factory=asyncio.Event)
    calls: int = 0
    error: Exception | None = None

    async def __call__(self) -> int:
        self.calls += 1
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return self.calls


async def test_whoever_comes_meanwhile_gets_the_same_outcome() -> None:
    flights, slow = Flights[int](), Slow()
    waiting = [asyncio.create_task(flights.join("a", slow)) for _ in range(3)]
    await asyncio.sleep(0)
    slow.gate.set()
    assert await asyncio.gather(*waiting) == [1, 1, 1]
    assert await flights.join("a", slow) == 2


async def test_an_error_is_everybodys_and_the_next_tries_again() -> None:
    flights, slow = Flights[int](), Slow(error=OSError("away"))
    waiting = [asyncio.create_task(flights.join("a", slow)) for _ in range(3)]
    await asyncio.sleep(0)
    slow.gate.set()
    assert [str(each) for each in await asyncio.gather(*waiting, return_exceptions=True)] == ["away"] * 3
    slow.error = None
    assert await flights.join("a", slow) == 2


async def test_one_key_does_not_wait_for_another() -> None:
    flights, slow, quick = Flights[int](), Slow(), Slow()
    quick.gate.set()
    waiting = asyncio.create_task(flights.join("a", slow))
    assert await flights.join("b", quick) == 1
    slow.gate.set()
    await waiting


async def test_it_goes_on_for_the_others_when_the_first_gives_up() -> None:
    flights, slow = Flights[int](), Slow()
    first, second = [asyncio.create_task(flights.join("a", slow)) for _ in range(2)]
    await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    slow.gate.set()
    assert (await second, slow.calls) == (1, 1)
