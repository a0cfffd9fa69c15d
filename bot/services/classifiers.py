"""Classifiers and their labels: create, find, count. Knows nothing of models; whoever changes a label tells serving."""

from __future__ import annotations

import asyncio
import builtins  # inside the class, `list` is the method
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from bot.services.agreement import agreement
from bot.services.naming import label_with_id
from bot.services.people import Actor, Role
from storage.classifiers import check_label_name
from storage.errors import Conflict, InvalidInput, NotFound
from storage.records import (
    CandidateKind,
    Classifier,
    EvaluationReport,
    Label,
    LabelCount,
    ModelVersion,
    Schedule,
    TrainingJob,
    normalise,
)
from storage.stores import Stores
from trainer.protocol import from_json

log = logging.getLogger(__name__)

NOTHING = "none"
"""What a classifier is based on that starts from the pretrained model."""

NIGHTLY = "0 3 * * *"
"""A new classifier retrains at three in the morning (UTC) if there is something new; `/train schedule` changes it."""


@dataclass(frozen=True, slots=True)
class Stats:
    """What `/stats` shows of one classifier."""

    classifier: Classifier
    labels: list[LabelCount]
    new_since: int
    """Labelled texts that the newest version has not been trained on."""
    version: str
    """What answers now: "v3+12"."""
    champion: ModelVersion | None
    asked: int
    right: int
    wrong: int
    annotators: list[tuple[str, str, int]]
    """(id, name, labels given), most first. Whose name is not known has the id for it."""
    latest_job: TrainingJob | None
    agreement: ToldAgreement | None = None
    waiting: int = 0
    """Texts of the pool that wait for a label."""


@dataclass(frozen=True, slots=True)
class ToldAgreement:
    """How far those who label agree (see `bot.services.agreement`), by names."""

    texts: int
    alpha: float | None
    labels: tuple[tuple[str, float], ...]
    """Least first."""
    people: tuple[tuple[str, str, float, int], ...]
    """(id, name, share, texts), least first."""


