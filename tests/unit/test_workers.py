"""Threads that make calls: who waits how long, who is refused and told when to come back, and what faults cost."""

from __future__ import annotations

import asyncio
import random
import threading
import time
import weakref
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

import pytest

from bot.inference import workers
from bot.inference.calls import Waiting, Work, Worker
from bot.inference.workers import Workers
from storage.errors import Busy
from tests.fakes.fake_encoder import Gate, until


class Calls:
    """Calls that note their name when they are made; "held" stays inside until `gate` opens."""

    def __init__(self) -> None:
        self.made: list[str] = []
        self.gate = Gate({"held"})

    def __call__(self, name: str) -> Callable[[], str]:
        return partial(self._make, name)

    def _make(self, name: str) -> str:
        self.made.append(name)
        self.gate(name)
        return name


@asynccontextmanager
async def held(calls: Calls, limit: int = 4096, deadline: float = 30.0) -> AsyncIterator[Workers]:
    """One thread, kept inside the call "held" of the guild "other"."""
    async with Workers(1, limit, deadline) as pool:
        holding = asyncio.create_task(pool.query(calls("held"), "other", 30.0))
        await until(lambda: calls.gate.entered.acquire(blocking=False))
        try:
            yield pool
        finally:
            calls.gate.open()
            await asyncio.gather(holding, return_exceptions=True)


async def ask(pool: Workers, count: int, calls: Calls, guild: str) -> list[asyncio.Task[str]]:
    """Queries named "guild 0", "guild 1" ... that have begun to wait."""
    tasks = [asyncio.create_task(pool.query(calls(f"{guild} {index}"), guild)) for index in range(count)]
    await asyncio.sleep(0)
    return tasks


# Turns


async def test_a_burst_of_one_guild_delays_the_query_of_another_by_one_call() -> None:
    calls = Calls()
    async with held(calls) as pool:
        burst = await ask(pool, 1000, calls, "loud")
        quiet = await ask(pool, 1, calls, "quiet")
        assert pool.waiting == 1001
        calls.gate.open()
        await asyncio.gather(*burst, *quiet)
    assert calls.made[:3] == ["held", "loud 0", "quiet 0"]
    assert calls.made[3:] == [f"loud {index}" for index in range(1, 1000)]


async def test_bulk_requests_of_guilds_take_turns_and_each_is_made_in_order() -> None:
    calls = Calls()
    async with held(calls) as pool:
        large = asyncio.create_task(pool.bulk([calls(f"import {index}") for index in range(500)], "loud"))
        await asyncio.sleep(0)
        small = asyncio.create_task(pool.bulk([calls(f"labels {index}") for index in range(3)], "quiet"))
        await asyncio.sleep(0)
        assert pool.waiting == 0, "bulk work is no query"
        calls.gate.open()
        assert await small == ["labels 0", "labels 1", "labels 2"]
        assert await large == [f"import {index}" for index in range(500)]
    assert calls.made[1:7] == ["import 0", "labels 0", "import 1", "labels 1", "import 2", "labels 2"]
    assert calls.made[7:] == [f"import {index}" for index in range(3, 500)]


# Back-pressure


async def test_a_full_queue_refuses_the_newest_of_the_guild_that_has_the_most() -> None:
    calls = Calls()
    async with held(calls, limit=3) as pool:
        loud = await ask(pool, 3, calls, "loud")
        with pytest.raises(Busy, match="3 questions are waiting"):
            await pool.query(calls("loud 3"), "loud")
        quiet = await ask(pool, 1, calls, "quiet")
        with pytest.raises(Busy, match="3 questions are waiting"):
            await loud.pop()
        calls.gate.open()
        await asyncio.gather(*loud, *quiet)
    assert calls.made == ["held", "loud 0", "quiet 0", "loud 1"]


