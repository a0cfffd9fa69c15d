"""The job table: one job per key, legal changes only, stale attempts fenced off."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from storage.errors import Conflict, NotFound
from storage.records import LEGAL_CHANGES, JobState, TrainingJob
from tests.contract.conftest import GUILD, Store, Triage, make_job, make_triage


async def leased(store: Store, triage: Triage, id: str = "j1") -> TrainingJob:
    await store.jobs.create(make_job(triage.classifier, id))
    job = await store.jobs.claim(11.0)
    assert job is not None
    return job


async def test_a_job_comes_back_as_it_was_given(store: Store, triage: Triage) -> None:
    job = make_job(triage.classifier, "j1", channel_id="10", not_before=3.0)
    assert await store.jobs.create(job) == (job, True)
    assert await store.jobs.get(GUILD, "j1") == job
    assert await store.jobs.active(GUILD, triage.id) == job
    assert await store.jobs.latest(GUILD, triage.id) == job
    assert await store.jobs.unfinished() == [job]
    with pytest.raises(NotFound):
        await store.jobs.get(GUILD, "j2")


async def test_asking_for_the_same_training_at_once_makes_one_job(store: Store, triage: Triage) -> None:
    made = await asyncio.gather(
        *(store.jobs.create(make_job(triage.classifier, f"j{number}", key="same")) for number in range(20))
    )
    assert sum(new for _, new in made) == 1
    assert len({job.id for job, _ in made}) == 1


async def test_a_classifier_has_one_active_job(store: Store, triage: Triage) -> None:
    first, _ = await store.jobs.create(make_job(triage.classifier, "j1"))
    assert await store.jobs.create(make_job(triage.classifier, "j2")) == (first, False)
    other = await make_triage(store, GUILD, "other")
    assert (await store.jobs.create(make_job(other.classifier, "j3")))[1]


@pytest.mark.parametrize(
    ("final", "again"),
    [
        (JobState.FAILED, True),
        (JobState.CANCELLED, True),
        (JobState.ABANDONED, True),
        (JobState.SUCCEEDED, False),
    ],
)
async def test_only_what_did_not_succeed_is_trained_again(
    store: Store, triage: Triage, final: JobState, again: bool
) -> None:
    job = await leased(store, triage)
    for state in (JobState.RUNNING, JobState.UPLOADING, final):
        job = await store.jobs.change(job, state, 12.0)
    _, made = await store.jobs.create(make_job(triage.classifier, "j2", key=job.key))
    assert made is again
    assert await store.jobs.create(make_job(triage.classifier, "j3")) != (job, False)


async def test_claims_go_by_age_and_wait_for_their_time(store: Store, triage: Triage) -> None:
    other = await make_triage(store, "g2")
    await store.jobs.create(make_job(triage.classifier, "young", created_at=5.0))
    await store.jobs.create(make_job(other.classifier, "old", created_at=4.0, not_before=100.0))
    first = await store.jobs.claim(50.0)
    assert first is not None
    assert (first.id, first.state, first.attempt, first.updated_at) == ("young", JobState.LEASED, 1, 50.0)
    assert await store.jobs.claim(50.0) is None
    second = await store.jobs.claim(100.0)
    assert second is not None
    assert second.id == "old"


async def test_a_pause_that_only_a_wrong_clock_can_have_asked_for_is_over(store: Store, triage: Triage) -> None:
    job = await leased(store, triage)
    await store.jobs.change(job, JobState.QUEUED, 1e9, not_before=1e9 + 20)
    assert await store.jobs.claim(1e9) is None
    again = await store.jobs.claim(12.0)
    assert again is not None
    assert again.id == job.id


async def test_guilds_have_their_turns_one_after_the_other(store: Store) -> None:
    """Ten trainings of one guild and then one of another; the clock stands still, or goes back."""
    for number in range(10):
        made = await make_triage(store, "busy", f"triage-{number}")
        await store.jobs.create(make_job(made.classifier, f"busy {number}", created_at=float(number)))
    first = await store.jobs.claim(50.0)
    for name in ("calm", "late"):
        made = await make_triage(store, name)
        await store.jobs.create(make_job(made.classifier, name, created_at=20.0))
    order = [job.id for job in await store.jobs.due(50.0)]
    claimed = [await store.jobs.claim(now) for now in (50.0, 50.0, 49.0, 50.0)]
    assert [job.id for job in (first, *claimed) if job] == ["busy 0", "calm", "late", "busy 1", "busy 2"]
    assert order == ["calm", "late", *(f"busy {number}" for number in range(1, 10))]
    assert await store.jobs.claim(50.0, {"busy"}) is None


async def test_a_job_is_claimed_by_one(store: Store, triage: Triage) -> None:
    await store.jobs.create(make_job(triage.classifier, "j1"))
    claims = await asyncio.gather(*(store.jobs.claim(11.0) for _ in range(10)))
    assert sum(claim is not None for claim in claims) == 1


async def test_a_retry_raises_the_attempt_and_fences_off_the_old_one(store: Store, triage: Triage) -> None:
    old = await leased(store, triage)
    await store.jobs.change(old, JobState.QUEUED, 12.0, not_before=13.0)
    new = await store.jobs.claim(13.0)
    assert new is not None
    assert new.attempt == 2
    with pytest.raises(Conflict, match="attempt 2"):
        await store.jobs.change(old, JobState.RUNNING, 14.0)
    running = await store.jobs.change(new, JobState.RUNNING, 14.0, last_event=7, progress="{}")
    again = await store.jobs.change(running, JobState.RUNNING, 15.0, last_event=8)
    assert (again.last_event, again.progress, again.updated_at) == (8, "{}", 15.0)


async def test_the_place_of_its_message_is_kept_in_any_state(store: Store, triage: Triage) -> None:
    job = await leased(store, triage)
    await store.jobs.change(job, JobState.CANCELLED, 12.0, error="asked to stop")
    await store.jobs.set_message(GUILD, "j1", "10", "77")
    found = await store.jobs.get(GUILD, "j1")
    assert (found.channel_id, found.message_id, found.error) == ("10", "77", "asked to stop")
    with pytest.raises(NotFound):
        await store.jobs.set_message("g2", "j1", "10", "77")


async def test_what_a_job_is_does_not_change(store: Store, triage: Triage) -> None:
    job = await leased(store, triage)
    with pytest.raises(TypeError, match="snapshot"):
        await store.jobs.change(job, JobState.RUNNING, 12.0, snapshot="other")


async def test_the_list_is_newest_first(store: Store, triage: Triage) -> None:
    for number in range(3):
        job = await leased(store, triage, f"j{number}")
        await store.jobs.change(job, JobState.FAILED, 12.0)
    assert [job.id for job in await store.jobs.list(GUILD, triage.id, limit=2)] == ["j2", "j1"]
    assert await store.jobs.active(GUILD, triage.id) is None


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(wishes=st.lists(st.sampled_from([*JobState, None]), max_size=10))
async def test_exactly_the_legal_changes_happen(store: Store, triage: Triage, wishes: list[JobState | None]) -> None:
    """None: a claim. The model is the table in `storage.records`."""
    if (left := await store.jobs.active(GUILD, triage.id)) is not None:
        await store.jobs.change(left, JobState.CANCELLED, 0.0)
    id = f"j{len(await store.jobs.list(GUILD, triage.id, limit=1000))}"
    job, _ = await store.jobs.create(make_job(triage.classifier, id))
    for wish in wishes:
        if wish is None:
            claimed = await store.jobs.claim(20.0)
            assert (claimed is not None) == (job.state is JobState.QUEUED)
            job = claimed or job
            continue
        stays = wish is job.state and not wish.is_final
        legal = stays or (wish in LEGAL_CHANGES[job.state] and wish is not JobState.LEASED)
        try:
            job = await store.jobs.change(job, wish, 20.0)
        except Conflict:
            assert not legal, (job.state, wish)
        else:
            assert legal
            assert job.state is wish
        assert await store.jobs.get(GUILD, id) == job
