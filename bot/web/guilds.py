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

    Raises:
        InvalidInput: not an id; or nothing was asked for and there are several (the message lists them) or none.
    """
    if asked is not None:
        if not _ID.fullmatch(asked):
            raise InvalidInput("`guild` must be the number of a Discord server.")
        return asked
    guilds = await services.classifiers.guilds()
    if len(guilds) == 1:
        return guilds[0]
    if guilds:
        raise InvalidInput(f"Which server? {', '.join(guilds)} have classifiers. Name one as `guild`.")
    if settings.token is None:
        return PLAYGROUND
    raise InvalidInput("No server has a classifier yet. Name the server as `guild`.")
