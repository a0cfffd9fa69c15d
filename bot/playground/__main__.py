"""`python -m bot.playground --port N --state FILE`: the playground alone, for a bot in a process of its own."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path
from typing import get_args

import click
from aiohttp import web

from bot.playground.server import Playground
from storage.errors import ConfigurationError, PupilError
from storage.logs import Level, set_up_logging

HOST = "127.0.0.1"


@click.command()
@click.option("--port", type=click.IntRange(0, 65535), default=8731, show_default=True, help="0: any free port.")
@click.option("--state", type=click.Path(path_type=Path), help="File that keeps messages and commands over restarts.")
@click.option("--deadline", type=float, default=3.0, show_default=True, help="Seconds for a first reply.")
@click.option(
    "--log-level", type=click.Choice(get_args(Level), case_sensitive=False), default="WARNING", show_default=True
)
def main(port: int, state: Path | None, deadline: float, log_level: str) -> None:
    """A local stand-in for Discord, with a page for people."""
    set_up_logging(log_level)
    try:
        asyncio.run(serve(port, state, deadline))
    except PupilError as error:
        sys.exit(f"{error}")


async def serve(port: int, state: Path | None, deadline: float) -> None:
    """Serves on loopback until SIGINT or SIGTERM.

    Raises:
        ConfigurationError: the port is taken.
        InstanceLocked, DamagedFile: the state file is in use, or cannot be read.
    """
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    playground = Playground(state, deadline=deadline)
    app = web.Application()
    playground.add_routes(app)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=2.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, HOST, port).start()
        playground.bind(f"http://{HOST}:{runner.addresses[0][1]}")
        print(f"The playground is ready: {playground.base_url}/", flush=True)
        await stop.wait()
    except OSError as error:
        raise ConfigurationError(f"Port {port} cannot be used: {error.strerror}. Choose another with --port.") from None
    finally:
        await runner.cleanup()


if __name__ == "__main__":
    main()
