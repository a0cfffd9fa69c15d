"""The services in memory: same methods, same refusals, no storage, no model, no trainer.

It keeps what the chat can see of the real ones: roles are checked, guilds are apart, the same vote twice is one event,
an unknown label is refused. Its "model" says whatever label's name the text contains, and is unsure otherwise; a text
that says "elsewhere" looks like nothing it was taught. A test moves trainings along itself (`training.move`).
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import numpy as np

from bot.inference.thresholds import sureness
from bot.services.classifiers import Stats
from bot.services.forecast import TooFew
from bot.services.labeling import LabelReceipt, UndoReceipt
from bot.services.people import Actor, Role
from bot.services.slots import check_quiet
from bot.services.sureness import SurenessService
from bot.services.system import Services
from bot.services.training import NotYet, Requested
from bot.services.updates import JobUpdate, Updates
from storage.errors import Conflict, InvalidInput, NotFound
from storage.records import (
    MAX_TEXT,
    Classifier,
    GuildSettings,
    JobState,
    Label,
    LabelCount,
    LabelledText,
    LabelScore,
    ModelVersion,
    Origin,
    Prediction,
    Promotion,
    Schedule,
    Source,
    Split,
    Sureness,
    TrainingJob,
    VersionState,
    normalise,
    version_name,
)
from trainer.model.calibration import Reliability
from trainer.model.head import Head


@dataclass
class Vote:
    id: int
    guild: str
    classifier: int
    text: str
    label: str
    annotator: str
    retracted: bool = False


@dataclass
class Memory:
    """Everything the fake services know."""

    classifiers: list[Classifier] = field(default_factory=list)
    labels: list[Label] = field(default_factory=list)
    votes: list[Vote] = field(default_factory=list)
    channel_defaults: dict[tuple[str, str], int] = field(default_factory=dict)
    predictions: dict[str, Prediction] = field(default_factory=dict)
    feedback: list[tuple[str, bool]] = field(default_factory=list)
    jobs: list[TrainingJob] = field(default_factory=list)
    versions: list[ModelVersion] = field(default_factory=list)
    promotions: list[Promotion] = field(default_factory=list)
    schedules: dict[int, Schedule] = field(default_factory=dict)
    checked: int = 20
    """Answers that were checked: the surest three quarters are right."""
    failing: Exception | None = None
    """Raised by every service call while it is set."""
    asked_with: list[Actor] = field(default_factory=list)

    def labels_of(self, classifier: Classifier) -> list[Label]:
        self.check()
        return [label for label in self.labels if label.classifier_id == classifier.id]

    def votes_on(self, classifier: Classifier, text: str) -> list[Vote]:
        same = [vote for vote in self.votes if vote.classifier == classifier.id and not vote.retracted]
        return [vote for vote in same if normalise(vote.text) == normalise(text)]

    def example(self, classifier: Classifier, text: str) -> int:
        texts = [normalise(vote.text) for vote in self.votes if vote.classifier == classifier.id]
        return 1 + list(dict.fromkeys(texts)).index(normalise(text))

    def champion(self, classifier: Classifier) -> int:
        mine = [promotion.number for promotion in self.promotions if promotion.classifier_id == classifier.id]
        return mine[-1] if mine else 0

    def serving(self, classifier: Classifier) -> str:
        current = {normalise(vote.text) for vote in self.votes if vote.classifier == classifier.id}
        return version_name(self.champion(classifier), len(current))

    def scores(self, classifier: Classifier, text: str) -> tuple[LabelScore, ...]:
        names = [label.name for label in self.labels_of(classifier)]
        if not names:
            raise InvalidInput(f"`{classifier.name}` has no labels yet.")
        hits = [name for name in names if name in text]
        rest = 0.0 if len(hits) == len(names) else (0.1 if hits else 1.0) / (len(names) - len(hits))
        scores = [LabelScore(name, 0.9 / len(hits) if name in hits else rest) for name in names]
        return tuple(sorted(scores, key=lambda score: -score.confidence))

    def check(self) -> None:
        if self.failing is not None:
            raise self.failing


class FakeClassifiers:
    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    async def create(
        self, actor: Actor, name: str, labels: Sequence[str] = (), based_on: str | None = None
    ) -> Classifier:
        actor.require(Role.LEAD, "create a classifier")
        memory = self._memory
        if any(known.guild == actor.guild and known.name == name for known in memory.classifiers):
            raise Conflict(f"There is a classifier `{name}` already.")
        created = Classifier(len(memory.classifiers) + 1, actor.guild, name, time.time(), actor.id, "base")
        memory.classifiers.append(created)
        for label in labels:
            await self.create_label(actor, created, label)
        return await self.base_on(actor, created, based_on) if based_on else created

    async def base_on(self, actor: Actor, classifier: Classifier, on: str) -> Classifier:
        actor.require(Role.LEAD, "choose what a classifier is based on")
        name, _, version = on.partition("@")
        origin = None
        if on != "none":
            other = await self.resolve(actor.guild, name)
            number = int(version.removeprefix("v") or self._memory.champion(other))
            origin = Origin(other.id, other.name, number, "a" * 64)
        based = replace(classifier, based_on=origin)
        self._memory.classifiers[self._memory.classifiers.index(classifier)] = based
        return based

    async def list(self, guild: str) -> list[Classifier]:
        self._memory.check()
        return [known for known in self._memory.classifiers if known.guild == guild]

    async def resolve(self, guild: str, name: str | None, channel: str | None = None) -> Classifier:
        everything = await self.list(guild)
        if name:
            found = next((known for known in everything if known.name == name), None)
            if found is None:
                raise NotFound(f"There is no classifier `{name}` here.")
            return found
        default = self._memory.channel_defaults.get((guild, channel or ""))
        if default is not None:
            return next(known for known in everything if known.id == default)
        if len(everything) != 1:
            raise NotFound("There is no classifier here yet. A lead creates one with /classifier create.")
        return everything[0]

    async def use(self, actor: Actor, channel_id: str, name: str) -> Classifier:
        actor.require(Role.LEAD, "choose a channel's classifier")
        chosen = await self.resolve(actor.guild, name)
        self._memory.channel_defaults[actor.guild, channel_id] = chosen.id
        return chosen

    async def create_label(self, actor: Actor, classifier: Classifier, name: str, description: str = "") -> Label:
        actor.require(Role.LEAD, "create a label")
        memory = self._memory
        mine = memory.labels_of(classifier)
        if normalise(name) in {normalise(label.name) for label in mine}:
            raise Conflict(f"`{classifier.name}` has a label `{name}` already.")
        created = Label(len(memory.labels) + 1, actor.guild, classifier.id, name, description, len(mine))
        memory.labels.append(created)
        return created

    async def labels(self, classifier: Classifier) -> list[LabelCount]:  # type: ignore[valid-type]
        votes = [vote for vote in self._memory.votes if vote.classifier == classifier.id and not vote.retracted]
        return [
            LabelCount(label, train=sum(vote.label == label.name for vote in votes), golden=0)
            for label in self._memory.labels_of(classifier)
        ]

    async def stats(self, classifier: Classifier) -> Stats:
        memory = self._memory
        live = memory.champion(classifier)
        return Stats(
            classifier=classifier,
            labels=await self.labels(classifier),
            new_since=len(memory.votes),
            version=memory.serving(classifier),
            champion=next((version for version in memory.versions if version.number == live), None),
            asked=len(memory.predictions),
            right=sum(right for _, right in memory.feedback),
            wrong=sum(not right for _, right in memory.feedback),
            annotators=[("1", "Maria", len(memory.votes))],
            latest_job=memory.jobs[-1] if memory.jobs else None,
        )


class FakeLabeling:
    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    async def label_ids(self, classifier: Classifier) -> dict[str, int]:
        return {normalise(label.name): label.id for label in self._memory.labels_of(classifier)}

    async def label(self, actor: Actor, classifier: Classifier, text: str, label: str, source: Source) -> LabelReceipt:
        memory, text = self._memory, check(text)
        names = {normalise(known.name): known.name for known in memory.labels_of(classifier)}
        if normalise(label) not in names:
            raise NotFound(f"`{classifier.name}` has no label of this name. Did you mean {', '.join(names)}?")
        name, guess, version = names[normalise(label)], memory.scores(classifier, text)[0], memory.serving(classifier)
        before = memory.votes_on(classifier, text)
        vote = next((old for old in before[-1:] if (old.annotator, old.label) == (actor.id, name)), None)
        if vote is None:
            vote = Vote(len(memory.votes) + 1, actor.guild, classifier.id, text, name, actor.id)
            memory.votes.append(vote)
        return LabelReceipt(
            event_id=vote.id,
            example_id=memory.example(classifier, text),
            text=text,
            label=name,
            previous=before[-1].label if before else None,
            guess=guess,
            version=version,
            golden=False,
            label_total=sum(other.label == name for other in memory.votes),
            until_training=max(0, 10 - len(memory.votes)),
            now=name,
        )

    async def change(self, actor: Actor, classifier: Classifier, event_id: int, label: str) -> LabelReceipt:
        vote = next(vote for vote in self._memory.votes if vote.id == event_id)
        return await self.label(actor, classifier, vote.text, label, Source.COMMAND)

    async def label_of(self, classifier: Classifier, text: str) -> str | None:
        votes = self._memory.votes_on(classifier, text)
        return votes[-1].label if votes else None

    async def suggest(self, classifier: Classifier, text: str, typed: str) -> list[tuple[str, float | None]]:
        scores = self._memory.scores(classifier, text)
        offered: dict[str, float | None] = {score.label: score.confidence for score in scores if typed in score.label}
        return list(offered.items())[:25]

    async def undo(
        self, actor: Actor, event_id: int | None = None, classifier: Classifier | None = None
    ) -> UndoReceipt | None:
        memory = self._memory
        memory.check()
        mine = [vote for vote in memory.votes if (vote.guild, vote.annotator) == (actor.guild, actor.id)]
        if event_id is not None:
            mine = [vote for vote in mine if vote.id == event_id]
            if not mine:
                raise NotFound(f"You have given no label with the number {event_id}.")
        if not mine or (event_id is not None and mine[-1].retracted):
            return None
        newest = mine[-1]
        newest.retracted = not newest.retracted  # undoing an undo gives the label again
        owner = next(known for known in memory.classifiers if known.id == newest.classifier)
        left = memory.votes_on(owner, newest.text)
        now = left[-1].label if left else None
        return UndoReceipt(newest.text, newest.label, now, newest.id, again=not newest.retracted)


class FakePrediction:
    def __init__(self, memory: Memory, labeling: FakeLabeling) -> None:
        self._memory = memory
        self._labeling = labeling

    def note(self, actor: Actor, classifier: Classifier) -> str:
        return ""

    async def ask(self, actor: Actor, classifier: Classifier, text: str, source: Source) -> Prediction:
        memory, text = self._memory, check(text)
        memory.check()
        memory.asked_with.append(actor)
        scores, votes = memory.scores(classifier, text), memory.votes_on(classifier, text)
        number = memory.example(classifier, text) if votes else 0
        prediction = Prediction(
            id=f"{len(memory.predictions):016x}",
            guild=actor.guild,
            classifier_id=classifier.id,
            classifier=classifier.name,
            scores=scores,
            abstained=scores[0].confidence < 0.5,
            version=memory.serving(classifier),
            milliseconds=1.2,
            asked_by=actor.id,
            created_at=time.time(),
            text=None if source is Source.MESSAGE else text,
            outside="elsewhere" in text,
            taught=LabelledText(number, text, votes[-1].label, Split.TRAIN, source) if votes else None,
        )
        memory.predictions[prediction.id] = prediction
        return prediction

    async def get(self, guild: str, prediction_id: str) -> Prediction:
        found = self._memory.predictions.get(prediction_id)
        if found is None or found.guild != guild:
            raise NotFound("That answer is not known here any more. Ask again with /ask.")
        return found

    async def right(self, actor: Actor, prediction_id: str) -> LabelReceipt | None:
        found = await self.get(actor.guild, prediction_id)
        return await self._feedback(actor, found, found.label, right=True)

    async def wrong(self, actor: Actor, prediction_id: str, label: str) -> LabelReceipt | None:
        return await self._feedback(actor, await self.get(actor.guild, prediction_id), label, right=False)

    async def _feedback(self, actor: Actor, found: Prediction, label: str, *, right: bool) -> LabelReceipt | None:
        self._memory.check()
        receipt = None
        if found.text is not None:
            classifier = next(known for known in self._memory.classifiers if known.id == found.classifier_id)
            receipt = await self._labeling.label(actor, classifier, found.text, label, Source.COMMAND)
        self._memory.feedback.append((found.id, right))
        return receipt


class FakeTraining:
    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._updates = Updates()
        self._newest: dict[str, JobUpdate] = {}
        self.refusal: str | None = None

    async def request(
        self, actor: Actor, classifier: Classifier, reason: str = "asked for", channel_id: str | None = None
    ) -> Requested | NotYet:
        actor.require(Role.LEAD, "start a training")
        if self.refusal:
            return NotYet(self.refusal)
        new, active = len(self._memory.votes), self._active(classifier)
        if active is not None:
            return Requested(active, joined=True, new_since=new)
        now, number = time.time(), f"{len(self._memory.jobs) + 1:016x}"
        job = TrainingJob(
            number, actor.guild, classifier.id, number, "", 0, JobState.QUEUED, 0, actor.id, reason, now, now,
            channel_id=channel_id,
        )  # fmt: skip
        self._memory.jobs.append(job)
        self._tell(JobUpdate(job, classifier, self._memory.serving(classifier)))
        return Requested(job, joined=False, new_since=new)

    def move(self, job_id: str, state: JobState, **more: Any) -> None:
        """Moves a training along; `more` are fields of the JobUpdate (progress, decision, report, version)."""
        before = self._newest[job_id]
        stored = next(job for job in self._memory.jobs if job.id == job_id)
        job = replace(stored, state=state, attempt=1, error=more.pop("error", None))
        self._memory.jobs[self._memory.jobs.index(stored)] = job
        self._tell(replace(before, job=job, serving=self._memory.serving(before.classifier), **more))

    def _tell(self, update: JobUpdate) -> None:
        self._newest[update.job.id] = update
        self._updates.publish(update)

    def _active(self, classifier: Classifier) -> TrainingJob | None:
        mine = [job for job in self._memory.jobs if job.classifier_id == classifier.id and not job.state.is_final]
        return mine[-1] if mine else None

    async def job(self, guild: str, job_id: str) -> JobUpdate:
        update = self._newest[job_id]
        return replace(update, job=next(job for job in self._memory.jobs if job.id == job_id))

    async def status(self, classifier: Classifier) -> JobUpdate | None:
        mine = [job for job in self._memory.jobs if job.classifier_id == classifier.id]
        return await self.job(mine[-1].guild, mine[-1].id) if mine else None

    def watch(self) -> AsyncIterator[JobUpdate]:
        return self._updates.watch()

    async def unfinished(self) -> list[JobUpdate]:
        return [await self.job(job.guild, job.id) for job in self._memory.jobs if not job.state.is_final]

    async def set_message(self, guild: str, job_id: str, channel_id: str, message_id: str) -> None:
        stored = next(job for job in self._memory.jobs if job.id == job_id)
        self._memory.jobs[self._memory.jobs.index(stored)] = replace(
            stored, channel_id=channel_id, message_id=message_id
        )

    async def cancel(self, actor: Actor, classifier: Classifier) -> TrainingJob | None:
        actor.require(Role.LEAD, "cancel a training")
        active = self._active(classifier)
        return None if active is None else await self.cancel_job(actor, active.id)

    async def cancel_job(self, actor: Actor, job_id: str) -> TrainingJob | None:
        actor.require(Role.LEAD, "cancel a training")
        job = next((job for job in self._memory.jobs if (job.id, job.guild) == (job_id, actor.guild)), None)
        if job is None:
            raise NotFound("There is no such training here.")
        if job.state.is_final:
            return None
        self.move(job_id, JobState.CANCELLED)
        return job

    async def schedule(
        self,
        actor: Actor,
        classifier: Classifier,
        cron: str | None,
        after_labels: int | None,
        timezone: str = "UTC",
        quiet: str | None = None,
    ) -> Schedule:
        actor.require(Role.LEAD, "set the schedule")
        hours = None if quiet is None else check_quiet(quiet)
        on = cron is not None or after_labels is not None
        schedule = Schedule(classifier.guild, classifier.id, cron, after_labels, timezone, on, None, hours)
        self._memory.schedules[classifier.id] = schedule
        return schedule

    async def get_schedule(self, classifier: Classifier) -> Schedule | None:
        return self._memory.schedules.get(classifier.id)


class FakePromotion:
    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    async def versions(self, classifier: Classifier) -> list[ModelVersion]:
        mine = [version for version in self._memory.versions if version.classifier_id == classifier.id]
        return mine[::-1]

    async def pins(self, classifier: Classifier, number: int) -> tuple[()]:
        return ()

    async def promotions(self, classifier: Classifier) -> list[Promotion]:
        return [known for known in self._memory.promotions if known.classifier_id == classifier.id][::-1]

    async def promote(self, actor: Actor, classifier: Classifier, number: int) -> Promotion:
        actor.require(Role.LEAD, "decide which version is live")
        memory = self._memory
        live = memory.champion(classifier)
        if number == live:
            raise Conflict(f"{version_name(number)} of `{classifier.name}` is live already.")
        if number and number not in {version.number for version in memory.versions}:
            raise NotFound(f"`{classifier.name}` has no {version_name(number)}.")
        memory.versions = [
            replace(version, state=VersionState.CHAMPION if version.number == number else VersionState.RETIRED)
            for version in memory.versions
        ]
        count = len(memory.promotions) + 1
        promotion = Promotion(count, actor.guild, classifier.id, number, live, actor.id, "chosen", time.time())
        memory.promotions.append(promotion)
        return promotion

    async def rollback(
        self, actor: Actor, classifier: Classifier, number: int | None = None, *, live: int | None = None
    ) -> Promotion:
        actor.require(Role.LEAD, "roll back")
        live = self._memory.champion(classifier) if live is None else live
        before = [known.previous for known in self._memory.promotions if known.number == live]
        if number is None and not before:
            raise NotFound(f"`{classifier.name}` has no version before {version_name(live)} to go back to.")
        return await self.promote(actor, classifier, before[-1] if number is None else number)


class FakeSureness(SurenessService):
    """The real one over a head that only knows how sure it was."""

    def __init__(self, memory: Memory) -> None:
        super().__init__(cast(Any, self), cast(Any, None), cast(Any, None))
        self._memory = memory

    @property
    def classifiers(self) -> FakeSureness:
        """The store that settings are saved in."""
        return self

    async def save_settings(self, guild: str, classifier_id: int, **changes: Any) -> None:
        known = self._memory.classifiers
        before = known[classifier_id - 1]
        known[classifier_id - 1] = replace(before, settings=replace(before.settings, **changes))

    async def of(self, classifier: Classifier) -> Sureness:
        self._memory.check()
        found = self.known(classifier)
        assert found is not None
        return found

    def known(self, classifier: Classifier) -> Sureness | None:
        confidences = np.linspace(1, 0, self._memory.checked, dtype=np.float32)
        checked = Reliability(confidences, confidences >= 0.25)
        nothing = np.zeros((1, 1), np.float32)
        return sureness(Head(("bug",), nothing, nothing[0], 1.0, 0.4, None, checked), classifier.settings.precision)


class FakeSetup:
    def settings(self, guild: str) -> GuildSettings:
        return GuildSettings()


class FakeMorning:
    async def watch(self) -> AsyncIterator[JobUpdate]:
        """Nothing fails in its nights."""
        return
        yield


class FakeForecast:
    async def of(self, classifier: Classifier) -> TooFew:
        return TooFew(0, 60)


class FakeStatus:
    async def status(self) -> dict[str, Any]:
        return {"version": "0.1.0", "uptime_seconds": 12.0, "trainer": {"reachable": True, "device": "cpu"}}


class FakeImports:
    """Nobody has imported anything."""

    async def done_last(self, actor: Actor, classifier: Classifier | None = None) -> None:
        return None


class FakeProposing:
    """Nothing was proposed."""

    def __init__(self) -> None:
        self.looked: list[str] = []
        """Classifiers whose waiting texts were looked for."""

    async def save_waiting(self, actor: Actor, classifier: Classifier) -> int:
        self.looked.append(classifier.name)
        return 0


@dataclass
class FakeServices:
    """Made to measure for `PupilBot`; `services` is what it is constructed with."""

    memory: Memory = field(default_factory=Memory)

    def __post_init__(self) -> None:
        self.classifiers = FakeClassifiers(self.memory)
        self.labeling = FakeLabeling(self.memory)
        self.prediction = FakePrediction(self.memory, self.labeling)
        self.training = FakeTraining(self.memory)
        self.promotion = FakePromotion(self.memory)
        self.status = FakeStatus()
        self.sureness = FakeSureness(self.memory)
        self.setup = FakeSetup()
        self.morning = FakeMorning()
        self.forecast = FakeForecast()
        self.imports = FakeImports()
        self.proposing = FakeProposing()

    @property
    def services(self) -> Services:
        return cast(Services, self)

    def add_version(self, classifier: Classifier, report: str = "") -> ModelVersion:
        """A trained version that is not live."""
        number = len(self.memory.versions) + 1
        version = ModelVersion(
            classifier.guild, classifier.id, number, "", None, "", 0, (), "Better.", report, time.time()
        )
        self.memory.versions.append(version)
        return version


def check(text: str) -> str:
    if not text.strip():
        raise InvalidInput("The text is empty. Type the text that this is about.")
    if len(text) > MAX_TEXT:
        raise InvalidInput(f"The text has {len(text):,} characters; at most {MAX_TEXT:,} are possible.")
    return text.strip()
