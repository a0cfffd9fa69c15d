"""Whose files may go: every reason to keep them, one by one, and what can be done with a version that has none."""

from __future__ import annotations

import dataclasses

import pytest

from storage.errors import Conflict
from storage.records import JobState, VersionState
from tests.contract.conftest import GUILD, Store, Triage, make_job, make_triage, make_version

OLD, NOW, BEFORE = 20.0, 1000.0, 500.0


async def versions(store: Store, triage: Triage, count: int = 5, made_at: float = OLD) -> None:
    """v1 to v`count`, each of a job of its own that has ended."""
    for number in range(1, count + 1):
        job = f"{triage.classifier.guild} {triage.id} {number}"
        await store.jobs.create(make_job(triage.classifier, job, snapshot=f"{number}" * 64))
        claimed = await store.jobs.claim(OLD)
        assert claimed is not None
        version = make_version(triage.classifier, job)
        await store.registry.add(
            dataclasses.replace(
                version, artifact=f"{triage.id}{number}" * 32, snapshot=f"{number}" * 64, created_at=made_at
            )
        )
        for state in (JobState.RUNNING, JobState.UPLOADING, JobState.SUCCEEDED):
            claimed = await store.jobs.change(claimed, state, OLD)


async def let_go(store: Store, triage: Triage, keep: int = 1, before: float = BEFORE) -> list[int]:
    return await store.keeping.let_go(GUILD, triage.id, keep, before, NOW)


async def promote(store: Store, triage: Triage, number: int) -> None:
    current = await store.registry.champion(GUILD, triage.id)
    await store.registry.promote(GUILD, triage.id, number, current, "maria", "better", NOW)


async def test_old_ones_go_once_and_keep_their_rows(store: Store, triage: Triage) -> None:
    await versions(store, triage)
    assert await let_go(store, triage) == [1, 2, 3, 4]
    assert await let_go(store, triage) == []
    found = await store.registry.list(GUILD, triage.id)
    assert [(each.number, each.files_deleted_at) for each in found] == [(5, None), *((n, NOW) for n in (4, 3, 2, 1))]
    assert {each.decision for each in found} == {"better by 5"}
    assert sorted(await store.keeping.gone()) == [f"{triage.id}{n}" * 32 for n in (1, 2, 3, 4)]
    assert await store.keeping.kept() == [f"{triage.id}5" * 32]
    assert await store.keeping.classifiers() == [(GUILD, triage.id)]


@pytest.mark.parametrize(("keep", "gone"), [(1, [1, 2, 3, 4]), (3, [1, 2]), (5, []), (100, [])])
async def test_the_newest_stay_however_old(store: Store, triage: Triage, keep: int, gone: list[int]) -> None:
    await versions(store, triage)
    assert await let_go(store, triage, keep) == gone


async def test_young_ones_stay_however_many(store: Store, triage: Triage) -> None:
    await versions(store, triage, made_at=BEFORE)
    assert await let_go(store, triage) == []
    assert await let_go(store, triage, before=BEFORE + 1) == [1, 2, 3, 4]


async def test_the_champion_and_the_one_before_it_stay(store: Store, triage: Triage) -> None:
    await versions(store, triage)
    for number in (3, 1, 2):
        await promote(store, triage, number)
    assert await let_go(store, triage) == [3, 4]


async def test_after_a_rollback_to_the_base_the_way_back_stays(store: Store, triage: Triage) -> None:
    await versions(store, triage)
    for number in (1, 2, 0):
        await promote(store, triage, number)
    assert await let_go(store, triage) == [1, 3, 4]


async def test_after_a_rollback_both_ways_stay(store: Store, triage: Triage) -> None:
    await versions(store, triage)
    for number in (1, 2, 4, 2):
        await promote(store, triage, number)
    assert await let_go(store, triage) == [3], "v2 is live, v4 was before it, v1 is where the next rollback goes"


async def test_what_another_classifier_starts_from_stays(store: Store, triage: Triage) -> None:
    await versions(store, triage)
    other = await make_triage(store, GUILD, "other")
    await store.registry.base_on(GUILD, other.id, await store.registry.get(GUILD, triage.id, 2))
    assert await let_go(store, triage) == [1, 3, 4]
    await store.registry.base_on(GUILD, other.id, None)
    assert await let_go(store, triage) == [2]


