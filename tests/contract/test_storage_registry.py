"""Model versions and the champion pointer."""

from __future__ import annotations

import asyncio

import pytest

from storage.errors import Conflict, NotFound, PupilError
from storage.records import Promotion, VersionState
from tests.contract.conftest import GUILD, Store, Triage, make_job, make_version


async def states(store: Store, triage: Triage) -> list[str]:
    return [version.state.value for version in reversed(await store.registry.list(GUILD, triage.id))]


async def test_versions_are_numbered_from_one(store: Store, triage: Triage) -> None:
    first = await store.registry.add(make_version(triage.classifier))
    second = await store.registry.add(make_version(triage.classifier))
    assert (first.number, second.number) == (1, 2)
    assert await store.registry.list(GUILD, triage.id) == [second, first]
    assert await store.registry.get(GUILD, triage.id, 2) == second
    for number in (0, 3):
        with pytest.raises(NotFound):
            await store.registry.get(GUILD, triage.id, number)


async def test_a_job_becomes_one_version(store: Store, triage: Triage) -> None:
    await store.jobs.create(make_job(triage.classifier, "j1"))
    versions = await asyncio.gather(*(store.registry.add(make_version(triage.classifier, "j1")) for _ in range(5)))
    assert {version.number for version in versions} == {1}
    assert len(await store.registry.list(GUILD, triage.id)) == 1


async def test_the_champion_changes_with_its_history(store: Store, triage: Triage) -> None:
    for _ in range(2):
        await store.registry.add(make_version(triage.classifier))
    assert await store.registry.champion(GUILD, triage.id) == 0
    first = await store.registry.promote(GUILD, triage.id, 1, 0, "gate", "better by 5", 30.0)
    assert first == Promotion(first.id, GUILD, triage.id, 1, 0, "gate", "better by 5", 30.0)
    second = await store.registry.promote(GUILD, triage.id, 2, 1, "maria", "asked for", 31.0)
    assert await store.registry.champion(GUILD, triage.id) == 2
    assert await states(store, triage) == ["retired", "champion"]
    back = await store.registry.promote(GUILD, triage.id, 0, 2, "maria", "rollback", 32.0)
    assert await store.registry.champion(GUILD, triage.id) == 0
    assert await states(store, triage) == ["retired", "retired"]
    assert await store.registry.promotions(GUILD, triage.id) == [back, second, first]


async def test_two_promotions_at_once_have_one_winner(store: Store, triage: Triage) -> None:
    for _ in range(8):
        await store.registry.add(make_version(triage.classifier))
    attempts = [store.registry.promote(GUILD, triage.id, n, 0, "gate", "better", 30.0) for n in range(1, 9)]
    results = await asyncio.gather(*attempts, return_exceptions=True)
    winners = [result for result in results if isinstance(result, Promotion)]
    assert len(winners) == 1
    assert sum(isinstance(result, Conflict) for result in results) == 7
    assert await store.registry.champion(GUILD, triage.id) == winners[0].number
    assert (await states(store, triage)).count("champion") == 1
    assert await store.registry.promotions(GUILD, triage.id) == winners


@pytest.mark.parametrize(("number", "expected", "error"), [(1, 5, Conflict), (0, 0, Conflict), (9, 0, NotFound)])
async def test_an_impossible_promotion_changes_nothing(
    store: Store, triage: Triage, number: int, expected: int, error: type[PupilError]
) -> None:
    await store.registry.add(make_version(triage.classifier))
    with pytest.raises(error):
        await store.registry.promote(GUILD, triage.id, number, expected, "maria", "x", 1.0)
    assert await store.registry.champion(GUILD, triage.id) == 0
    assert await store.registry.promotions(GUILD, triage.id) == []


async def test_a_damaged_version_stays_damaged(store: Store, triage: Triage) -> None:
    for _ in range(2):
        await store.registry.add(make_version(triage.classifier))
    await store.registry.promote(GUILD, triage.id, 2, 0, "gate", "better", 1.0)
    await store.registry.mark_damaged(GUILD, triage.id, 2)
    assert await store.registry.champion(GUILD, triage.id) == 2
    await store.registry.promote(GUILD, triage.id, 1, 2, "gate", "damaged", 2.0)
    assert await states(store, triage) == ["champion", "damaged"]
    with pytest.raises(Conflict, match="damaged"):
        await store.registry.promote(GUILD, triage.id, 2, 1, "maria", "again", 3.0)
    assert (await store.registry.get(GUILD, triage.id, 2)).state is VersionState.DAMAGED
