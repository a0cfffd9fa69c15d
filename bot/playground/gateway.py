"""The gateway: the websocket over which the bot hears what happens.

HELLO, IDENTIFY, READY, GUILD_CREATE, heartbeats, RESUME with replay, zlib-stream. Sessions live in memory: after a
restart of the playground a RESUME is refused and the client identifies anew. No sharding, no rate limit on IDENTIFY.
Source: Discord's documentation, "Gateway" and "Opcodes and Status Codes".
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import time
from typing import Any

from aiohttp import WSMessage, WSMsgType, web

from bot.playground import objects
from bot.playground.objects import APPLICATION_ID, BOT, GUILD_ID, USERS
from bot.playground.outbox import CLOSE_WAIT, Outbox
from bot.playground.sessions import Connection, Session, encoder, frame
from bot.playground.wire import CloseCode, Intent, Json, Op
from bot.playground.world import Event, World

log = logging.getLogger(__name__)

_GOODBYE = (1000, 1001)
"""Close codes with which a client ends its session; with any other it may resume."""


class Gateway:
    """All connections of the bot. For one event loop."""

    def __init__(self, world: World, token: str, *, heartbeat: float = 41.25, session_life: float = 60.0) -> None:
        """`heartbeat`: seconds between heartbeats; `session_life`: seconds in which a lost connection may resume."""
        self.url = ""
        self._world = world
        self._token = token
        self._heartbeat = heartbeat
        self._session_life = session_life
        self._sessions: dict[str, Session] = {}
        self._connections: set[Connection] = set()
        self._stop_listening = world.listen(self._hear)

    @property
    def online(self) -> bool:
        return any(session.connection for session in self._sessions.values())

    async def close(self) -> None:
        """Ends all connections; safe to call twice."""
        self._stop_listening()
        await self.drop(1001)

    # --- what tests do to a connection ---

    async def drop(self, code: int = 4000) -> None:
        """Ends every connection with that close code; sessions can resume."""
        await asyncio.gather(*(one.socket.close(code=code) for one in list(self._connections)))

    def ask_to_reconnect(self) -> None:
        """Op 7."""
        self._tell_all(Op.RECONNECT, None)

    def invalidate(self) -> None:
        """Op 9: every session is forgotten."""
        self._sessions.clear()
        for connection in self._connections:
            connection.session = None
        self._tell_all(Op.INVALID_SESSION, False)

    def join(self, guild: Json | None = None) -> None:
        """GUILD_CREATE as for a server that the bot has just joined: unlike after READY it says nothing of outages."""
        joined = guild or objects.guild_create_object()
        self.dispatch("GUILD_CREATE", {key: value for key, value in joined.items() if key != "unavailable"})

    def _tell_all(self, op: Op, data: Any) -> None:
        for connection in self._connections:
            connection.outbox.put(frame(op, data))

    # --- what happens, to the bot ---

    def dispatch(self, kind: str, data: Json) -> None:
        """Sends an event to every session; one whose connection is lost is told at its RESUME."""
        self._forget_old_sessions()
        for session in self._sessions.values():
            session.send(kind, data)

    def _hear(self, event: Event) -> None:
        """Passes on what Discord would tell a bot: never ephemeral messages, contents only with the intent."""
        if event.only_for or not event.type.startswith("MESSAGE_"):
            return
        for session in self._sessions.values():
            if session.intents & Intent.GUILD_MESSAGES:
                session.send(event.type, _without_content(event.data, session.intents))

    def _forget_old_sessions(self) -> None:
        limit = time.monotonic() - self._session_life
        for session in list(self._sessions.values()):
            if session.connection is None and session.left_at < limit:
                del self._sessions[session.id]

    # --- a connection ---

    async def handle(self, request: web.Request) -> web.WebSocketResponse:
        """GET /gateway/?v=10&encoding=json[&compress=zlib-stream]."""
        socket = web.WebSocketResponse(timeout=CLOSE_WAIT, max_msg_size=1 << 20)
        await socket.prepare(request)
        async with Outbox(socket, encoder(request.query.get("compress"))) as outbox:
            connection = Connection(socket, outbox)
            self._connections.add(connection)
            try:
                outbox.put(frame(Op.HELLO, {"heartbeat_interval": round(self._heartbeat * 1000)}))
                await self._read(connection)
            finally:
                self._connections.discard(connection)
                self._leave(connection)
        return socket

    async def _read(self, connection: Connection) -> None:
        while not connection.socket.closed:
            try:
                message = await connection.socket.receive(timeout=2 * self._heartbeat)
            except TimeoutError:
                await connection.socket.close(code=CloseCode.SESSION_TIMED_OUT)
                return
            if message.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
                connection.said_goodbye = message.type == WSMsgType.CLOSE and message.data in _GOODBYE
                return
            code = self._take(connection, message)
            if code is not None:
                await connection.socket.close(code=code)

    def _take(self, connection: Connection, message: WSMessage) -> CloseCode | None:
        """Handles one frame; the close code when the connection must end."""
        try:
            sent = json.loads(message.data)
            op, data = Op(sent["op"]), sent.get("d")
        except (ValueError, KeyError, TypeError) as error:
            return CloseCode.UNKNOWN_OP if "is not a valid Op" in str(error) else CloseCode.UNDECODABLE
        if op in (Op.IDENTIFY, Op.RESUME) and not isinstance(data, dict):
            return CloseCode.UNDECODABLE
        match op:
            case Op.HEARTBEAT:
                connection.outbox.put(frame(Op.HEARTBEAT_ACK, None))
                return None
            case Op.IDENTIFY:
                return self._identify(connection, data)
            case Op.RESUME:
                return self._resume(connection, data)
            case Op.REQUEST_GUILD_MEMBERS | Op.PRESENCE_UPDATE | Op.VOICE_STATE_UPDATE:
                if connection.session is None:
                    return CloseCode.NOT_AUTHENTICATED
                if op == Op.REQUEST_GUILD_MEMBERS:
                    connection.session.send("GUILD_MEMBERS_CHUNK", _members_chunk(data))
                return None
        return CloseCode.UNKNOWN_OP

    def _identify(self, connection: Connection, data: Json) -> CloseCode | None:
        if connection.session is not None:
            return CloseCode.ALREADY_AUTHENTICATED
        if not self._knows(data.get("token")):
            return CloseCode.AUTHENTICATION_FAILED
        session = Session(secrets.token_hex(16), Intent(int(data.get("intents") or 0)))
        self._sessions[session.id] = session
        self._join(connection, session)
        session.send("READY", self._ready(session, data))
        if session.intents & Intent.GUILDS:
            session.send("GUILD_CREATE", objects.guild_create_object())
        log.info("gateway.identified", extra={"session": session.id})
        return None

    def _resume(self, connection: Connection, data: Json) -> CloseCode | None:
        if not self._knows(data.get("token")):
            return CloseCode.AUTHENTICATION_FAILED
        session = self._sessions.get(str(data.get("session_id")))
        seen = int(data.get("seq") or 0)
        if session is None or not session.can_resume(seen):
            connection.outbox.put(frame(Op.INVALID_SESSION, False))
            return None
        self._join(connection, session)
        session.replay(seen)
        session.send("RESUMED", {})
        log.info("gateway.resumed", extra={"session": session.id, "from_sequence": seen})
        return None

    def _ready(self, session: Session, identify: Json) -> Json:
        return {
            "v": 10,
            "user": objects.own_user_object(BOT),
            "guilds": [{"id": GUILD_ID, "unavailable": True}],
            "session_id": session.id,
            "resume_gateway_url": self.url,
            "session_type": "normal",
            "shard": identify.get("shard") or [0, 1],
            "application": {"id": APPLICATION_ID, "flags": 0},
            "user_settings": {},
            "relationships": [],
            "private_channels": [],
            "presences": [],
        }

    def _knows(self, token: Any) -> bool:
        return secrets.compare_digest(str(token or "").removeprefix("Bot ").encode(), self._token.encode())

    def _join(self, connection: Connection, session: Session) -> None:
        session.connection = connection
        connection.session = session
        self._world.tell(Event("BOT", {"online": True}))

    def _leave(self, connection: Connection) -> None:
        session = connection.session
        if session is None or session.connection is not connection:
            return
        session.connection = None
        session.left_at = time.monotonic()
        if connection.said_goodbye:
            self._sessions.pop(session.id, None)
        self._world.tell(Event("BOT", {"online": self.online}))


def _without_content(message: Json, intents: Intent) -> Json:
    """Without the privileged intent a bot sees what people write only where it is mentioned, and its own messages."""
    if intents & Intent.MESSAGE_CONTENT or "author" not in message or message["author"]["id"] == BOT.id:
        return message
    if any(user["id"] == BOT.id for user in message["mentions"]):
        return message
    return message | {"content": "", "embeds": [], "attachments": [], "components": []}


def _members_chunk(data: Json) -> Json:
    wanted = data.get("user_ids") or []
    asked = {str(one) for one in (wanted if isinstance(wanted, list) else [wanted])}
    prefix = str(data.get("query") or "")
    members = [
        objects.member_object(user)
        for user in USERS.values()
        if (user.id in asked if asked else user.username.startswith(prefix))
    ]
    chunk: Json = {"guild_id": GUILD_ID, "members": members, "chunk_index": 0, "chunk_count": 1, "not_found": []}
    return chunk | ({"nonce": data["nonce"]} if data.get("nonce") else {})