async def test_what_could_not_be_answered_in_time_is_refused_with_the_time_to_wait() -> None:
    calls = Calls()
    async with held(calls) as pool:
        burst = await ask(pool, 20, calls, "loud")
        pool._waiting.seconds_per_call = 0.6
        with pytest.raises(Busy, match="About 12 s of questions are waiting") as refused:
            await pool.query(calls("too late"), "loud", deadline=10.0)
        assert refused.value.retry_after == pytest.approx(7.0), "by then the wait is half a deadline"
        patient = asyncio.create_task(pool.query(calls("patient"), "loud", deadline=14.0))
        other = asyncio.create_task(pool.query(calls("other guild"), "quiet", deadline=10.0))
        await until(lambda: pool.waiting == 22)
        calls.gate.open()
        await asyncio.gather(patient, other, *burst)
    assert "too late" not in calls.made


async def test_seconds_per_call_are_those_of_the_newest_calls() -> None:
    async with Workers(1, 8, 10.0) as pool:
        await pool.query(partial(time.sleep, 0.03))
        await pool.bulk([int])
        assert 0.015 <= pool._waiting.seconds_per_call < 5.0, "the mean of the two"
    waiting = Waiting(8)
    for seconds in [1.0] * 500 + [0.0] * 64:
        waiting._note(seconds)
    assert 0.1 < waiting.seconds_per_call < 0.2, "an earlier second counts for 1/e of what it did 32 calls ago"


async def test_a_guess_that_is_far_off_shuts_nobody_out() -> None:
    async with Workers(1, 8, 10.0) as pool:
        await pool.query(int)
        pool._waiting.seconds_per_call = 1e6
        assert await pool.query(int) == 0


# Deadlines and askers who go away


async def test_a_query_has_the_deadline_it_asks_for() -> None:
    calls = Calls()
    async with held(calls) as pool:
        with pytest.raises(Busy, match=r"within 0\.05 seconds") as refused:
            await pool.query(calls("late"), deadline=0.05)
        assert refused.value.retry_after == 1.0
        assert pool.waiting == 0
        calls.gate.open()
        await pool.query(calls("next"))
    assert calls.made == ["held", "next"]


async def test_a_query_whose_deadline_has_passed_is_not_made_even_if_the_loop_stands_still() -> None:
    calls, made = Calls(), threading.Event()
    async with held(calls) as pool:
        late = asyncio.create_task(pool.query(calls("late"), deadline=0.02))
        following = asyncio.create_task(pool.query(made.set))
        await until(lambda: pool.waiting == 2)
        time.sleep(0.03)  # the loop stands still past the deadline
        calls.gate.open()
        assert made.wait(10)
        with pytest.raises(Busy):
            await late
        await following
    assert calls.made == ["held"]


async def test_an_asker_who_goes_away_gives_up_the_place_and_its_memory_at_once() -> None:
    class Text:
        def __call__(self) -> None: ...

    async with held(Calls()) as pool:
        text = Text()
        freed = weakref.ref(text)
        gone = [asyncio.create_task(pool.query(text, "a")), asyncio.create_task(pool.bulk([text, text], "a"))]
        await until(lambda: pool.waiting == 1)
        for task in gone:
            task.cancel()
        await asyncio.wait(gone)
        gone.clear()
        del text, task
        assert pool.waiting == 0
        assert freed() is None


# Faults


def die() -> None:
    raise SystemExit


async def test_a_call_that_kills_its_thread_costs_nobody_else_anything() -> None:
    calls = Calls()
    async with held(calls) as pool:
        dying = asyncio.create_task(pool.query(die, "a"))
        bulk = asyncio.create_task(pool.bulk([die, calls("dropped")], "a"))
        behind = await ask(pool, 5, calls, "a")
        calls.gate.open()
        async with asyncio.timeout(10):
            with pytest.raises(Busy, match="died"):
                await dying
            assert await asyncio.gather(*behind) == [f"a {index}" for index in range(5)]
            with pytest.raises(Busy, match="died"):
                await bulk
            assert await pool.query(calls("next")) == "next"


