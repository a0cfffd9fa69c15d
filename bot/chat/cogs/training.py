"""/train now, status, cancel and schedule; the buttons Cancel and Train again."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from discord import app_commands
from discord.ext import commands

from bot.chat import choices
from bot.chat.buttons import pressed
from bot.chat.cards import Card
from bot.chat.cogs.base import Interaction, PupilCog
from bot.chat.sending import begin, show
from bot.chat.text import code, counted
from bot.chat.training_cards import job_card, next_runs_words, schedule_words
from bot.services.people import Actor
from bot.services.training import NotYet, Requested
from storage.records import Classifier

NOTHING_RUNS = "No training is under way."
STOPPED = "Stopped. Nothing changed; no label is lost."


class TrainCommands(PupilCog, commands.GroupCog, group_name="train", group_description="Training a classifier"):
    @app_commands.command(description="Train with everything that is new (leads). The old version keeps answering.")
    @app_commands.describe(classifier="Which classifier (the channel's, if left out)")
    @app_commands.autocomplete(classifier=choices.classifiers)
    async def now(self, interaction: Interaction, classifier: str | None = None) -> None:
        await begin(interaction)
        await self._train(interaction, classifier)

    @pressed(r"train:(?P<classifier>[\w-]+)")
    async def again(self, interaction: Interaction, classifier: str) -> None:
        await begin(interaction)
        await self._train(interaction, classifier)

    async def _train(self, interaction: Interaction, name: str | None) -> None:
        actor = self.actor(interaction)
        chosen = await self.classifier(actor, name)
        channel = chosen.settings.team_channel or str(interaction.channel_id)
        outcome = await self.services.training.request(actor, chosen, channel_id=channel)
        if isinstance(outcome, NotYet):
            await show(interaction, Card(f"Not yet. {outcome.reason}"))
            return
        update = await self.services.training.job(actor.guild, outcome.job.id)
        await show(interaction, Card(requested_words(chosen, outcome, await self.bot.board.show(update, channel))))

    @app_commands.command(description="Where the newest training stands.")
    @app_commands.describe(classifier="Which classifier (the channel's, if left out)")
    @app_commands.autocomplete(classifier=choices.classifiers)
    async def status(self, interaction: Interaction, classifier: str | None = None) -> None:
        await begin(interaction)
        chosen = await self.classifier(self.actor(interaction), classifier)
        update = await self.services.training.status(chosen)
        none = f"{code(chosen.name)} has not been trained yet. A lead starts it with `/train now`."
        await show(interaction, Card(none) if update is None else job_card(update))

    @app_commands.command(description="Stop the training under way (leads). What answers now stays.")
    @app_commands.describe(classifier="Which classifier (the channel's, if left out)")
    @app_commands.autocomplete(classifier=choices.classifiers)
    async def cancel(self, interaction: Interaction, classifier: str | None = None) -> None:
        await begin(interaction)
        actor = self.actor(interaction)
        chosen = await self.classifier(actor, classifier)
        job = await self.services.training.cancel(actor, chosen)
        await show(interaction, Card(NOTHING_RUNS if job is None else STOPPED))

    @pressed(r"cancel:(?P<job_id>[\w-]+)")
    async def cancel_one(self, interaction: Interaction, job_id: str) -> None:
        await begin(interaction)
        actor = self.actor(interaction)
        job = await self.services.training.cancel_job(actor, job_id)
        if job is None:  # the message says otherwise: it missed the end, so it is brought up to date
            await self.bot.board.show(await self.services.training.job(actor.guild, job_id))
        await show(interaction, Card("That training has ended already." if job is None else STOPPED))

    @app_commands.command(description="When it trains by itself. Without options: shows what is set (changes: leads).")
    @app_commands.describe(
        at="A time of day (03:00), or a crontab of five fields (0 3 * * 1)",
        after_labels="Train when this many labels are new",
        timezone="Where the clock of `at` and `quiet` stands",
        quiet="Hours in which nothing starts by itself (22:00-07:00), or none",
        off="Never by itself",
        classifier="Which classifier (the channel's, if left out)",
    )
    @app_commands.autocomplete(classifier=choices.classifiers, timezone=choices.timezones)
    async def schedule(
        self,
        interaction: Interaction,
        at: str | None = None,
        after_labels: app_commands.Range[int, 1, 100_000] | None = None,
        timezone: str | None = None,
        quiet: str | None = None,
        off: bool = False,
        classifier: str | None = None,
    ) -> None:
        await begin(interaction)
        actor = self.actor(interaction)
        chosen = await self.classifier(actor, classifier)
        if off:
            await self.services.training.schedule(actor, chosen, None, None, "UTC")
        elif at or after_labels or timezone or quiet:
            await self._set_schedule(actor, chosen, at, after_labels, timezone, quiet)
        schedule = await self.services.training.get_schedule(chosen)
        runs = next_runs_words(schedule, datetime.now(UTC))
        await show(interaction, Card(f"{code(chosen.name)}: {schedule_words(schedule)}{runs}"))

    async def _set_schedule(
        self,
        actor: Actor,
        classifier: Classifier,
        at: str | None,
        after_labels: int | None,
        timezone: str | None,
        quiet: str | None,
    ) -> None:
        """What is not named stays as it is."""
        before = await self.services.training.get_schedule(classifier)
        cron = crontab(at) if at else before.cron if before is not None else None
        count = after_labels or (before.after_labels if before is not None else None)
        zone = timezone or (before.timezone if before is not None else "UTC")
        hours = quiet_hours(quiet) if quiet else before.quiet if before is not None else None
        await self.services.training.schedule(actor, classifier, cron, count, zone, hours)


def crontab(at: str) -> str:
    """ "3:05" → "5 3 * * *"; anything else is handed on, for the service to check."""
    if match := re.fullmatch(r"\s*([01]?\d|2[0-3]):([0-5]\d)\s*", at):
        return f"{int(match[2])} {int(match[1])} * * *"
    return at.strip()


def quiet_hours(quiet: str) -> str | None:
    """What was typed, for the service to check; None: no quiet hours."""
    return None if quiet.strip().casefold() in {"", "none", "off"} else quiet


def requested_words(classifier: Classifier, outcome: Requested, channel: str | None) -> str:
    """What was started, what is new in it and where to watch."""
    if outcome.joined:
        words = f"{code(classifier.name)} is being trained already."
    else:
        new = f"with {counted(outcome.new_since, 'new label')}" if outcome.new_since else "on the same labels once more"
        words = f"Training {code(classifier.name)} {new}."
    if channel is None:
        return f"{words} I could not write into the channel; `/train status` shows how it goes."
    return f"{words} Watch it in <#{channel}>."
