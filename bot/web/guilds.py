"""Which server (guild) a request is about. A program may leave it out while there is only one choice."""

from __future__ import annotations

import re

from bot.playground.objects import GUILD_ID as PLAYGROUND
from bot.services.system import Services
from storage.errors import InvalidInput
from storage.settings import Settings

_ID = re.compile(r"[0-9]{1,20}")
"""A Discord snowflake: a 64-bit number in decimal."""


async def which_guild(asked: str | None, services: Services, settings: Settings) -> str:
    """The guild asked for, else the only one with classifiers, else the playground's.

    On Discord the playground's guild is only the first lesson's, and meant by nobody who does not name it.

    Raises:
        InvalidInput: not an id; or nothing was asked for and there are several (the message lists them) or none.
    """
    if asked is not None:
        if not _ID.fullmatch(asked):
            raise InvalidInput("`guild` must be the number of a Discord server.")
        return asked
    on_discord = settings.token is not None
    guilds = [guild for guild in await services.classifiers.guilds() if not (on_discord and guild == PLAYGROUND)]
    if len(guilds) == 1:
        return guilds[0]
    if guilds:
        raise InvalidInput(f"Which server? {', '.join(guilds)} have classifiers. Name one as `guild`.")
    if not on_discord:
        return PLAYGROUND
    raise InvalidInput("No server has a classifier yet. Name the server as `guild`.")
