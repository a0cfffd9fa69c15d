"""Sessions and connections of the gateway, and the frames they exchange. Knows no operations: gateway.py does."""

from __future__ import annotations

import json
import zlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from bot.playground.outbox import Frame, Outbox
from bot.playground.wire import Intent, Json, Op

_REPLAY = 1000
"""Events that a session can be told again at a RESUME."""


@dataclass
class Session:
    """What a client that identified may resume: its events, numbered from 1."""

    id: str
    intents: Intent
    sequence: int = 0
    events: deque[tuple[int, str]] = field(default_factory=lambda: deque(maxlen=_REPLAY))
    connection: Connection | None = None
    left_at: float = 0.0

    def send(self, kind: str, data: Json) -> None:
        """Sends now, and keeps the event for a RESUME."""
        self.sequence += 1
        text = frame(Op.DISPATCH, data, kind, self.sequence)
        self.events.append((self.sequence, text))
        if self.connection:
            self.connection.outbox.put(text)

    def can_resume(self, seen: int) -> bool:
        """True when no event after number `seen` has been forgotten."""
        oldest = self.events[0][0] if self.events else self.sequence + 1
        return oldest - 1 <= seen <= self.sequence

    def replay(self, seen: int) -> None:
        for sequence, text in self.events:
            if sequence > seen and self.connection:
                self.connection.outbox.put(text)


@dataclass(eq=False)
class Connection:
    """One websocket; it has a session once it identified or resumed."""

    socket: web.WebSocketResponse
    outbox: Outbox
    session: Session | None = None
    said_goodbye: bool = False
    """The client itself closed it and will not resume."""


def frame(op: Op, data: Any, kind: str | None = None, sequence: int | None = None) -> str:
    """The text of one frame; `kind` and `sequence` for dispatches alone."""
    return json.dumps({"op": int(op), "d": data, "t": kind, "s": sequence})


def encoder(compress: str | None) -> Callable[[str], Frame]:
    """zlib-stream: one compression context a connection, flushed after each frame. Otherwise plain text frames."""
    if compress != "zlib-stream":
        return lambda text: text
    stream = zlib.compressobj()
    return lambda text: stream.compress(text.encode()) + stream.flush(zlib.Z_SYNC_FLUSH)
