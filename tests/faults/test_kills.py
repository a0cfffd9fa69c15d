"""kill -9 of bot, trainer or training at named points, with the trainer that the bot starts itself.

In every round the job ends, one version comes of it and goes live, nothing outlives its parent, no acknowledged label
is lost, and while a bot runs every question is answered by a version that was champion.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from contextlib import suppress

import aiohttp
import pytest

from tests.faults.bot_process import DOWNLOADING, PIECES
from tests.faults.conftest import OpenStage
from tests.faults.kit import LABELS
from tests.faults.processes import kill
from tests.faults.rounds import Stage, rounds
from tests.faults.world import World, champion_of, number_of, steps


@pytest.fixture(scope="module")
def stage(open_stage: OpenStage) -> Iterator[Stage]:
    with open_stage() as one:
        yield one


async def bot_dies_at(world: World, point: str, **order: int) -> str:
    """A training in which the bot is killed at this point, and a bot that is started again; the job."""
    world.order("bot", point, **order)
    job = await world.train()
    await world.reached()
    await world.bot_died()
    await world.start_bot()
    return job


# The bot


@rounds(row="1")
async def test_bot_killed_while_labels_arrive_has_every_acknowledged_one(world: World) -> None:
    async def teach(worker: int) -> None:
        for number in range(10_000):
            await world.teach([(f"{world.chance.random()} {worker} {number}", world.chance.choice(LABELS))])

    teachers = [asyncio.create_task(teach(number)) for number in range(4)]
    await world.moment(0.5)
    await world.kill_bot()
    for error in await asyncio.gather(*teachers, return_exceptions=True):
        assert isinstance(error, (aiohttp.ClientError, OSError)), error
    await world.start_bot()
    await world.settled()


@rounds(row="1")
async def test_bot_killed_before_it_hands_the_job_over_hands_it_over_later(world: World) -> None:
    await world.succeeds(await bot_dies_at(world, "before it hands the job over"), attempts=(1,))


@rounds(row="5", slow=True)
async def test_bot_killed_when_it_has_handed_the_job_over_has_it_made_again(world: World) -> None:
    await world.succeeds(await bot_dies_at(world, "when it has handed the job over"), attempts=(1, 2))


@rounds(row="5")
async def test_bot_killed_in_an_epoch_leaves_no_orphan_and_tries_again(world: World) -> None:
    world.script(steps(world.chance, ["await"], at=0.1), steps(world.chance))
    job = await world.train()
    await world.comes_to(job, 0.1)
    await world.moment()
    await world.kill_bot()
    await world.start_bot()
    await world.succeeds(job, attempts=(2,))


@rounds(row="5")
async def test_bot_killed_after_a_checkpoint_goes_on_from_there(world: World) -> None:
    world.script(steps(world.chance, ["await"], at=0.5), steps(world.chance))
    job = await world.train()
    await world.comes_to(job, 0.5)
    await world.moment()
    await world.kill_bot()
    await world.start_bot()
    await world.succeeds(job, attempts=(2,))
    assert (await world.about(job))["found"] == ["of attempt 1"]


@rounds(row="3")
async def test_bot_killed_in_a_download_takes_the_same_result_later(world: World) -> None:
    job = await bot_dies_at(world, DOWNLOADING, hits=world.chance.randint(1, PIECES))
    await world.succeeds(job, attempts=(1,))
    assert list((world.space / "models").glob("*.part")) == []


@rounds(row="3", slow=True)
async def test_bot_killed_when_the_version_is_registered_has_it_once(world: World) -> None:
    await world.succeeds(await bot_dies_at(world, "when the version is registered"), attempts=(1,))


@rounds(row="2")
async def test_bot_killed_between_promotion_and_swap_starts_with_the_new_champion(world: World) -> None:
    before = champion_of(await world.versions())
    job = await bot_dies_at(world, "between promotion and swap")
    assert champion_of(await world.versions()) == before + 1
    assert number_of(await world.answer()) == before + 1
    await world.succeeds(job, attempts=(1,))


@rounds(row="2", slow=True)
async def test_bot_killed_after_the_swap_ends_the_job_later(world: World) -> None:
    await world.succeeds(await bot_dies_at(world, "after the swap"), attempts=(1,))


# Its trainer


@rounds(row="4")
async def test_trainer_killed_before_it_takes_the_job_gets_it_again(world: World) -> None:
    world.order("trainer", world.chance.choice(("before it takes the job", "when it has taken the job")))
    job = await world.train()
    await world.reached()
    await world.succeeds(job, attempts=(1, 2, 3))


@rounds(row="4")
async def test_trainer_killed_in_an_epoch_is_started_again_and_goes_on_from_the_checkpoint(world: World) -> None:
    at = world.chance.choice((0.1, 0.5))
    world.script(steps(world.chance, ["await"], at=at), steps(world.chance))
    job = await world.train()
    await world.comes_to(job, at)
    child = await world.child_pid(job)
    await world.moment()
    kill(world.trainer_pid(), signal.SIGKILL)
    await world.gone(child)
    await world.succeeds(job, attempts=(2, 3))
    assert (await world.about(job))["found"] == (["of attempt 1"] if at == 0.5 else [])


@rounds(row="4")
async def test_trainer_killed_before_it_keeps_the_result_still_has_it(world: World) -> None:
    world.order("trainer", "before it keeps the result")
    job = await world.train()
    await world.reached()
    await world.succeeds(job, attempts=(1, 2, 3))


@rounds(row="4")
async def test_trainer_killed_in_the_upload_hands_the_rest_out_later(world: World) -> None:
    world.order("trainer", "during the upload", hits=world.chance.randint(1, 11))
    job = await world.train()
    await world.reached()
    await world.succeeds(job, attempts=(1, 2, 3))


@rounds(row="4", slow=True)
async def test_trainer_killed_between_promotion_and_swap_is_no_matter(world: World) -> None:
    world.order("bot", "between promotion and swap", kill=False)
    job = await world.train()
    await world.reached(leave=False)
    kill(world.trainer_pid(), signal.SIGKILL)
    await world.moment()
    world.leave()
    await world.succeeds(job, attempts=(1,))
    await world.has_a_trainer()


# The process that trains


@rounds(row="4")
async def test_training_killed_in_an_epoch_is_tried_again(world: World) -> None:
    await training_dies(world, 0.1)


@rounds(row="4")
async def test_training_killed_after_a_checkpoint_goes_on_from_there(world: World) -> None:
    job = await training_dies(world, 0.5)
    assert (await world.about(job))["found"] == ["of attempt 1"]


async def training_dies(world: World, at: float) -> str:
    world.script(steps(world.chance, ["await"], at=at), steps(world.chance))
    job = await world.train()
    child = await world.child_pid(job)
    await world.comes_to(job, at)
    await world.moment()
    with suppress(ProcessLookupError):
        kill(child, signal.SIGKILL)
    await world.succeeds(job, attempts=(2,))
    return job


@rounds(row="4")
async def test_training_killed_between_its_artifact_and_its_result_is_tried_again(world: World) -> None:
    world.script([*steps(world.chance), ["sealed"]], steps(world.chance))
    await world.succeeds(await world.train(), attempts=(2,))


@rounds(row="4", slow=True)
async def test_training_killed_in_every_attempt_is_abandoned_and_says_so(world: World) -> None:
    world.script([["event", 0.1], ["kill"]])
    await world.fails(await world.train(), "abandoned", "Given up after 3 attempts. The training process was killed")
