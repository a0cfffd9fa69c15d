"""Asking for a training, following it, and the schedule that asks by itself. `job_runner` does the driving."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import secrets
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from bot.services.classifiers import check_live
from bot.services.foresight import Occasion, comes_near
from bot.services.job_runner import JobRunner
from bot.services.people import Actor, Role, timer
from bot.services.readiness import Attempt, what_to_try
from bot.services.slots import check_cron, check_quiet, check_timezone, is_far_ahead, is_quiet, latest_slot, nominal
from bot.services.updates import JobUpdate
from storage.errors import Conflict, InvalidInput, NotFound, PupilError
from storage.label_changes import former_names
from storage.records import (
    CandidateKind,
    Classifier,
    JobState,
    Label,
    LabelCount,
    ModelVersion,
    Schedule,
    TrainingJob,
    VersionState,
    normalise,
    version_name,
)
from storage.snapshots import SnapshotContent, SnapshotLabel, SnapshotRow, snapshot_path, write_snapshot
from storage.stores import Stores

log = logging.getLogger(__name__)

AGAIN = ":again:"
"""In the key of a job: the training of the same labels once more."""
SETTLED = timedelta(hours=1)
"""A clock that has shown something for so long is believed."""
SHOW_AGAIN = 3600.0
"""Seconds after its end in which a result is drawn once more at start: the bot may have died before it was shown."""


@dataclass(frozen=True, slots=True)
class NotYet:
    """No training now, and why, in words for whoever asked."""

    reason: str


@dataclass(frozen=True, slots=True)
class Requested:
    job: TrainingJob
    joined: bool
    """Whether it was running (or waiting) already: a second request joins the first."""
    new_since: int
    """Texts that got another label, or lost theirs, since the newest version was trained; and labels that are gone."""


class TrainingService:
    def __init__(
        self,
        stores: Stores,
        runner: JobRunner,
        snapshots: Path,
        recipe: dict[str, Any],
        seed: int,
    ) -> None:
        self._classifiers = stores.classifiers
        self._changes = stores.label_changes
        self._examples = stores.examples
        self._jobs = stores.jobs
        self._registry = stores.registry
        self._keeping = stores.keeping
        self._privacy = stores.privacy
        self._schedules = stores.schedules
        self._runner = runner
        self._snapshots = snapshots
        self._recipe = recipe
        self._seed = seed
        self._foreseen: dict[tuple[str, int], Occasion] = {}
        """By classifier: the training that the trainer was last told to expect."""
        self._far_ahead: dict[tuple[str, int], datetime] = {}
        """By classifier: since when its last slot has been far ahead of the clock."""
        self.freezing = asyncio.Lock()
        """Held from the writing of a training file until its job is stored, so that nobody takes it for unneeded."""

    # Asking

    async def request(
        self,
        actor: Actor,
        classifier: Classifier,
        reason: str = "asked for",
        channel_id: str | None = None,
        *,
        asked: bool = True,
    ) -> Requested | NotYet:
        """Freezes the labels and queues a training of them; joins the one that is under way.

        Not `asked` is a clock, which has to have a reason of its own (see `readiness.what_to_try`).

        Raises:
            NotAllowed: the actor is no lead. Conflict: it is archived.
        """
        actor.require(Role.LEAD, "start a training")
        check_live(classifier)
        guild = classifier.guild
        versions = await self._registry.list(guild, classifier.id)
        counts = await self._classifiers.label_counts(guild, classifier.id)
        new_since = await self._new_since(classifier, versions, counts)
        if (active := await self._jobs.active(guild, classifier.id)) is not None:
            self.take_up()
            return Requested(active, joined=True, new_since=new_since)
        attempt = await self._attempt(classifier, versions, counts, new_since, asked=asked)
        if attempt.kind is not CandidateKind.DEEP:
            return NotYet(attempt.reason)
        self._runner.warm()  # it imports its libraries while the labels are frozen and sent
        job = await self._queue(actor, classifier, reason, channel_id)
        return job if isinstance(job, NotYet) else Requested(job[0], joined=not job[1], new_since=new_since)

    def take_up(self) -> None:
        """Goes on with every training that waits or was under way. Returns at once."""
        self._runner.wake()

    async def _new_since(
        self, classifier: Classifier, versions: Sequence[ModelVersion], counts: Sequence[LabelCount]
    ) -> int:
        guild, number = classifier.guild, classifier.id
        trained_to = max((version.last_event_id for version in versions), default=0)
        changed = await self._examples.changed_since(guild, number, trained_to)
        changed += await self._examples.lost_since(guild, number, trained_to)
        if not versions:
            return changed
        # What leaves no label event: labels that the newest version knows and that are in use no more, those that came
        # back since, with their texts, and forgetting.
        labels = await self._classifiers.every_label(guild, number)
        renamed = former_names(await self._changes.history(guild, number))
        known = _meant(versions[0].labels, labels, renamed)
        changed = max(changed, sum(count.total for count in counts if count.label.id not in known))
        changed += sum(label.archived and label.id in known for label in labels)
        forgotten = await self._runner.forgotten_in(versions[0])
        if forgotten is None:
            forgotten = await self._privacy.forgotten_of(guild, versions[0].snapshot)
        return changed + forgotten

    async def _attempt(
        self,
        classifier: Classifier,
        versions: Sequence[ModelVersion],
        counts: Sequence[LabelCount],
        new_since: int,
        *,
        asked: bool,
    ) -> Attempt:
        """What a request would try now. `versions` are all of the classifier, newest first."""
        newest = versions[0] if versions and await self._is_as_now(classifier, versions[0]) else None
        if _again(versions):  # its files are damaged: one is made in its place, of the same labels if need be
            newest = None
        hours = (time.time() - newest.created_at) / 3600 if newest else None
        return what_to_try(counts, new_since, version_name(newest.number) if newest else "", hours, asked=asked)

    async def _queue(
        self, actor: Actor, classifier: Classifier, reason: str, channel_id: str | None
    ) -> tuple[TrainingJob, bool] | NotYet:
        async with self.freezing:
            return await self._freeze_and_store(actor, classifier, reason, channel_id)

    async def _freeze_and_store(
        self, actor: Actor, classifier: Classifier, reason: str, channel_id: str | None
    ) -> tuple[TrainingJob, bool] | NotYet:
        content = await self._freeze(classifier)
        snapshot = await asyncio.to_thread(write_snapshot, content, self._snapshots)
        champion = await self._registry.champion(classifier.guild, classifier.id)
        again = _again(await self._registry.list(classifier.guild, classifier.id))
        now = time.time()
        wanted = TrainingJob(
            id=secrets.token_hex(8),
            guild=classifier.guild,
            classifier_id=classifier.id,
            key=self._key(classifier, snapshot, champion) + again,
            snapshot=snapshot,
            champion=champion,
            state=JobState.QUEUED,
            attempt=0,
            requested_by=actor.id,
            reason=reason,
            created_at=now,
            updated_at=now,
            channel_id=channel_id,
        )
        try:
            job, created = await self._jobs.create(wanted)
        except PupilError:
            await self._drop_unnamed(snapshot)
            raise
        if not created:
            await self._drop_unnamed(snapshot)
        if not created and job.state.is_final:
            return NotYet(f"These labels were trained already: that was {version_name(job.version or 0)}.")
        if created:
            await self._schedules.note_tried(classifier.guild, classifier.id, content.last_event_id)
            log.info(
                "training.requested", extra={"job": job.id, "classifier": classifier.id, "rows": len(content.rows)}
            )
            await self._runner.announce(job)
            self.take_up()
        return job, created

    async def _drop_unnamed(self, snapshot: str) -> None:
        """Deletes a training file that no job needs: whoever forgets texts, or clears up, goes by the jobs."""
        if snapshot not in await self._keeping.named_snapshots():
            await asyncio.to_thread(snapshot_path(self._snapshots, snapshot).unlink, missing_ok=True)

    async def _is_as_now(self, classifier: Classifier, version: ModelVersion) -> bool:
        """Whether a training of the same labels would begin today where this version's began, by the same recipe."""
        if version.job_id is None:
            return True
        job = await self._jobs.get(classifier.guild, version.job_id)
        return job.key.partition(AGAIN)[0] == self._key(classifier, job.snapshot, job.champion)

    async def _freeze(self, classifier: Classifier) -> SnapshotContent:
        # The newest event is read first: a label that arrives in between is trained on and still counts as new.
        newest = await self._examples.newest_event(classifier.guild, classifier.id)
        labels = await self._classifiers.every_label(classifier.guild, classifier.id)
        rows = await self._examples.current(classifier.guild, classifier.id)
        return SnapshotContent(
            guild=classifier.guild,
            classifier=classifier.name,
            labels=tuple(_frozen(label, labels) for label in labels if not label.archived),
            rows=tuple(SnapshotRow(row.example_id, row.text, row.label, row.split, row.source) for row in rows),
            last_event_id=newest,
        )

    def _key(self, classifier: Classifier, snapshot: str, champion: int) -> str:
        """What makes two trainings the same one."""
        parts = [snapshot, classifier.base, str(champion), json.dumps(self._recipe, sort_keys=True), str(self._seed)]
        if classifier.based_on is not None:
            parts.append(classifier.based_on.artifact)
        return hashlib.sha256("|".join(parts).encode()).hexdigest()

    # Following

    async def status(self, classifier: Classifier) -> JobUpdate | None:
        """Where the newest job stands; None: there has been none."""
        job = await self._jobs.latest(classifier.guild, classifier.id)
        return None if job is None else await self._runner.update_of(job)

    async def job(self, guild: str, job_id: str) -> JobUpdate:
        """Raises NotFound, also for another guild's job."""
        return await self._runner.update_of(await self._jobs.get(guild, job_id))

    def watch(self) -> AsyncIterator[JobUpdate]:
        """Every update of every job from now on; a slow reader gets the newest of each job."""
        return self._runner.updates.watch()

    async def wait(self, guild: str, job_id: str) -> JobUpdate:
        """Returns once the job has ended, however it ends."""
        updates = self.watch()
        update = await self.job(guild, job_id)
        while not update.job.state.is_final:
            candidate = await anext(updates)
            update = candidate if candidate.job.id == job_id else update
        return update

    async def unfinished(self) -> list[JobUpdate]:
        """Jobs under way, of all guilds, and results that may not have been shown: what the chat takes up at start."""
        jobs = await self._jobs.unfinished()
        for classifier in await self._classifiers.list():
            newest = await self._jobs.latest(classifier.guild, classifier.id)
            if newest is not None and newest.state.is_final and time.time() - newest.updated_at < SHOW_AGAIN:
                jobs.append(newest)
        return [await self._runner.update_of(job) for job in jobs]

    async def set_message(self, guild: str, job_id: str, channel_id: str, message_id: str) -> None:
        """Remembers the one progress message of a job."""
        await self._jobs.set_message(guild, job_id, channel_id, message_id)

    async def cancel(self, actor: Actor, classifier: Classifier) -> TrainingJob | None:
        """Ends the training under way; None: there is none. Raises NotAllowed."""
        actor.require(Role.LEAD, "cancel a training")
        job = await self._jobs.active(classifier.guild, classifier.id)
        return None if job is None else await self._runner.cancel(job)

    async def cancel_job(self, actor: Actor, job_id: str) -> TrainingJob | None:
        """The same by job id; None: it has ended already. Raises NotAllowed, NotFound."""
        actor.require(Role.LEAD, "cancel a training")
        job = await self._jobs.get(actor.guild, job_id)
        return None if job.state.is_final else await self._runner.cancel(job)

    # The schedule

    async def schedule(
        self,
        actor: Actor,
        classifier: Classifier,
        cron: str | None,
        after_labels: int | None,
        timezone: str = "UTC",
        quiet: str | None = None,
    ) -> Schedule:
        """Sets when the classifier retrains by itself; neither `cron` nor `after_labels` switches it off.

        Within the quiet hours ("22:00-07:00") nothing starts by itself; what comes due waits for their end.

        Raises:
            NotAllowed, InvalidInput (a crontab, count, time zone or quiet hours that cannot be).
        """
        actor.require(Role.LEAD, "set the schedule")
        check_timezone(timezone)
        if cron is not None:
            check_cron(cron, timezone)
        if after_labels is not None and after_labels < 1:
            raise InvalidInput("The number of new labels must be at least 1.")
        now = nominal(datetime.now().astimezone(), timezone)
        schedule = Schedule(
            classifier.guild,
            classifier.id,
            cron,
            after_labels,
            timezone,
            enabled=cron is not None or after_labels is not None,
            last_slot=now,
            quiet=None if quiet is None else check_quiet(quiet),
        )
        await self._schedules.save(schedule)
        return schedule

    async def get_schedule(self, classifier: Classifier) -> Schedule | None:
        return await self._schedules.get(classifier.guild, classifier.id)

    async def tick(self, now: datetime) -> None:
        """Asks for every training that is due. Called by a clock; calling it twice does nothing more."""
        for schedule in await self._schedules.list():
            await asyncio.sleep(0)  # there may be thousands, and people wait for answers meanwhile
            try:
                await self._tick(schedule, now)
            except (NotFound, Conflict) as gone:  # the classifier was archived meanwhile
                log.info("schedule.skipped", extra={"classifier": schedule.classifier_id, "why": str(gone)})
            except PupilError as error:  # a full disk, a time zone that this machine does not know: the others go on
                log.warning("schedule.failed", extra={"classifier": schedule.classifier_id, "why": str(error)})

    async def _tick(self, schedule: Schedule, now: datetime) -> None:
        if not schedule.enabled:
            return
        guild, number = schedule.guild, schedule.classifier_id
        if schedule.last_slot is None:  # a new schedule: only what comes due from now on
            await self._schedules.take_slot(guild, number, nominal(now, schedule.timezone))
            return
        await self._give_back(schedule, schedule.last_slot, now)
        if is_quiet(schedule.quiet, schedule.timezone, now):  # nothing is taken, so it is all still due at their end
            await self._look_ahead(schedule, now)
            return
        slot = None
        if schedule.cron is not None:
            slot = latest_slot(schedule.cron, schedule.timezone, schedule.last_slot, now)
        if slot is not None or await self._enough(schedule):
            classifier = await self._classifiers.by_id(guild, number)
            reason = f"scheduled for {slot}" if slot else f"{schedule.after_labels} new labels"
            channel = classifier.settings.team_channel
            # A number of labels was somebody's wish, a time of day is only an occasion.
            outcome = await self.request(timer(guild), classifier, reason, channel, asked=slot is None)
            facts = {"classifier": number, "slot": slot, "outcome": type(outcome).__name__}
            log.info("schedule.due", extra=facts | ({"why": outcome.reason} if isinstance(outcome, NotYet) else {}))
        else:
            await self._look_ahead(schedule, now)
        if slot is not None:
            # Taken after the request: a crash in between asks once more, and the second request joins the first.
            await self._schedules.take_slot(guild, number, slot)

    async def _give_back(self, schedule: Schedule, slot: str, now: datetime) -> None:
        """What a clock that was years ahead has taken is not taken: until then no night would come.

        Not at once: a clock that is years behind, as after a start without a battery, sees every slot far ahead.
        """
        guild, number = key = schedule.guild, schedule.classifier_id
        if not is_far_ahead(slot, schedule.timezone, now):
            self._far_ahead.pop(key, None)
        elif now - self._far_ahead.setdefault(key, now) >= SETTLED:
            await self._schedules.give_back_slot(guild, number, slot, nominal(now, schedule.timezone))
            log.warning("schedule.slot_given_back", extra={"classifier": number, "slot": slot})

    async def _look_ahead(self, schedule: Schedule, now: datetime) -> None:
        """Tells the trainer of a training that comes near, once, if there will be something to train on."""
        guild, number = schedule.guild, schedule.classifier_id
        occasion = comes_near(schedule, await self._untried(schedule), now)
        if occasion is None or self._foreseen.get((guild, number)) == occasion:
            return
        self._foreseen[guild, number] = occasion
        classifier = await self._classifiers.by_id(guild, number)
        versions = await self._registry.list(guild, number)
        counts = await self._classifiers.label_counts(guild, number)
        new_since = await self._new_since(classifier, versions, counts)
        attempt = await self._attempt(classifier, versions, counts, new_since, asked=occasion.counted)
        if attempt.kind is CandidateKind.DEEP:
            self._runner.warm()

    async def _enough(self, schedule: Schedule) -> bool:
        return schedule.after_labels is not None and await self._untried(schedule) >= schedule.after_labels

    async def _untried(self, schedule: Schedule) -> int:
        """Labels that no training has been asked for with, where the schedule counts them."""
        if schedule.after_labels is None:
            return 0
        tried = await self._schedules.tried_to(schedule.guild, schedule.classifier_id)
        return await self._examples.changed_since(schedule.guild, schedule.classifier_id, tried)


def _again(versions: Sequence[ModelVersion]) -> str:
    """What tells a training from the one whose version is damaged by now; "" as a rule. `versions`: newest first."""
    if not versions or versions[0].state is not VersionState.DAMAGED:
        return ""
    return f"{AGAIN}{version_name(versions[0].number)}"


def _meant(names: Sequence[str], labels: Sequence[Label], renamed: Mapping[str, int]) -> set[int]:
    """Ids of the labels that a version knows by these names, which they may have had before."""
    ids = {**renamed, **{normalise(label.name): label.id for label in labels}}
    return {ids[key] for key in map(normalise, names) if key in ids}


def _frozen(label: Label, every: Sequence[Label]) -> SnapshotLabel:
    merged = tuple(other.id for other in every if other.merged_into == label.id)
    return SnapshotLabel(label.id, label.name, label.description, merged)
