"""A trainer on another host, as far as the bot can tell: it is stopped, killed, restarted, and the way there fails.

Lease, time-outs and pauses are those of `tests.faults.bot_process`, seconds instead of minutes.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator

import pytest

from tests.fakes.tcp_proxy import Mode
from tests.faults.bot_process import DOWNLOADING, PIECES
from tests.faults.conftest import OpenStage
from tests.faults.processes import kill
from tests.faults.rounds import Stage, rounds
from tests.faults.world import LEASE, World, number_of, steps

WHENEVER = (1, 2, 3)
"""An attempt is given up when the trainer was away for longer than a lease; it depends on the moment how many are."""


@pytest.fixture(scope="module")
def stage(open_stage: OpenStage) -> Iterator[Stage]:
    with open_stage(far=True) as one:
        yield one


# Stopped, and continued


@rounds(row="6")
async def test_late_result_of_a_trainer_that_stood_still_past_its_lease_is_not_taken(world: World) -> None:
    world.script(steps(world.chance, ["await"], at=0.5), steps(world.chance))
    job = await world.train()
    await world.comes_to(job, 0.5)
    stopped = [world.trainer_pid(), await world.child_pid(job)]
    for pid in stopped:
        kill(pid, signal.SIGSTOP)
    await world.attempt(job, 2)
    world.go()  # attempt 1 is done at once when it goes on
    await world.moment(1.0)
    for pid in reversed(stopped):
        kill(pid, signal.SIGCONT)
    await world.succeeds(job, attempts=(2, 3))
    assert (await world.about(job))["attempt"] > 1


@rounds(row="6")
async def test_bot_that_stood_still_past_the_lease_goes_on(world: World) -> None:
    world.script(steps(world.chance, ["await"], at=0.3))
    job = await world.train()
    await world.comes_to(job, 0.3)
    async with world.bot_stopped():
        world.go()
        await asyncio.sleep(LEASE + world.chance.uniform(0.2, 1))
    await world.succeeds(job, attempts=WHENEVER)


# Killed


@rounds(row="7")
async def test_bot_killed_in_an_epoch_finds_the_training_where_it_is(world: World) -> None:
    world.script(steps(world.chance, ["await"], at=0.3))
    job = await world.train()
    await world.comes_to(job, 0.3)
    child = await world.child_pid(job)
    await world.moment()
    await world.kill_bot()
    await world.start_bot()
    world.go()
    await world.succeeds(job, attempts=(1,))
    assert await world.child_pid(job) == child, "it was trained twice"


@rounds(row="3", slow=True)
async def test_bot_killed_in_a_download_from_afar_takes_the_same_result_later(world: World) -> None:
    world.order("bot", DOWNLOADING, hits=world.chance.randint(1, PIECES))
    job = await world.train()
    await world.reached()
    await world.bot_died()
    await world.start_bot()
    await world.succeeds(job, attempts=(1,))


@rounds(row="4")
async def test_far_trainer_killed_in_an_epoch_goes_on_from_the_checkpoint_when_it_is_back(world: World) -> None:
    world.script(steps(world.chance, ["await"], at=0.5), steps(world.chance))
    job = await world.train()
    await world.comes_to(job, 0.5)
    await world.moment()
    await world.restart_trainer(world.chance.uniform(0, 1.5 * LEASE))
    await world.succeeds(job, attempts=WHENEVER)
    assert (await world.about(job))["found"] == ["of attempt 1"]


@rounds(row="4", slow=True)
async def test_far_trainer_that_is_away_for_long_costs_no_job(world: World) -> None:
    await world.proxy.set(Mode.REFUSE)
    job = await world.train()
    await asyncio.sleep(2 * LEASE + world.chance.uniform(0, 3))
    assert (await world.job(job))["attempt"] == 1
    await world.proxy.set(Mode.PASS)
    await world.succeeds(job)


# The way there


async def fails_for_a_while(world: World, mode: Mode) -> None:
    """It fails from some moment of a job on: before it is handed over, in the training, in the upload."""
    moment = world.chance.choice(("before", "training", "upload"))
    if moment == "before":
        await world.proxy.set(mode)
    elif moment == "upload":
        world.proxy.trip_after(world.chance.randint(3_000, 150_000), mode)
    job = await world.train()
    if moment == "training":
        await world.moment(1.0)
        await world.proxy.set(mode)
    longest = asyncio.create_task(asyncio.sleep(world.chance.uniform(0.3, 2 * LEASE)))
    over = asyncio.create_task(world.attempt(job, 2))
    await asyncio.wait({longest, over}, return_when=asyncio.FIRST_COMPLETED)
    for task in (longest, over):
        task.cancel()
    await asyncio.gather(longest, over, return_exceptions=True)
    await world.proxy.set(Mode.PASS)
    await world.succeeds(job, attempts=WHENEVER)


@rounds(row="7")
async def test_connections_that_are_refused_for_a_while(world: World) -> None:
    await fails_for_a_while(world, Mode.REFUSE)


@rounds(row="8", slow=True)
async def test_connections_that_are_accepted_and_not_answered_for_a_while(world: World) -> None:
    await fails_for_a_while(world, Mode.HALF_OPEN)


@rounds(row="7")
async def test_connections_from_which_nothing_comes_any_more_for_a_while(world: World) -> None:
    await fails_for_a_while(world, Mode.BLACK_HOLE)


@rounds(row="8", slow=True)
async def test_everything_arrives_late(world: World) -> None:
    world.proxy.delay = world.chance.uniform(0.02, 0.25)
    await world.proxy.set(Mode.DELAY)
    await world.succeeds(await world.train(), attempts=(1,))
    await world.proxy.set(Mode.PASS)


@rounds(row="3", slow=True)
async def test_every_connection_breaks_after_some_bytes_and_each_goes_on_where_the_last_was(world: World) -> None:
    world.proxy.cut_after = world.chance.randint(8_000, 60_000)
    world.proxy.carried = 0
    await world.proxy.set(Mode.CUT)
    job = await world.train()
    await world.succeeds(job, attempts=(1,))
    await world.proxy.set(Mode.PASS)


@rounds(row="8", slow=True)
async def test_trainer_that_never_answers_again_is_given_up_and_people_are_answered_meanwhile(world: World) -> None:
    before = number_of(await world.answer())
    job = await world.train()
    await world.moment(0.3)
    await world.proxy.set(Mode.HALF_OPEN)
    await world.fails(job, "abandoned", "Given up after 3 attempts. The trainer at")
    assert number_of(await world.answer()) == before
    await world.proxy.set(Mode.PASS)
    await world.has_a_trainer()
