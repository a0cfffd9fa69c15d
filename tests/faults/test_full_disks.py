"""Disks that are full: small ones of memory, so that only root can have them. What is not saved is said, and it passes.

The bot's data and the trainer's lie on disks of their own, which a ballast fills to the last byte.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.files import PART
from tests.faults.conftest import OpenStage
from tests.faults.rounds import Stage, rounds
from tests.faults.world import World, champion_of, number_of, steps, until

SIZE = "96m"


@pytest.fixture(scope="module")
def stage(open_stage: OpenStage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("needs root, to mount small disks")
    disks = [tmp_path_factory.mktemp(name) for name in ("bot-disk", "trainer-disk")]
    mounted: list[Path] = []
    try:
        for disk in disks:
            if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", disk]).returncode:
                pytest.skip("this machine does not allow to mount small disks")
            mounted.append(disk)
        with open_stage(far=True, bot_data=disks[0], trainer_data=disks[1]) as one:
            yield one
    finally:
        for disk in mounted:
            subprocess.run(["umount", "-l", disk], check=True)


def fill(data: Path) -> Path:
    """Nothing more can be written beside `data` but into blocks that files have already."""
    ballast = data / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (1 << 20, 4096, 1):
            try:
                while True:
                    file.write(b"\0" * size)
            except OSError:
                continue
    return ballast


@rounds(row="9")
async def test_labels_on_a_full_disk_are_refused_in_words_and_taken_again_later(world: World) -> None:
    taken, refused = 0, []
    ballast = fill(world.data)
    for number in range(2000):  # the log has blocks left for some
        texts = [f"{world.chance.random()} {number} {row} " + "word " * 40 for row in range(20)]
        try:
            await world.teach([(text, "bug") for text in texts])
            taken += 1
        except AssertionError as error:
            refused.append(str(error))
            break
    assert refused, f"{taken} batches were taken"
    assert "507" in refused[0], refused[0]
    for _ in range(20):
        assert number_of(await world.answer()) == champion_of(await world.versions())
    ballast.unlink()
    await world.teach([(f"late {world.chance.random()}", "bug")])
    await world.settled()


@rounds(row="10")
async def test_download_onto_a_full_disk_fails_with_the_bytes_it_needs(world: World) -> None:
    world.script(steps(world.chance, ["await"], at=0.5))
    job = await world.train()
    await world.comes_to(job, 0.5)
    ballast = fill(world.data)
    leave_some(ballast, world.chance.randint(40, 200) << 10)
    world.go()
    await failed(world, job)
    ballast.unlink()
    await world.fails(job, "failed", "Free some space")
    world.script(steps(world.chance))
    await world.succeeds(await world.train())


@rounds(row="10")
async def test_disk_of_the_bot_that_is_full_to_the_last_byte_at_the_end_of_a_training(world: World) -> None:
    """The outcome itself cannot be written then: it is, as soon as it can be."""
    world.script(steps(world.chance, ["await"], at=0.5))
    job = await world.train()
    await world.comes_to(job, 0.5)
    ballast = fill(world.data)
    world.go()
    await failed(world, job)
    await world.moment()
    ballast.unlink()
    await world.fails(job, "failed", "Free some space")


@rounds(row="10")
async def test_snapshot_for_which_the_trainer_has_no_room_is_taken_when_it_has(world: World) -> None:
    assert world.trainer is not None
    ballast = fill(world.trainer.data)
    job = await world.train()

    async def told() -> bool:
        return "room" in ((await world.job(job))["error"] or "")

    await until(told, "the job says that there is no room")
    ballast.unlink()
    await world.succeeds(job, attempts=(1, 2, 3))


@rounds(row="10")
async def test_version_for_which_the_trainer_has_no_room_is_made_when_it_has(world: World) -> None:
    assert world.trainer is not None
    world.script(steps(world.chance, ["await"], at=0.9))
    job = await world.train()
    await world.comes_to(job, 0.9)
    ballast = fill(world.trainer.data)
    leave_some(ballast, world.chance.randint(8, 100) << 10)
    world.go()
    await world.attempt(job, 2)
    ballast.unlink()
    await world.succeeds(job, attempts=(2, 3))
    assert list((world.trainer.data / "artifacts").glob(f"*{PART}")) == []


async def failed(world: World, job: str) -> None:
    """Returns when the training has failed, written down or not: answers may have taken the last block before it, or
    left it one that a file has already."""

    async def over() -> bool:
        untold = any("job.unchanged" in line and job in line for line in world.log.read_text().splitlines())
        return untold or (await world.job(job))["state"] == "failed"

    await until(over, "the training has failed")


def leave_some(ballast: Path, size: int) -> None:
    os.truncate(ballast, max(0, ballast.stat().st_size - size))
