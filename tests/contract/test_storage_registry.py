"""Model versions and the champion pointer."""

from __future__ import annotations

import asyncio

import pytest

from storage.errors import Conflict, NotFound, PupilError, StorageError
from storage.records import JobState, Origin, Promotion, VersionState
from tests.contract.conftest import GUILD, Store, Triage, make_job, make_triage, make_version


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


async def test_a_version_that_is_whole_again_is_what_it_was(store: Store, triage: Triage) -> None:
    for _ in range(3):
        await store.registry.add(make_version(triage.classifier))
    await store.registry.promote(GUILD, triage.id, 1, 0, "gate", "better", 1.0)
    await store.registry.promote(GUILD, triage.id, 2, 1, "gate", "better", 2.0)
    before = await states(store, triage)
    for number in (1, 2, 3):
        await store.registry.mark_damaged(GUILD, triage.id, number)
    for number in (1, 2, 3, 3):
        await store.registry.mark_whole(GUILD, triage.id, number)
    assert await states(store, triage) == before == ["retired", "champion", "candidate"]


class TestBasedOn:
    async def test_a_classifier_keeps_the_version_it_is_based_on(self, store: Store, triage: Triage) -> None:
        other = await make_triage(store, GUILD, "other")
        first = await store.registry.add(make_version(triage.classifier))
        await store.registry.base_on(GUILD, other.id, first)
        newer = await store.registry.add(make_version(triage.classifier))
        await store.registry.promote(GUILD, triage.id, newer.number, 0, "gate", "better", 30.0)
        expected = Origin(triage.id, "triage", 1, first.artifact)
        assert expected.name == "triage v1"
        for found in (
            await store.classifiers.by_id(GUILD, other.id),
            await store.classifiers.get(GUILD, "other"),
            (await store.classifiers.list(GUILD))[0],
        ):
            assert (found.name, found.based_on) == ("other", expected)
        assert (await store.classifiers.get(GUILD, "triage")).based_on is None

    async def test_the_latest_choice_counts_and_none_takes_it_back(self, store: Store, triage: Triage) -> None:
        other = await make_triage(store, GUILD, "other")
        for _ in range(2):
            version = await store.registry.add(make_version(triage.classifier))
            await store.registry.base_on(GUILD, other.id, version)
        based_on = (await store.classifiers.by_id(GUILD, other.id)).based_on
        assert based_on is not None
        assert based_on.number == 2
        await store.registry.base_on(GUILD, other.id, None)
        assert (await store.classifiers.by_id(GUILD, other.id)).based_on is None

    async def test_nothing_changes_while_a_job_is_active(self, store: Store, triage: Triage) -> None:
        other = await make_triage(store, GUILD, "other")
        version = await store.registry.add(make_version(triage.classifier))
        job, _ = await store.jobs.create(make_job(other.classifier, "j1"))
        for source in (version, None):
            with pytest.raises(Conflict, match="A training of other is under way"):
                await store.registry.base_on(GUILD, other.id, source)
        await store.jobs.change(job, JobState.CANCELLED, 11.0)
        await store.registry.base_on(GUILD, other.id, version)

    async def test_a_damaged_version_and_one_that_is_not_there_are_refused(self, store: Store, triage: Triage) -> None:
        other = await make_triage(store, GUILD, "other")
        version = await store.registry.add(make_version(triage.classifier))
        with pytest.raises(NotFound):
            await store.registry.base_on(GUILD, other.id, make_version(triage.classifier))  # number 99
        await store.registry.mark_damaged(GUILD, triage.id, 1)
        with pytest.raises(Conflict, match="damaged"):
            await store.registry.base_on(GUILD, other.id, version)

    async def test_the_schema_refuses_a_classifier_that_is_based_on_itself(self, store: Store, triage: Triage) -> None:
        version = await store.registry.add(make_version(triage.classifier))
        with pytest.raises(StorageError):
            await store.registry.base_on(GUILD, triage.id, version)
