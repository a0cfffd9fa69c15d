"""Frames that wait to be sent on one websocket. Knows nothing of what they say."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from types import TracebackType

from aiohttp import web

log = logging.getLogger(__name__)

Frame = str | bytes
CLOSE_WAIT = 1.0
"""Seconds that the end of a connection waits for the other side to say goodbye."""


class Outbox:
    """Sends frames in order from a task of its own, so that whoever puts one never waits for a slow reader.

    `async with` starts and ends the task. The queue has no bound: a reader that stops reading also stops answering
    heartbeats, and whoever owns the socket ends it for that.
    """

    def __init__(self, socket: web.WebSocketResponse, encode: Callable[[str], Frame] = lambda text: text) -> None:
        """`encode` turns a frame's text into what is sent; it is called in the order of sending."""
        self._socket = socket
        self._encode = encode
        self._frames: asyncio.Queue[str] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None

    def put(self, text: str) -> None:
        self._frames.put_nowait(text)

    async def __aenter__(self) -> Outbox:
        self._task = asyncio.create_task(self._send_all())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _send_all(self) -> None:
        try:
            while True:
                await self._send(self._encode(await self._frames.get()))
        except (ConnectionError, RuntimeError) as error:  # the reader went away; whoever reads the socket notices too
            log.debug("websocket.lost", extra={"reason": str(error)})

    async def _send(self, frame: Frame) -> None:
        if isinstance(frame, bytes):
            await self._socket.send_bytes(frame)
        else:
            await self._socket.send_str(frame)
