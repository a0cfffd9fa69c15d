"""The first run of a server: the greeting, the guide `/setup`, and what leads chose there for the whole server.

The choices of every server are kept in memory, so that roles are known at once; the one process that owns the database
is the only one that changes them.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from dataclasses import dataclass, replace
from typing import Any

from bot.services.classifiers import ClassifierService, check_live
from bot.services.people import Actor, Role
from storage.classifiers import MAX_DESCRIPTION, check_label_name, check_name, taken_words
from storage.errors import Conflict, InvalidInput, NotFound
from storage.records import Classifier, GuildSettings, LabelCount, Schedule, normalise
from storage.stores import Stores

log = logging.getLogger(__name__)

STEPS = 6
"""Classifier, roles, team channel, what may be learned from, schedule, and the summary."""


@dataclass(frozen=True, slots=True)
class SetupState:
    """All that the guide shows."""

    settings: GuildSettings
    classifiers: list[Classifier]
    classifier: Classifier | None
    """The one that is being set up; None: there is none yet."""
    labels: list[LabelCount]
    schedule: Schedule | None


class SetupService:
    def __init__(self, stores: Stores, classifiers: ClassifierService, known: dict[str, GuildSettings]) -> None:
        """`known`: what is stored, of all servers (`Guilds.all_settings`)."""
        self._guilds = stores.guilds
        self._stored_classifiers = stores.classifiers
        self._schedules = stores.schedules
        self._classifiers = classifiers
        self._known = known
        self._saving = asyncio.Lock()
        """Held from the reading of a server's settings until they are stored: of two leads neither loses."""

    def settings(self, guild: str) -> GuildSettings:
        """What the leads of a server chose; from memory."""
        return self._known.get(guild, GuildSettings())

    async def greet(self, guild: str) -> bool:
        """Whether this server is to be greeted now: True once per server, ever."""
        return await self._guilds.greet(guild, time.time())

    async def state(self, actor: Actor, classifier_id: int = 0) -> SetupState:
        """What is set. `classifier_id` 0, or one that is gone: the channel's classifier, else the first.

        Raises:
            NotAllowed
        """
        actor.require(Role.LEAD, "set me up")
        everything = await self._classifiers.list(actor.guild)
        chosen = next((one for one in everything if one.id == classifier_id), None)
        if chosen is None and everything:
            chosen = await self._usual(actor, everything)
        return SetupState(
            self.settings(actor.guild),
            everything,
            chosen,
            [] if chosen is None else await self._classifiers.labels(chosen),
            None if chosen is None else await self._schedules.get(actor.guild, chosen.id),
        )

    async def _usual(self, actor: Actor, everything: list[Classifier]) -> Classifier:
        default = None
        if actor.channel is not None:
            default = await self._stored_classifiers.channel_default(actor.guild, actor.channel)
        return next((one for one in everything if one.id == default), everything[0])

    async def reach(self, actor: Actor, step: int) -> None:
        """The guide goes on there, also after a restart; looking back at an earlier step changes nothing."""
        if step > self.settings(actor.guild).setup_step:
            await self._save(actor, setup_step=min(step, STEPS))

    async def choose_roles(self, actor: Actor, **roles: str | None) -> None:
        """`lead_role`, `member_role`: who is a lead beside those who manage the server, and who may teach (None: all).

        Raises:
            NotAllowed. InvalidInput: "@everyone", which is no role that somebody has to be given.
        """
        for name, role in roles.items():
            if role == actor.guild and name == "lead_role":
                raise InvalidInput("With @everyone as leads nothing would be protected. Choose another role.")
        chosen = {name: None if role == actor.guild else role for name, role in roles.items()}
        await self._save(actor, **chosen)

    async def _save(self, actor: Actor, **changes: Any) -> None:
        actor.require(Role.LEAD, "set me up")
        async with self._saving:
            settings = replace(self.settings(actor.guild), **changes)
            await self._guilds.save(actor.guild, settings)
            self._known[actor.guild] = settings

    async def name_classifier(self, actor: Actor, name: str, labels: str) -> Classifier:
        """Creates the classifier, or takes the one of that name, and gives it the labels it lacks. Safe to repeat.

        Args:
            labels: see `parse_labels`.

        Raises:
            NotAllowed. InvalidInput: a name that cannot be used. Conflict: the classifier or a label of that name is
            archived. Nothing was created then.
        """
        actor.require(Role.LEAD, "name a classifier")
        name, wanted = check_name(name), parse_labels(labels)
        try:
            classifier = await self._stored_classifiers.get(actor.guild, name)
        except NotFound:
            classifier = await self._classifiers.create(actor, name)
        check_live(classifier)
        every = await self._stored_classifiers.every_label(actor.guild, classifier.id)
        known = {normalise(label.name): label for label in every}
        for label, _ in wanted:  # all of them before the first is created
            if (same := known.get(normalise(label))) is not None and same.archived:
                raise Conflict(taken_words(same))
        for label, description in wanted:
            if normalise(label) not in known:
                await self._classifiers.create_label(actor, classifier, label, description)
        return classifier

    async def choose(self, actor: Actor, classifier_id: int, **changes: Any) -> Classifier:
        """Changes `team_channel` or `learn_from_questions` of one classifier; the classifier as it is then.

        Raises:
            NotAllowed. NotFound: no such classifier here.
        """
        actor.require(Role.LEAD, "set me up")
        if not changes:
            return await self._stored_classifiers.by_id(actor.guild, classifier_id)
        classifier = await self._stored_classifiers.save_settings(actor.guild, classifier_id, **changes)
        log.info("classifier.changed", extra={"classifier": classifier_id, "settings": sorted(changes)})
        return classifier


def parse_labels(text: str) -> list[tuple[str, str]]:
    """(name, description) of each label: one per line or with commas; after a colon comes what it means.

    "bug: something is broken" has a description, in which commas mean nothing. A label named twice counts once.

    Raises:
        InvalidInput: a name that cannot be one, or a description that is too long.
    """
    found: dict[str, tuple[str, str]] = {}
    for line in text.splitlines():
        name, colon, description = line.partition(":")
        parts = [(name, description)] if colon else [(part, "") for part in line.split(",")]
        for each, words in parts:
            each, words = re.sub(r"^\s*[-*•]\s+", "", each).strip(), " ".join(words.split())
            if not each:
                continue
            if len(words) > MAX_DESCRIPTION:
                raise InvalidInput(f"What `{each[:60]}` means takes {len(words)} characters; {MAX_DESCRIPTION} fit.")
            found.setdefault(normalise(check_label_name(each)), (each, words))
    return list(found.values())
