"""`pupil run`: one process from the first line to exit code 0. Opens the system, the port and the chat, then waits.

Without a token the chat is the playground, on the same port as the page and the API; with one it is Discord.
"""

from __future__ import annotations

import asyncio
import errno
import gc
import json
import logging
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from bot.api_client import NOTICE
from bot.app import System, open_system
from bot.chat.client import PupilBot, connect_to, run_bot
from bot.inference.memory import share_arenas
from bot.playground.server import Playground
from bot.scheduling import timers
from bot.services.serving import WARMED
from bot.web.api import add_api
from storage.errors import ConfigurationError, PupilError
from storage.files import write_whole
from storage.logs import set_up_logging
from storage.settings import Settings, is_loopback

log = logging.getLogger(__name__)

LOOPBACK = "127.0.0.1"
IDLE = 30.0
"""Seconds a connection may wait for its next request; aiohttp's default is an hour."""


def run(settings: Settings) -> int:
    """Runs until SIGINT or SIGTERM; returns the exit code.

    Raises:
        PupilError: it could not start, or the chat ended and cannot be taken up again; one sentence.
    """
    secrets = [secret.get_secret_value() for secret in (settings.token, settings.api_key) if secret is not None]
    set_up_logging(settings.log_level, secrets)
    share_arenas()
    asyncio.run(_run(settings))
    return 0


async def _run(settings: Settings) -> None:
    stop = asyncio.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    async with open_system(settings) as system:
        playground = None
        if settings.token is None and settings.playground_url is None:
            playground = Playground(settings.space / "playground.db")
        async with open_port(settings, system, playground) as url:
            if playground is not None:
                playground.bind(url)
            services = system.services
            ticks = (services.training.tick, services.morning.tick, services.privacy.tick, services.retention.tick)
            async with timers(*ticks):
                await _chat(settings, system, playground, url, stop)


async def _chat(
    settings: Settings, system: System, playground: Playground | None, url: str, stop: asyncio.Event
) -> None:
    """Connects to Discord, or to the playground here or elsewhere, and stays until `stop`."""
    token = "playground" if settings.token is None else settings.token.get_secret_value()
    if playground is not None:
        connect_to(playground.api_url, playground.gateway_url)
    elif settings.playground_url is not None and settings.token is None:
        base = settings.playground_url.rstrip("/")
        connect_to(f"{base}/api/v10", f"ws{base.removeprefix('http')}/gateway/")
    bot = PupilBot(
        system.services,
        settings,
        get_state=system.stores.database.get_state,
        set_state=system.stores.database.set_state,
        # Discord sends many guilds one by one, the playground its only one.
        guild_ready_timeout=2.0 if settings.token else 0.05,
    )
    greeting = asyncio.create_task(_greet(bot, system, url, settings.base), name="ready line")
    try:
        await run_bot(bot, token, stop)
    except PupilError:
        raise
    except Exception as error:
        log.exception("discord.ended")
        raise PupilError(
            f"The connection to Discord ended and cannot be taken up again ({type(error).__name__}). Start Pupil again."
        ) from error
    finally:
        greeting.cancel()
        with suppress(asyncio.CancelledError):
            await greeting


async def _greet(bot: PupilBot, system: System, url: str, base: str) -> None:
    """The one line on stdout, once a person can use it; then the models are brought into memory, and the base of new
    classifiers is fetched, so that the very first one answers as soon as it has labels."""
    await bot.wait_until_ready()
    print(f"Pupil is ready: {url}/", flush=True)
    await system.serving.warm(await system.stores.classifiers.last_asked(WARMED))
    await system.serving.fetch_base(base)
    # What is here now stays: the collector need not walk it again and again (a full collection stalls for 0.4 s).
    gc.freeze()


@asynccontextmanager
async def open_port(settings: Settings, system: System, playground: Playground | None) -> AsyncIterator[str]:
    """The page, the API and the playground's wire on one port; yields the address for those on this machine.

    Raises:
        ConfigurationError: the port is in use or may not be opened.
    """
    app = web.Application(client_max_size=16 << 20)
    add_api(app, system.services, settings)
    if playground is not None:
        playground.add_routes(app)
    log.addFilter(is_ours)
    runner = web.AppRunner(app, access_log=None, logger=log, keepalive_timeout=IDLE, shutdown_timeout=2.0)
    await runner.setup()
    try:
        first, *others = hosts(settings.host)
        try:
            await web.TCPSite(runner, first, settings.port).start()
            port = runner.addresses[0][1]
            for host in others:
                await web.TCPSite(runner, host, port).start()
        except OSError as error:
            raise ConfigurationError(_port_trouble(settings, error)) from None
        here = first if is_loopback(first) else LOOPBACK
        url = f"http://{f'[{here}]' if ':' in here else here}:{port}"
        notice = settings.space / NOTICE
        write_whole(notice, json.dumps({"url": url, "pid": os.getpid()}).encode(), mode=0o600)
        try:
            yield url
        finally:
            notice.unlink(missing_ok=True)
    finally:
        await runner.cleanup()


def hosts(host: str) -> tuple[str, ...]:
    """Where to listen: on `host`, and where that cannot be reached by 127.0.0.1, there too.

    The bot's own connection to the playground, the page and the command line come from this machine.
    """
    everywhere = "0.0.0.0"  # noqa: S104 - only compared; `::` is IPv6 alone
    return (host,) if is_loopback(host) or host == everywhere else (host, LOOPBACK)


def is_ours(record: logging.LogRecord) -> bool:
    """Whether the server's record is about our own doing: aiohttp's parser quotes what a stranger has sent."""
    return record.exc_info is None or not isinstance(record.exc_info[1], HttpProcessingError)


def _port_trouble(settings: Settings, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"Port {settings.port} is in use by another program. Choose another with PUPIL_PORT (or --port), "
            "0 for any free one."
        )
    return f"Port {settings.port} on {settings.host} cannot be opened: {error.strerror or error}."
