"""The bot as Discord sees it: one discord.py client, its commands, its buttons, its life from login to shutdown.

It talks to the services and to Discord and to nothing else. The same client runs against Discord and against the
playground (`connect_to`).
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import aiohttp
import discord
import yarl
from discord import app_commands
from discord.ext import commands

from bot.chat.buttons import Router
from bot.chat.cards import Card
from bot.chat.cogs import COGS
from bot.chat.errors import RESTARTING, answer_error
from bot.chat.people import operators_of
from bot.chat.progress import ProgressBoard
from bot.chat.sending import as_message
from bot.services.system import Services
from storage.errors import ConfigurationError
from storage.settings import Settings

log = logging.getLogger(__name__)

GetState = Callable[[str], Awaitable[str | None]]
SetState = Callable[[str, str], Awaitable[None]]

COMMANDS_KEY = "chat.commands"
GRACE = 10.0
"""Seconds that running handlers get to finish at shutdown."""
PRESSED = frozenset({discord.InteractionType.component, discord.InteractionType.modal_submit})
UNREACHABLE = (OSError, aiohttp.ClientError, asyncio.TimeoutError, discord.DiscordServerError)


def connect_to(api_url: str, gateway_url: str) -> None:
    """Points discord.py at another server than Discord, for the whole process. Used for the playground."""
    discord.http.Route.BASE = api_url.rstrip("/")
    discord.gateway.DiscordWebSocket.DEFAULT_GATEWAY = yarl.URL(gateway_url)


class PupilTree(app_commands.CommandTree["PupilBot"]):
    """Every command and autocomplete passes here."""

    async def interaction_check(self, interaction: discord.Interaction[PupilBot], /) -> bool:
        self.client.count_in()
        if not self.client.stopping or interaction.type is discord.InteractionType.autocomplete:
            return True
        await interaction.response.send_message(**as_message(Card(RESTARTING)), ephemeral=True)
        return False

    async def on_error(
        self, interaction: discord.Interaction[PupilBot], error: app_commands.AppCommandError, /
    ) -> None:
        await answer_error(interaction, error)


class PupilBot(commands.Bot):
    """Constructed with the services; `run_bot` gives it its life."""

    def __init__(
        self,
        services: Services,
        settings: Settings,
        *,
        get_state: GetState,
        set_state: SetState,
        guild_ready_timeout: float = 2.0,
    ) -> None:
        """`get_state` and `set_state` keep one small value per key over restarts: which commands Discord knows.

        `guild_ready_timeout`: seconds discord.py waits for further guilds after logging in.
        """
        super().__init__(
            commands.when_mentioned,  # there are no prefix commands; discord.py wants a prefix
            tree_cls=PupilTree,
            help_command=None,
            intents=discord.Intents(guilds=True),
            allowed_mentions=discord.AllowedMentions.none(),
            allowed_contexts=app_commands.AppCommandContext(guild=True, dm_channel=False, private_channel=False),
            allowed_installs=app_commands.AppInstallationType(guild=True, user=False),
            member_cache_flags=discord.MemberCacheFlags.none(),
            chunk_guilds_at_startup=False,
            max_messages=None,
            guild_ready_timeout=guild_ready_timeout,
        )
        self.services = services
        self.settings = settings
        self.stopping = False
        self.router = Router()
        self.board = ProgressBoard(self, services.training, settings.progress_interval)
        self.command_ids: dict[str, int] = {}
        """Ids of the top-level commands, for clickable mentions."""
        self._recall = get_state
        self._remember = set_state
        self._running: set[asyncio.Task[Any]] = set()

    @property
    def operators(self) -> frozenset[str]:
        return operators_of(self.settings.operator_ids, self.application)

    async def setup_hook(self) -> None:
        if not self.cogs:  # where Discord fails below, it is logged into once more
            for kind in COGS:
                cog = kind(self)
                await self.add_cog(cog)
                self.router.add(cog)
        await self._sync_commands()
        self.board.start()

    async def on_ready(self) -> None:
        # Comes again after each new session, so nothing hangs on it.
        log.info("discord.ready", extra={"guilds": len(self.guilds)})

    async def on_interaction(self, interaction: discord.Interaction[PupilBot]) -> None:
        """Buttons, menus and forms. Commands go through the tree."""
        if interaction.type not in PRESSED:
            return
        self.count_in()
        if self.stopping:
            await interaction.response.send_message(**as_message(Card(RESTARTING)), ephemeral=True)
        else:
            await self.router.route(interaction)

    def count_in(self) -> None:
        """Remembers the current task as a running handler, so that a shutdown waits for it."""
        if (task := asyncio.current_task()) is not None:
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def finish(self, seconds: float) -> None:
        """New interactions are answered "restarting"; waits until the running ones are done, at most so long."""
        self.stopping = True
        if self._running:
            await asyncio.wait(set(self._running), timeout=seconds)

    async def close(self) -> None:
        await self.board.close()
        await super().close()

    # Commands are sent to Discord only when they have changed

    async def _sync_commands(self) -> None:
        guild = discord.Object(int(self.settings.development_guild)) if self.settings.development_guild else None
        if guild is not None:
            self.tree.copy_global_to(guild=guild)
        payload = [command.to_dict(self.tree) for command in self.tree.get_commands(guild=guild)]
        described = json.dumps([self.application_id, guild and guild.id, payload], sort_keys=True)
        fingerprint = hashlib.sha256(described.encode()).hexdigest()
        try:
            known = await self._known_commands(guild) if await self._recall(COMMANDS_KEY) == fingerprint else {}
            if known.keys() != {command["name"] for command in payload}:
                known = {command.name: command.id for command in await self.tree.sync(guild=guild)}
                await self._remember(COMMANDS_KEY, fingerprint)
                log.info("commands.synced", extra={"count": len(known)})
        except discord.Forbidden:
            raise ConfigurationError(
                f"The bot may not create commands in the server {guild.id if guild else ''}. Invite it again with the "
                "scope applications.commands (README, Running on Discord)."
            ) from None
        self.command_ids = known

    async def _known_commands(self, guild: discord.Object | None) -> dict[str, int]:
        """What Discord has now: somebody may have deleted commands, or the playground forgotten them."""
        return {command.name: command.id for command in await self.tree.fetch_commands(guild=guild)}


async def run_bot(bot: PupilBot, token: str, stop: asyncio.Event, *, grace: float = GRACE) -> None:
    """Logs in and answers until `stop` is set; then running handlers finish, at most `grace` seconds.

    A Discord that cannot be reached is tried again, ever more slowly. Returns after a clean shutdown.

    Raises:
        ConfigurationError: Discord refused the token, or the bot may not create commands.
        discord.DiscordException, or another error of the connection: it ended and cannot be taken up again.
    """
    async with bot:
        life = asyncio.create_task(_live(bot, token), name="discord")
        stopped = asyncio.create_task(stop.wait(), name="discord-stop")
        try:
            await asyncio.wait({life, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if life.done():
                life.result()
                return
            await bot.finish(grace)
            await bot.close()
        finally:
            for task in (life, stopped):
                task.cancel()
            await asyncio.gather(life, stopped, return_exceptions=True)
    log.info("discord.closed")


async def _live(bot: PupilBot, token: str) -> None:
    await _log_in(bot, token)
    for pause in _pauses():
        try:
            await bot.connect()
            return
        except AttributeError:
            # discord.py 2.7.1 wants to resume a session it never had when the very first connection fails.
            if bot.ws is not None:
                raise
            log.warning("discord.unreachable", extra={"part": "gateway", "next_try_in": pause})
            await asyncio.sleep(pause)


async def _log_in(bot: PupilBot, token: str) -> None:
    for pause in _pauses():
        try:
            await bot.login(token)
            return
        except discord.LoginFailure:
            raise ConfigurationError(
                "Discord refused the token. Copy it again from your application's page (Bot, Reset Token) at "
                "https://discord.com/developers/applications and set DISCORD_TOKEN."
            ) from None
        except UNREACHABLE as error:
            log.warning("discord.unreachable", extra={"error": type(error).__name__, "next_try_in": pause})
        # A second login makes a new session, so the first one is closed with its connections.
        await bot.http.close()
        bot.http.connector = discord.utils.MISSING
        await asyncio.sleep(pause)


def _pauses() -> Iterator[float]:
    """Seconds between tries: 1, 2, 4 ... 60, 60 for ever."""
    pause = 1.0
    while True:
        yield pause
        pause = min(60.0, pause * 2)
