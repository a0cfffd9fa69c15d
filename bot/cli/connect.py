"""Where a command's answers come from: the bot that runs on the data directory, else its services opened here.

Either way the command talks to `bot.web.api` over HTTP, so there is one behaviour and one set of checks. Opened here,
the API listens on a loopback port of its own for as long as the command runs.
"""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from aiohttp import web

from bot.api_client import NOTICE, ApiClient
from bot.web.api import add_api
from storage.errors import StorageError
from storage.settings import Settings

if TYPE_CHECKING:
    from bot.services.system import Services


@asynccontextmanager
async def connect(settings: Settings, guild: str | None = None) -> AsyncIterator[ApiClient]:
    """An API that answers.

    Raises:
        InstanceLocked: another process owns the data directory but does not answer.
        StorageError, ConfigurationError: the data directory cannot be opened.
    """
    url = await find_running(settings)
    if url is not None:
        async with ApiClient(url, guild=guild) as api:
            yield api
        return
    _make_space(settings)
    # The services bring NumPy, the inference runtime and the database: only where they are needed.
    from bot.app import open_services

    async with (
        open_services(settings) as services,
        _serve_here(services, settings) as here,
        ApiClient(here, guild=guild) as api,
    ):
        yield api


async def find_running(settings: Settings) -> str | None:
    """The address on this machine, which needs no key, of the bot that runs on this data directory and answers; None:
    there is none."""
    notice = read_notice(settings.space)
    if notice is None or not _is_alive(notice[1]):
        return None
    async with ApiClient(notice[0]) as api:
        # A pid that was given to another process, and a port to another bot, must not be taken for this one.
        return notice[0] if await api.alive_as() == notice[1] else None


def read_notice(space: Path) -> tuple[str, int] | None:
    """(url, pid) of the bot that last said it runs here; it may be gone."""
    try:
        notice = json.loads((space / NOTICE).read_text(encoding="utf-8"))
        return str(notice["url"]), int(notice["pid"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


@asynccontextmanager
async def _serve_here(services: Services, settings: Settings) -> AsyncIterator[str]:
    app = web.Application()
    add_api(app, services, settings)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def _make_space(settings: Settings) -> None:
    try:
        settings.space.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        why = error.strerror or str(error)
        raise StorageError(
            f"The data directory {settings.data} cannot be used ({why}). Choose one with --data DIR."
        ) from None


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # it is there, and somebody else's
        return True
    return pid > 0
