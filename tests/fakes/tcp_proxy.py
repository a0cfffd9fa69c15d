"""A network between two programs that fails as told: for what happens to a connection, not for what is said on it.

    async with TcpProxy() as proxy:
        proxy.target = port          # where the real server listens now
        proxy.mode = Mode.BLACK_HOLE # from the next byte on

A changed mode holds at once for connections that are open, and for new ones.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from enum import StrEnum
from types import TracebackType
from typing import Self

CHUNK = 16 * 1024


class Mode(StrEnum):
    PASS = "pass"
    REFUSE = "refuse"
    """Nobody listens; what was open is cut. A host that is up, with the program down."""
    HALF_OPEN = "half-open"
    """Connections are accepted and never answered. A program that hangs."""
    BLACK_HOLE = "black hole"
    """Nothing comes through any more, and nobody is told: neither side gets an end or a reset. A pulled cable."""
    DELAY = "delay"
    """Everything arrives, `delay` seconds late."""
    CUT = "cut"
    """Every connection is cut once it has carried `cut_after` bytes to the client."""


class TcpProxy:
    """Listens on one port of 127.0.0.1 for as long as it lives, also while it refuses."""

    def __init__(self) -> None:
        self.port = 0
        self.target = 0
        self.delay = 0.05
        self.cut_after = CHUNK
        self.carried = 0
        """Bytes that went to clients since `trip` was set, or since the beginning."""
        self._mode = Mode.PASS
        self._trip: tuple[int, Mode] | None = None
        self._open = asyncio.Event()
        self._open.set()
        self._server: asyncio.Server | None = None
        self._lives: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Self:
        await self._listen()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.close()
        self._cut_all()
        for life in self._lives:
            life.cancel()
        await asyncio.gather(*self._lives, return_exceptions=True)

    @property
    def mode(self) -> Mode:
        return self._mode

    async def set(self, mode: Mode) -> None:
        self._trip = None
        self._switch(mode)
        if mode is not Mode.REFUSE and self._server is None:
            await self._listen()

    def trip_after(self, size: int, mode: Mode) -> None:
        """Change to `mode` by itself once `size` more bytes have gone to clients."""
        self.carried = 0
        self._trip = (size, mode)

    def _switch(self, mode: Mode) -> None:
        self._mode = mode
        if mode in {Mode.BLACK_HOLE, Mode.HALF_OPEN}:
            self._open.clear()
            return
        if not self._open.is_set():
            self._cut_all()  # what got lost in between cannot be made up for: the connection is over
        self._open.set()
        if mode is Mode.REFUSE:
            self._cut_all()
            if self._server is not None:
                self._server.close()
                self._server = None

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    def _cut_all(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        life = asyncio.current_task()
        assert life is not None
        self._lives.add(life)
        self._writers.add(writer)
        behind: asyncio.StreamWriter | None = None
        try:
            with suppress(OSError, asyncio.CancelledError):
                await self._open.wait()
                answers, behind = await asyncio.open_connection("127.0.0.1", self.target)
                self._writers.add(behind)
                both = [self._carry(reader, behind, False), self._carry(answers, writer, True)]
                tasks = [asyncio.ensure_future(one) for one in both]
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
        finally:
            self._lives.discard(life)
            for one in (writer, behind):
                if one is not None:
                    self._writers.discard(one)
                    one.transport.abort() if self._mode is Mode.REFUSE else one.close()

    async def _carry(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, to_client: bool) -> None:
        carried = 0
        while data := await source.read(CHUNK):
            if self._mode is Mode.DELAY:
                await asyncio.sleep(self.delay)
            if to_client:
                carried += len(data)
                self.carried += len(data)
                if self._trip is not None and self.carried > self._trip[0]:
                    (_, mode), self._trip = self._trip, None
                    self._switch(mode)
            await self._open.wait()
            if self._mode is Mode.CUT and to_client and carried > self.cut_after:
                sink.write(data[: len(data) // 2])
                await sink.drain()
                sink.transport.abort()
                return
            sink.write(data)
            await sink.drain()
        sink.close()