async def test_everybody_hears_at_once_when_no_thread_is_left_and_the_next_query_works_when_one_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(workers, "HUNG_LIMIT", 1)
    calls = Calls()
    async with Workers(1, 8, 0.2) as pool:
        hanging = asyncio.create_task(pool.query(calls("held"), deadline=60.0))
        waiting = asyncio.create_task(pool.query(calls("waits"), deadline=60.0))
        bulk = asyncio.create_task(pool.bulk([calls("bulk")]))
        async with asyncio.timeout(10):
            with pytest.raises(Busy, match="hung"):
                await hanging
            later = [asyncio.create_task(pool.query(calls("later"))), asyncio.create_task(pool.bulk([calls("later")]))]
            await asyncio.sleep(0)
            assert all(task.done() for task in later), "they wait for nothing"
            for asked in (waiting, bulk, *later):
                with pytest.raises(Busy, match="No thread is left"):
                    await asked
            assert pool.waiting == 0
            calls.gate.open()
            await until(lambda: bool(pool._workers))
            assert await pool.query(calls("next")) == "next"
    assert calls.made == ["held", "next"]


async def test_a_thread_that_returns_just_before_it_is_given_up_goes_on() -> None:
    waiting = Waiting(8)
    worker = Worker(waiting, lambda: None)
    for group in "ab":
        waiting.put_query(Work(int, asyncio.get_running_loop().create_future(), group))
    waiting.take(worker)
    first = worker.busy
    waiting.take(worker)
    assert first is not None
    assert worker.busy is not None
    assert not waiting.give_up(worker, first)
    assert not worker.given_up
    waiting.seconds_per_call = 0.25
    assert waiting.give_up(worker, worker.busy)
    assert waiting.take(worker) is None, "it would take a call that nobody watches"
    assert waiting.seconds_per_call == 0.25, "how long a call hung says nothing about the others"


async def test_a_system_without_threads_is_told_at_once_and_recovered_from(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_thread(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as scarce:
        scarce.setattr(Worker, "start", no_thread)
        pool = await Workers(1, 8, 0.2).__aenter__()
        with pytest.raises(Busy, match="restart Pupil"):
            await pool.query(int)
    await until(lambda: bool(pool._workers))
    assert await pool.query(int) == 0
    await pool.__aexit__(None, None, None)


async def test_closing_refuses_a_call_that_runs_for_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "STOP_SECONDS", 0.02)
    calls = Calls()
    async with Workers(1, 8, 30.0) as pool:
        asked: list[asyncio.Task[object]] = [asyncio.create_task(pool.bulk([calls("held")]))]
        await until(lambda: calls.gate.entered.acquire(blocking=False))
        asked.append(asyncio.create_task(pool.query(calls("waits"))))
        asked.append(asyncio.create_task(pool.bulk([calls("waits")])))
        await until(lambda: pool.waiting == 1)
    async with asyncio.timeout(10):
        for refused in asked:
            with pytest.raises(Busy, match="shutting down"):
                await refused
    with pytest.raises(Busy, match="shutting down"):
        await pool.query(calls("after"))
    calls.gate.open()


async def test_whatever_goes_wrong_everybody_hears_and_no_call_is_made_twice() -> None:
    chance = random.Random(1)
    made: Counter[int] = Counter()

    def make(number: int, fate: str) -> int:
        made[number] += 1
        if fate == "dies":
            raise SystemExit
        if fate == "fails":
            raise ValueError
        time.sleep(0.08 if fate == "hangs" else 0.0005)
        return number

    async def one(pool: Workers, number: int) -> object:
        fate = "hangs" if number % 200 == 0 else chance.choices(["works", "dies", "fails"], [90, 5, 5])[0]
        call, guild = partial(make, number, fate), chance.choice("aaaab")
        query = pool.query(call, guild) if number % 10 else pool.bulk([call], guild)
        task = asyncio.create_task(query)
        if chance.random() < 0.1:
            asyncio.get_running_loop().call_later(0.1 * chance.random(), task.cancel)
        async with asyncio.timeout(10):
            (outcome,) = await asyncio.gather(task, return_exceptions=True)
        return outcome[0] if isinstance(outcome, list) else outcome

    async with Workers(2, 400, 0.1) as pool:
        outcomes = await asyncio.gather(*(one(pool, number) for number in range(600)))
        assert pool.waiting == len(pool._waiting._lanes.bulk) == 0
    for number, outcome in enumerate(outcomes):
        assert outcome == number or isinstance(outcome, Busy | ValueError | asyncio.CancelledError)
    assert {type(outcome) for outcome in outcomes} == {int, Busy, ValueError, asyncio.CancelledError}
    assert set(made.values()) == {1}
