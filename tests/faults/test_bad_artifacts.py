"""Artifacts that are broken, or mean harm: none goes live, none is executed, and the champion keeps answering.

The trainer is a real one; its training hands in what `tests.faults.defects` makes of a sound version.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.conftest import OpenStage
from tests.faults.defects import SEALED, STAGED
from tests.faults.rounds import Stage, rounds
from tests.faults.world import World, steps

FAILED = ("failed", False)
DAMAGED = ("succeeded", True)
"""The job made a version, which is marked damaged: it is not promoted, and cannot be."""

OUTCOMES = {
    "no head": (*DAMAGED, "has no head.safetensors"),
    "NaN in the head": (*DAMAGED, "not finite"),
    "NaN in the encoder": (*DAMAGED, "could not go live"),
    "foreign model_type": (*DAMAGED, 'is a "surprise"'),
    "auto_map": (*DAMAGED, "to run its own code"),
    "pickle instead of: report.json": (*FAILED, "no report that can be read"),
    "pickle beside": (*FAILED, "model.pkl"),
    "a label more in the head": (*DAMAGED, "2 labels in its manifest and 3 in its head"),
    "a label more in the manifest": (*DAMAGED, "3 labels in its manifest and 2 in its head"),
    "no report": (*FAILED, "no report that can be read"),
    "another model's canary": (*DAMAGED, "does not compute here"),
}
ELSE = (*DAMAGED, "could not go live")


@pytest.fixture(scope="module")
def stage(open_stage: OpenStage) -> Iterator[Stage]:
    with open_stage(far=True) as one:
        yield one


async def comes_to_nothing(world: World, defect: str, state: str, damaged: bool, sentence: str) -> None:
    world.script(steps(world.chance), defect=defect)
    await world.fails(await world.train(), state, sentence, damaged=damaged)


@rounds(row="11")
async def test_sound_one_goes_live(world: World) -> None:
    """Without it the others would show nothing."""
    await world.succeeds(await world.train())


# Changed behind the manifest's back


async def is_refused(world: World, defect: str) -> None:
    world.script(steps(world.chance), defect=defect)
    outcome, damaged, sentence = OUTCOMES.get(defect, ELSE)
    if defect in SEALED:
        # What the trainer has lost, another attempt may bring; what is there and wrong stays wrong.
        missing = defect.startswith("missing")
        outcome, damaged = ("abandoned", False) if missing else FAILED
        sentence = "has no file" if missing else "of the model"
    await world.fails(await world.train(), outcome, sentence, damaged=damaged)


async def any_of(world: World, kind: str) -> None:
    await is_refused(world, world.chance.choice([one for one in (*SEALED, *STAGED) if one.startswith(kind)]))


@rounds(row="11", slow=True)
async def test_truncated_file(world: World) -> None:
    await any_of(world, "truncated")


@rounds(row="11")
async def test_one_bit_flipped(world: World) -> None:
    await any_of(world, "bit flipped")


@rounds(row="11", slow=True)
async def test_two_files_swapped(world: World) -> None:
    await is_refused(world, "swapped")


@rounds(row="11")
async def test_missing_file(world: World) -> None:
    await any_of(world, "missing")


@rounds(row="11", slow=True)
async def test_manifest_missing(world: World) -> None:
    await is_refused(world, "missing: manifest.json")


# Under a manifest that is right about them


@rounds(row="12")
async def test_pickle_in_place_of_a_file_that_is_read(world: World) -> None:
    await any_of(world, "pickle instead of")


@rounds(row="12")
async def test_pickle_beside_the_files(world: World) -> None:
    await is_refused(world, "pickle beside")


@rounds(row="12")
async def test_no_head(world: World) -> None:
    await is_refused(world, "no head")


@rounds(row="12")
async def test_numbers_that_are_none(world: World) -> None:
    await any_of(world, "NaN")


@rounds(row="12", slow=True)
async def test_kind_of_model_that_is_unknown(world: World) -> None:
    await is_refused(world, "foreign model_type")


@rounds(row="12")
async def test_request_to_run_its_own_code(world: World) -> None:
    await is_refused(world, "auto_map")


@rounds(row="12", slow=True)
async def test_wrong_number_of_labels(world: World) -> None:
    await any_of(world, "a label more")


@rounds(row="12", slow=True)
async def test_no_report(world: World) -> None:
    await is_refused(world, "no report")


@rounds(row="12", slow=True)
async def test_canary_of_another_model(world: World) -> None:
    await is_refused(world, "another model's canary")