async def test_what_a_job_compares_with_or_has_made_stays_until_it_ends(store: Store, triage: Triage) -> None:
    await versions(store, triage)
    await store.jobs.create(make_job(triage.classifier, "running", champion=2))
    job = await store.jobs.claim(OLD)
    assert job is not None
    made = await store.registry.add(dataclasses.replace(make_version(triage.classifier, "running"), created_at=OLD))
    await store.registry.add(dataclasses.replace(make_version(triage.classifier), artifact="f" * 64, created_at=OLD))
    assert await let_go(store, triage) == [1, 3, 4, 5]
    await store.jobs.change(job, JobState.CANCELLED, OLD)
    assert await let_go(store, triage) == [2, made.number]


async def test_files_that_two_versions_share_stay_as_long_as_one_has_them(store: Store, triage: Triage) -> None:
    for created_at in (OLD, BEFORE):
        await store.registry.add(dataclasses.replace(make_version(triage.classifier), created_at=created_at))
    assert await let_go(store, triage) == [1]
    assert await store.keeping.gone() == []
    assert await store.keeping.kept() == ["a" * 64]


async def test_a_version_without_files_cannot_be_chosen_and_is_not_damaged(store: Store, triage: Triage) -> None:
    await versions(store, triage)
    await let_go(store, triage, keep=2)
    other = await make_triage(store, GUILD, "other")
    gone = await store.registry.get(GUILD, triage.id, 3)
    words = r"files of v3 were deleted on 1970-01-01.* Possible are v5, v4\."
    with pytest.raises(Conflict, match=words):
        await promote(store, triage, 3)
    with pytest.raises(Conflict, match=words):
        await store.registry.base_on(GUILD, other.id, gone)
    await store.registry.mark_damaged(GUILD, triage.id, 3)
    assert (await store.registry.get(GUILD, triage.id, 3)).state is VersionState.CANDIDATE
    assert await store.registry.champion(GUILD, triage.id) == 0


async def test_what_came_here_and_became_no_version_is_unused(store: Store, triage: Triage) -> None:
    await versions(store, triage)  # whose artifacts are versions'
    for name, artifact, last in (
        *(("cancelled", "c", JobState.CANCELLED), ("again", "d", JobState.CANCELLED)),
        *(("again-active", "d", JobState.UPLOADING), ("active", "e", JobState.UPLOADING)),
    ):
        other = await make_triage(store, GUILD, name)
        await store.jobs.create(make_job(other.classifier, name))
        job = await store.jobs.claim(OLD)
        assert job is not None
        for state in dict.fromkeys((JobState.RUNNING, JobState.UPLOADING, last)):
            job = await store.jobs.change(job, state, OLD, artifact=artifact * 64)
    assert await store.keeping.unused(BEFORE) == ["c" * 64]
    assert await store.keeping.unused(OLD) == [], "it is too young"


async def test_only_training_files_that_nothing_needs_are_unneeded(store: Store, triage: Triage) -> None:
    await versions(store, triage)
    await store.jobs.create(make_job(triage.classifier, "failed", snapshot="6" * 64))
    job = await store.jobs.claim(OLD)
    assert job is not None
    await store.jobs.change(job, JobState.FAILED, OLD)
    await store.jobs.create(make_job(triage.classifier, "active", snapshot="1" * 64))
    assert await store.keeping.unneeded_snapshots(BEFORE) == ["6" * 64]
    await let_go(store, triage, keep=2)
    found = await store.keeping.unneeded_snapshots(BEFORE)
    assert sorted(each[0] for each in found) == ["2", "3", "6"], "1 is needed by an active job"
    assert await store.keeping.unneeded_snapshots(OLD) == [], "all of them are too young"


async def test_vectors_of_an_encoder_go_in_one_server(store: Store) -> None:
    for guild, encoder in ((GUILD, "a"), (GUILD, "b"), ("g2", "a")):
        await store.examples.save_vectors(guild, encoder, [("h1", b"1234"), ("h2", b"1234")])
    assert await store.keeping.vector_encoders() == sorted([(GUILD, "a"), (GUILD, "b"), ("g2", "a")])
    assert await store.keeping.drop_vectors(GUILD, "a") == 2
    assert await store.keeping.vector_encoders() == sorted([(GUILD, "b"), ("g2", "a")])


async def test_bases_are_those_of_the_export_asked_for(store: Store) -> None:
    for key, artifact in (("base:2:int8:tiny", "a"), ("base:2:fp32:tiny", "b"), ("base:1:int8:tiny", "c")):
        await store.database.set_state(key, artifact * 64)
    assert sorted(await store.keeping.bases(2)) == ["a" * 64, "b" * 64]