class ClassifierService:
    def __init__(
        self,
        stores: Stores,
        *,
        base: str,
        version_of: Callable[[Classifier], Awaitable[str]],
        changed: Callable[[Classifier], None],
    ) -> None:
        """`version_of` names what answers for a classifier now; `changed` hears that a classifier's labels changed."""
        self._classifiers = stores.classifiers
        self._examples = stores.examples
        self._opinions = stores.opinions
        self._predictions = stores.predictions
        self._registry = stores.registry
        self._jobs = stores.jobs
        self._schedules = stores.schedules
        self._rounds = stores.rounds
        self._base = base
        self._version_of = version_of
        self._changed = changed

    async def create(
        self, actor: Actor, name: str, labels: Sequence[str] = (), based_on: str | None = None
    ) -> Classifier:
        """A new classifier with the labels given, retrained nightly. `based_on`: see `base_on`; None is "none".

        Raises:
            NotAllowed, Conflict (the name is taken), InvalidInput (a name that cannot be used; nothing is created),
            and what `base_on` raises.
        """
        actor.require(Role.LEAD, "create a classifier")
        names = _distinct([check_label_name(label) for label in labels])
        source = await self._source(actor.guild, based_on or NOTHING, self._base)
        if source is not None:
            await self._registry.check_source(actor.guild, source)  # before a name is taken
        classifier = await self._classifiers.create(actor.guild, name, actor.id, self._base, time.time())
        for label in names:
            await self._classifiers.add_label(actor.guild, classifier.id, label)
        if actor.channel is not None:
            # Where a classifier was made is where its team is: trainings by the schedule are shown there.
            await self._classifiers.save_settings(actor.guild, classifier.id, team_channel=actor.channel)
        if source is not None:
            await self._registry.base_on(actor.guild, classifier.id, source)
        await self._schedules.save(
            Schedule(actor.guild, classifier.id, NIGHTLY, None, "UTC", enabled=True, last_slot=None)
        )
        created = await self._classifiers.by_id(actor.guild, classifier.id)
        self._changed(created)
        return created

    async def base_on(self, actor: Actor, classifier: Classifier, on: str) -> Classifier:
        """The same classifier, whose trainings start from another one's encoder from now on. What answers stays.

        Args:
            on: "support", the version of `support` that is live now; "support@v3", that version; "none", the
                pretrained encoder again. The version stays the one that it is today.

        Raises:
            NotAllowed, NotFound (no such classifier or version here), Conflict (a training is under way, or the version
            is damaged), InvalidInput (nothing that could be carried over).
        """
        actor.require(Role.LEAD, "choose what a classifier is based on")
        source = await self._source(actor.guild, on, classifier.base)
        if source is not None and source.classifier_id == classifier.id:
            raise InvalidInput(f"`{classifier.name}` cannot be based on itself. Name another classifier, or `none`.")
        await self._registry.base_on(actor.guild, classifier.id, source)
        return await self._classifiers.by_id(actor.guild, classifier.id)

    async def _source(self, guild: str, on: str, base: str) -> ModelVersion | None:
        """The version that `on` means, if its encoder is worth carrying over to a classifier of this base."""
        name, _, wanted = on.strip().partition("@")
        if on.strip().casefold() == NOTHING:
            return None
        other = await self._classifiers.get(guild, name)
        number = _number(wanted) if wanted else await self._registry.champion(guild, other.id)
        if not number:
            raise InvalidInput(
                f"v0 of `{other.name}` is the pretrained model itself: there is nothing to carry over. Train it first, "
                f"or name a version: {other.name}@v1."
            )
        version = await self._registry.get(guild, other.id, number)
        if _kind(version) is CandidateKind.INSTANT:
            raise InvalidInput(
                f"v{number} of `{other.name}` answers with the pretrained encoder: there is nothing to carry over. "
                f"Name a version that was fine-tuned: {other.name}@v1."
            )
        if other.base != base:
            raise InvalidInput(f"`{other.name}` comes from another pretrained model ({other.base}, not {base}).")
        return version

    async def list(self, guild: str) -> builtins.list[Classifier]:
        return await self._classifiers.list(guild)

    async def guilds(self) -> builtins.list[str]:
        """Servers that have a classifier, sorted."""
        return sorted({classifier.guild for classifier in await self._classifiers.list()})

    async def resolve(self, guild: str, name: str | None, channel: str | None = None) -> Classifier:
        """The classifier meant: by name, else the channel's default, else the only one there is.

        Raises:
            NotFound: no such name (the message lists the names), or there is none yet (it says how to create one).
            InvalidInput: there are several and nothing says which. Conflict: the one named is archived, or all are.
        """
        if name:
            return check_live(await self._classifiers.get(guild, name))
        if channel and (chosen := await self._classifiers.channel_default(guild, channel)) is not None:
            default = await self._classifiers.by_id(guild, chosen)
            if not default.archived:
                return default
        everything = await self._classifiers.list(guild)
        if not everything and (put_away := await self._classifiers.archived(guild)):
            check_live(put_away[0])
        if not everything:
            raise NotFound("There is no classifier here yet. A lead creates one with /classifier create.")
        if len(everything) > 1:
            names = ", ".join(f"`{classifier.name}`" for classifier in everything)
            raise InvalidInput(
                f"Which classifier? There are {names}. Name one with the option `classifier`; "
                "a lead makes one this channel's with /classifier use."
            )
        return everything[0]

    async def by_id(self, guild: str, classifier_id: int) -> Classifier:
        """For buttons. Raises NotFound, also for another guild's."""
        return await self._classifiers.by_id(guild, classifier_id)

    async def use(self, actor: Actor, channel_id: str, name: str) -> Classifier:
        """Makes a classifier the default of a channel (its threads included)."""
        actor.require(Role.LEAD, "choose a channel's classifier")
        classifier = check_live(await self._classifiers.get(actor.guild, name))
        await self._classifiers.set_channel_default(actor.guild, channel_id, classifier.id)
        return classifier

    async def archive(self, actor: Actor, classifier: Classifier) -> Classifier:
        """Puts it away: it answers, learns and trains no more. Nothing is deleted, and its name stays its own."""
        actor.require(Role.LEAD, "archive a classifier")
        await self._classifiers.archive(actor.guild, classifier.id, archived=True)
        log.info("classifier.archived", extra={"classifier": classifier.id})
        return await self._classifiers.by_id(actor.guild, classifier.id)

    async def restore(self, actor: Actor, name: str) -> Classifier:
        """Brings an archived one back as it was. Again changes nothing. Raises NotAllowed, NotFound."""
        actor.require(Role.LEAD, "bring a classifier back")
        classifier = await self._classifiers.get(actor.guild, name)
        if classifier.archived:
            await self._classifiers.archive(actor.guild, classifier.id, archived=False)
            log.info("classifier.restored", extra={"classifier": classifier.id})
        return await self._classifiers.by_id(actor.guild, classifier.id)

    async def archived(self, guild: str) -> builtins.list[Classifier]:
        return await self._classifiers.archived(guild)

    async def create_label(self, actor: Actor, classifier: Classifier, name: str, description: str = "") -> Label:
        """A new label; it can be answered at once, from its name."""
        actor.require(Role.LEAD, "create a label")
        label = await self._classifiers.add_label(actor.guild, classifier.id, name, description)
        self._changed(classifier)
        return label

    async def labels(self, classifier: Classifier) -> builtins.list[LabelCount]:
        return await self._classifiers.label_counts(classifier.guild, classifier.id)

    async def label(self, classifier: Classifier, label_id: int) -> Label:
        """As `naming.label_with_id`."""
        used = await self._classifiers.labels(classifier.guild, classifier.id)
        return label_with_id(classifier, used, label_id)

    async def stats(self, classifier: Classifier) -> Stats:
        guild, number = classifier.guild, classifier.id
        champion = await self._registry.champion(guild, number)
        versions = await self._registry.list(guild, number)
        right, wrong = await self._predictions.feedback_counts(guild, number)
        trained_to = max((version.last_event_id for version in versions), default=0)
        return Stats(
            classifier=classifier,
            labels=await self.labels(classifier),
            new_since=await self._examples.changed_since(guild, number, trained_to),
            version=await self._version_of(classifier),
            champion=next((version for version in versions if version.number == champion), None),
            asked=await self._predictions.count(guild, number),
            right=right,
            wrong=wrong,
            annotators=await self._annotators(guild, number),
            latest_job=await self._jobs.latest(guild, number),
            agreement=await self._agreement(guild, number),
            waiting=await self._rounds.waiting(guild, number),
        )

    async def _agreement(self, guild: str, classifier_id: int) -> ToldAgreement:
        opinions = await self._opinions.shared(guild, classifier_id)
        names = {label.id: label.name for label in await self._classifiers.labels(guild, classifier_id)}
        people = await self._examples.annotator_names(guild)
        found = await asyncio.to_thread(agreement, opinions, names.keys())
        return ToldAgreement(
            found.texts,
            found.alpha,
            tuple((names[label], alpha) for label, alpha in found.labels),
            tuple((who, people.get(who, who), share, texts) for who, share, texts in found.people),
        )

    async def _annotators(self, guild: str, classifier_id: int) -> builtins.list[tuple[str, str, int]]:
        counts = await self._opinions.annotator_counts(guild, classifier_id)
        names = await self._examples.annotator_names(guild)
        return [(annotator, names.get(annotator, annotator), count) for annotator, count in counts]


def check_live(classifier: Classifier) -> Classifier:
    """The classifier itself. Raises Conflict for one that is archived."""
    if classifier.archived:
        raise Conflict(
            f"`{classifier.name}` is archived: it answers, learns and trains no more. A lead brings it back with "
            "`/classifier restore`."
        )
    return classifier


def _number(version: str) -> int:
    """ "v3" or "3" → 3."""
    digits = version.strip().casefold().removeprefix("v")
    if not (digits.isdecimal() and digits.isascii() and len(digits) < 10):
        raise InvalidInput("That is no version. Write the classifier and its version like support@v3.")
    return int(digits)


def _kind(version: ModelVersion) -> CandidateKind | None:
    """None: its report cannot be read."""
    try:
        return from_json(EvaluationReport, version.report).kind
    except InvalidInput:
        return None


def _distinct(names: Sequence[str]) -> Sequence[str]:
    """Raises InvalidInput when two names are the same label, before anything is created."""
    seen: set[str] = set()
    for name in names:
        if normalise(name) in seen:
            raise InvalidInput(f"The label `{name}` is named twice. Nothing was created.")
        seen.add(normalise(name))
    return names
