"""Schedules: a slot is taken once, and only forwards."""

from __future__ import annotations

import asyncio
import dataclasses

import pytest

from storage.errors import InvalidInput, NotFound
from storage.records import Schedule
from tests.contract.conftest import GUILD, Store, Triage


def nightly(triage: Triage) -> Schedule:
    return Schedule(GUILD, triage.id, "0 3 * * *", 50, "Europe/Berlin", True, None)


async def test_a_schedule_is_saved_and_changed(store: Store, triage: Triage) -> None:
    assert await store.schedules.get(GUILD, triage.id) is None
    await store.schedules.save(nightly(triage))
    off = dataclasses.replace(nightly(triage), cron=None, enabled=False)
    await store.schedules.save(off)
    assert await store.schedules.get(GUILD, triage.id) == off
    assert await store.schedules.list() == [off]


async def test_a_slot_is_taken_by_one(store: Store, triage: Triage) -> None:
    await store.schedules.save(nightly(triage))
    taken = await asyncio.gather(*(store.schedules.take_slot(GUILD, triage.id, "2026-11-24T03:00") for _ in range(10)))
    assert sum(taken) == 1


async def test_slots_go_only_forwards_also_when_the_schedule_is_saved(store: Store, triage: Triage) -> None:
    await store.schedules.save(nightly(triage))
    assert await store.schedules.take_slot(GUILD, triage.id, "2026-11-24T03:00")
    await store.schedules.save(dataclasses.replace(nightly(triage), last_slot="2026-11-20T03:00"))
    assert not await store.schedules.take_slot(GUILD, triage.id, "2026-11-23T03:00")
    assert not await store.schedules.take_slot(GUILD, triage.id, "2026-11-24T03:00")
    assert await store.schedules.take_slot(GUILD, triage.id, "2026-11-25T03:00")
    found = await store.schedules.get(GUILD, triage.id)
    assert found is not None
    assert found.last_slot == "2026-11-25T03:00"


async def test_a_slot_is_given_back_by_who_knows_which_it_was(store: Store, triage: Triage) -> None:
    await store.schedules.save(nightly(triage))
    assert await store.schedules.take_slot(GUILD, triage.id, "2038-01-01T03:00")
    assert not await store.schedules.give_back_slot(GUILD, triage.id, "2037-01-01T03:00", "2026-11-24T03:00")
    assert await store.schedules.give_back_slot(GUILD, triage.id, "2038-01-01T03:00", "2026-11-24T03:00")
    assert not await store.schedules.take_slot(GUILD, triage.id, "2026-11-24T03:00")
    assert await store.schedules.take_slot(GUILD, triage.id, "2026-11-25T03:00")
    with pytest.raises(InvalidInput):
        await store.schedules.give_back_slot(GUILD, triage.id, "2026-11-25T03:00", "never")


async def test_what_is_switched_off_or_unknown_takes_nothing(store: Store, triage: Triage) -> None:
    assert not await store.schedules.take_slot(GUILD, triage.id, "2026-11-24T03:00")
    await store.schedules.save(dataclasses.replace(nightly(triage), enabled=False))
    assert not await store.schedules.take_slot(GUILD, triage.id, "2026-11-24T03:00")


@pytest.mark.parametrize("slot", ["", "2026-11-24", "2026-11-24 03:00", "2026-11-24T03:00:00"])
async def test_a_slot_of_another_form_is_refused(store: Store, triage: Triage, slot: str) -> None:
    with pytest.raises(InvalidInput):
        await store.schedules.take_slot(GUILD, triage.id, slot)


async def test_a_schedule_needs_a_classifier_and_a_number(store: Store, triage: Triage) -> None:
    with pytest.raises(NotFound):
        await store.schedules.save(dataclasses.replace(nightly(triage), classifier_id=999))
    with pytest.raises(InvalidInput):
        await store.schedules.save(dataclasses.replace(nightly(triage), after_labels=0))


async def test_quiet_hours_are_kept_changed_and_removed(store: Store, triage: Triage) -> None:
    for hours in ("22:00-07:00", "00:00-06:30", None):
        wanted = dataclasses.replace(nightly(triage), quiet=hours)
        await store.schedules.save(wanted)
        assert await store.schedules.get(GUILD, triage.id) == wanted
    for hours in ("22-7", "24:00-07:00", "22:00-07:00 ", "7:00-22:00", ""):
        with pytest.raises(InvalidInput):
            await store.schedules.save(dataclasses.replace(nightly(triage), quiet=hours))


async def test_slots_of_another_time_zone_begin_anew(store: Store, triage: Triage) -> None:
    """Noon in Auckland is the evening before in Los Angeles, where the next night has yet to come."""
    await store.schedules.save(dataclasses.replace(nightly(triage), timezone="Pacific/Auckland"))
    assert await store.schedules.take_slot(GUILD, triage.id, "2026-11-24T03:00")
    there = dataclasses.replace(nightly(triage), timezone="America/Los_Angeles", last_slot="2026-11-23T15:00")
    await store.schedules.save(there)
    assert await store.schedules.get(GUILD, triage.id) == there
    assert await store.schedules.take_slot(GUILD, triage.id, "2026-11-24T03:00")
