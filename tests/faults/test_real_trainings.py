"""The same with real trainings of the tiny encoder, seconds of which are torch's import. `make faults` plays them.

A killed training keeps a checkpoint of every step, so that whatever the moment is there is one to go on from.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from tests.fakes.tcp_proxy import Mode
from tests.faults.conftest import OpenStage
from tests.faults.processes import kill
from tests.faults.rounds import REAL_ROUNDS, Stage, rounds
from tests.faults.world import LEASE, World, champion_of, number_of

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(REAL_ROUNDS == 0, reason="real trainings under faults: `make faults` plays them"),
]
RECIPE = {"frozen_layers": 0, "body_rate": 0.005, "epochs": 10, "checkpoint_seconds": 0, "least_steps": 60}
AT = (0.1, 0.75)
"""Where of a training a fault comes: shares of it."""


@pytest.fixture(scope="module")
def stage(open_stage: OpenStage) -> Iterator[Stage]:
    with open_stage(real=True, far=True, settings={"recipe": RECIPE}) as one:
        yield one


async def comes_to_some_point(world: World, job: str) -> int:
    """The pid of the process that trains, at some moment of the training."""
    await world.comes_to(job, world.chance.uniform(*AT))
    return await world.child_pid(job)


@rounds(row="4", real=True)
async def test_real_training_killed_is_resumed(world: World) -> None:
    job = await world.train()
    kill(await comes_to_some_point(world, job), signal.SIGKILL)
    await world.succeeds(job, attempts=(2,))


@rounds(row="4", real=True)
async def test_real_trainer_killed_is_started_again_and_the_training_resumed(world: World) -> None:
    job = await world.train()
    await comes_to_some_point(world, job)
    await world.restart_trainer(world.chance.uniform(0, LEASE))
    await world.succeeds(job, attempts=(1, 2, 3))


@rounds(row="7", real=True)
async def test_bot_killed_in_a_real_training_finds_it_where_it_is(world: World) -> None:
    job = await world.train()
    child = await comes_to_some_point(world, job)
    await world.kill_bot()
    await world.start_bot()
    assert (await world.job(job))["state"] == "succeeded" or await world.child_pid(job) == child
    await world.succeeds(job, attempts=(1,))


@rounds(row="3", real=True)
async def test_bot_killed_when_a_real_version_is_registered_has_it_once(world: World) -> None:
    before = champion_of(await world.versions())
    world.order("bot", "when the version is registered")
    job = await world.train()
    await world.reached()
    await world.bot_died()
    await world.start_bot()
    await world.succeeds(job, attempts=(1,))
    assert number_of(await world.answer()) in (before, before + 1)


@rounds(row="6", real=True)
async def test_late_result_of_a_real_training_that_stood_still_is_not_taken(world: World) -> None:
    job = await world.train()
    stopped = [world.trainer_pid(), await comes_to_some_point(world, job)]
    for pid in stopped:
        kill(pid, signal.SIGSTOP)
    await world.attempt(job, 2)
    await world.moment(1.0)
    for pid in reversed(stopped):
        kill(pid, signal.SIGCONT)
    await world.succeeds(job, attempts=(2, 3))


@rounds(row="7", real=True)
async def test_cable_pulled_in_a_real_training(world: World) -> None:
    job = await world.train()
    await comes_to_some_point(world, job)
    await world.proxy.set(Mode.BLACK_HOLE)
    await world.attempt(job, 2)
    await world.proxy.set(Mode.PASS)
    await world.succeeds(job, attempts=(2, 3))
