"""/setup, the guide for leads, and the greeting of a server that the bot has joined.

Every choice is stored when it is made, and the step reached with it: a restart, or `/setup` typed anew, goes on there.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

import discord
from discord import app_commands
from discord.ext import commands

from bot.chat.answer_cards import typed_file
from bot.chat.buttons import answers, chosen, pressed
from bot.chat.cogs.base import Interaction, PupilCog
from bot.chat.cogs.training import crontab, quiet_hours
from bot.chat.sending import as_message, ask, begin, show
from bot.chat.setup_cards import (
    CHANNEL,
    CLASSIFIER,
    LEARNING,
    ROLES,
    SCHEDULE,
    after,
    classifier_form,
    clock_form,
    greeting_card,
    setup_card,
    without_gone,
)
from bot.services.classifiers import NIGHTLY
from bot.services.people import Actor, Role
from storage.errors import InvalidInput, UserError

if TYPE_CHECKING:
    from bot.chat.client import PupilBot

log = logging.getLogger(__name__)

NOTHING_CREATED = (
    "Nothing was created. The labels that you typed are in the file, and in the form when you open it again."
)
MOST_REFUSED = 100
"""Refused forms that are remembered, the newest; each holds a few thousand characters."""
NUMBER = r"(?P<number>\d{1,12})"


class Setup(PupilCog):
    def __init__(self, bot: PupilBot) -> None:
        super().__init__(bot)
        self._refused: dict[tuple[str, str], tuple[str, str]] = {}
        """By server and person: the name and the labels of a form that could not be used."""

    @app_commands.command(description="Set me up (leads): labels, roles, team channel, schedule. Two minutes.")
    async def setup(self, interaction: Interaction) -> None:
        await begin(interaction)
        state = await self.services.setup.state(self.actor(interaction))
        await show(interaction, without_gone(setup_card(state, state.settings.setup_step), ids_of(interaction.guild)))

    @pressed(rf"setup:go:(?P<step>[1-6]):{NUMBER}")
    async def go(self, interaction: Interaction, step: str, number: str) -> None:
        await begin(interaction)
        await self._show(interaction, int(step), int(number))

    @pressed(rf"setup:change:{NUMBER}")
    async def change(self, interaction: Interaction, number: str) -> None:
        await begin(interaction)
        step = chosen(interaction)
        await self._show(interaction, int(step) if step in set("123456") else CLASSIFIER, int(number))

    async def _show(self, interaction: Interaction, step: int, number: int, note: str = "", typed: str = "") -> None:
        """`typed`: what was typed and could not be used; it is given back as a file."""
        actor = self.actor(interaction)
        await self.services.setup.reach(actor, step)
        card = setup_card(await self.services.setup.state(actor, number), step, note)
        if typed:
            card = replace(card, files=(typed_file(typed),))
        await show(interaction, without_gone(card, ids_of(interaction.guild)))

    async def _go_on(self, interaction: Interaction, step: int, number: int, note: str = "") -> None:
        """To what follows `step`, now that something was chosen there."""
        state = await self.services.setup.state(self.actor(interaction), number)
        await self._show(interaction, after(state, step), number, note)

    # What is told apart

    @pressed(rf"setup:name(?::{NUMBER})?")
    async def name(self, interaction: Interaction, number: str | None) -> None:
        actor = self.actor(interaction)
        actor.require(Role.LEAD, "name a classifier")
        state = await self.services.setup.state(actor, int(number or 0))
        name = state.classifier.name if number and state.classifier else ""
        refused, labels = self._refused.get((actor.guild, actor.id), ("", ""))
        meant = refused.strip().casefold()
        # "Add labels" belongs to the one it names, "Name another" to none that is there.
        if (name and name != meant) or (not name and await self._number(actor, meant)):
            refused, labels = name, ""
        await ask(interaction, classifier_form(refused, labels))

    @pressed(r"setup:named")
    async def named(self, interaction: Interaction) -> None:
        await begin(interaction)
        actor, given = self.actor(interaction), answers(interaction)
        name, labels = given.get("name", ""), given.get("labels", "")
        self._refused.pop((actor.guild, actor.id), None)
        try:
            made = await self.services.setup.name_classifier(actor, name, labels)
        except UserError as error:  # thirty labels with their meanings are not typed twice because of a mistake in one
            if len(self._refused) >= MOST_REFUSED:
                del self._refused[next(iter(self._refused))]
            self._refused[actor.guild, actor.id] = name, labels
            number = await self._number(actor, name)
            await self._show(interaction, CLASSIFIER, number, f"{error} {NOTHING_CREATED}", labels)
            return
        await self.services.proposing.save_waiting(actor, made)
        await self._go_on(interaction, CLASSIFIER, made.id)

    async def _number(self, actor: Actor, name: str) -> int:
        """Id of the classifier of that name; 0: there is none."""
        every = await self.services.classifiers.list(actor.guild)
        return next((one.id for one in every if one.name == name.strip().casefold()), 0)

    @pressed(r"setup:use")
    async def use(self, interaction: Interaction) -> None:
        await begin(interaction)
        number = chosen(interaction)
        await self._show(interaction, CLASSIFIER, int(number) if number.isdecimal() else 0)

    # Roles

    @pressed(rf"setup:(?P<which>lead|member):{NUMBER}")
    async def role(self, interaction: Interaction, which: str, number: str) -> None:
        await begin(interaction)
        await self._role(interaction, which, number, chosen(interaction))

    @pressed(rf"setup:no(?P<which>lead|member):{NUMBER}")
    async def no_role(self, interaction: Interaction, which: str, number: str) -> None:
        await begin(interaction)
        await self._role(interaction, which, number, None)

    async def _role(self, interaction: Interaction, which: str, number: str, role: str | None) -> None:
        await self.services.setup.choose_roles(self.actor(interaction), **{f"{which}_role": role})
        await self._show(interaction, ROLES, int(number))

    # Where, from what, when

    @pressed(rf"setup:channel:{NUMBER}")
    async def channel(self, interaction: Interaction, number: str) -> None:
        await begin(interaction)
        await self._channel(interaction, int(number), chosen(interaction))

    @pressed(rf"setup:here:{NUMBER}")
    async def here(self, interaction: Interaction, number: str) -> None:
        await begin(interaction)
        await self._channel(interaction, int(number), str(interaction.channel_id))

    async def _channel(self, interaction: Interaction, number: int, channel: str) -> None:
        await self.services.setup.choose(self.actor(interaction), number, team_channel=channel)
        note = "" if may_write(interaction.guild, channel) else f"I may not write in <#{channel}> yet: allow me to."
        await self._go_on(interaction, CHANNEL, number, note)

    @pressed(rf"setup:learn:(?P<way>on|off):{NUMBER}")
    async def learn(self, interaction: Interaction, way: str, number: str) -> None:
        await begin(interaction)
        await self.services.setup.choose(self.actor(interaction), int(number), learn_from_questions=way == "on")
        await self._go_on(interaction, LEARNING, int(number))

    @pressed(rf"setup:zone:{NUMBER}")
    async def zone(self, interaction: Interaction, number: str) -> None:
        await begin(interaction)
        state = await self.services.setup.state(self.actor(interaction), int(number))
        quiet, count = (state.schedule.quiet, state.schedule.after_labels) if state.schedule else (None, None)
        await self._schedule(interaction, int(number), NIGHTLY, count, chosen(interaction), quiet)

    @pressed(rf"setup:never:{NUMBER}")
    async def never(self, interaction: Interaction, number: str) -> None:
        await begin(interaction)
        await self._schedule(interaction, int(number), None, None, "UTC")

    @pressed(rf"setup:clock:{NUMBER}")
    async def clock(self, interaction: Interaction, number: str) -> None:
        state = await self.services.setup.state(self.actor(interaction), int(number))
        await ask(interaction, clock_form(int(number), state.schedule))

    @pressed(rf"setup:clocked:{NUMBER}")
    async def clocked(self, interaction: Interaction, number: str) -> None:
        await begin(interaction)
        given = answers(interaction)
        at, count = given.get("at", "").strip(), given.get("count", "").strip()
        try:
            if count and not (count.isascii() and count.isdecimal()):
                raise InvalidInput("The number of new labels is a whole number, for example 50.")
            zone = given.get("zone", "").strip() or "UTC"
            cron, after = crontab(at) if at else None, int(count) if count else None
            quiet = quiet_hours(given.get("quiet", ""))
            await self._schedule(interaction, int(number), cron, after, zone, quiet)
        except InvalidInput as error:
            await self._show(interaction, SCHEDULE, int(number), str(error))

    async def _schedule(
        self,
        interaction: Interaction,
        number: int,
        cron: str | None,
        count: int | None,
        zone: str,
        quiet: str | None = None,
    ) -> None:
        actor = self.actor(interaction)
        classifier = await self.services.setup.choose(actor, number)
        await self.services.training.schedule(actor, classifier, cron, count, zone, quiet)
        await self._go_on(interaction, SCHEDULE, number)

    # The greeting

    @commands.Cog.listener()
    async def on_guild_join(self, guild: discord.Guild) -> None:
        """Also comes again for a server that was away; it is greeted once."""
        if not await self.services.setup.greet(str(guild.id)):
            return
        number = self.bot.command_ids.get("setup")
        card = greeting_card(f"</setup:{number}>" if number else "`/setup`")
        for channel in places(guild):
            try:
                await channel.send(**as_message(card))
            except discord.HTTPException as error:
                log.info("guild.not_greeted_there", extra={"guild": guild.id, "code": error.code})
            else:
                log.info("guild.greeted", extra={"guild": guild.id})
                return
        log.warning("guild.not_greeted", extra={"guild": guild.id})


def ids_of(guild: discord.Guild | None) -> set[str]:
    """Of a server's roles and channels, as far as the bot knows them."""
    return set() if guild is None else {str(each.id) for each in (*guild.roles, *guild.channels)}


def places(guild: discord.Guild) -> list[discord.TextChannel]:
    """Where a greeting may go: the system channel, then the text channels from the top, as far as the bot may write."""
    first = [guild.system_channel] if guild.system_channel else []
    others = [channel for channel in guild.text_channels if channel not in first]
    return [channel for channel in (*first, *others) if may_write(guild, str(channel.id))]


def may_write(guild: discord.Guild | None, channel_id: str) -> bool:
    """Whether the bot may write in a channel, as far as it knows."""
    channel = guild.get_channel(int(channel_id)) if guild is not None else None
    if channel is None or guild is None or guild.me is None:
        return True
    allowed = channel.permissions_for(guild.me)
    return allowed.view_channel and allowed.send_messages
