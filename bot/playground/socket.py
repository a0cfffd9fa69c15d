"""The page's socket: operations of the person in the browser, events of the playground. JSON text frames.

In:  {"op": ..., "n": 1, ...}                 Out: {"op": "reply", "n": 1, "ok": true, "data": ...}
                                                   {"op": "reply", "n": 1, "ok": false, "error": "one sentence"}
                                                   {"op": "event", "type": ..., "data": ...}
Objects are in Discord's own JSON form. A socket sees the ephemeral messages of the person it acts as, nobody else's.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import WSMsgType, web

from bot.playground import objects
from bot.playground.actions import Actions, find_user
from bot.playground.interaction import Interaction
from bot.playground.objects import BOT, CHANNELS, PEOPLE, User
from bot.playground.outbox import CLOSE_WAIT, Outbox
from bot.playground.wire import Json
from bot.playground.world import DID_NOT_RESPOND, Event
from storage.errors import InvalidInput, UserError

log = logging.getLogger(__name__)

_HEARTBEAT = 20.0
"""Seconds between pings, so that a browser that went away is noticed."""
_EVENT_NAMES = {
    "MESSAGE_CREATE": "message_create",
    "MESSAGE_UPDATE": "message_update",
    "MESSAGE_DELETE": "message_delete",
    "INTERACTION": "interaction",
    "MODAL": "modal",
    "BOT": "bot",
}


@dataclass(eq=False)
class Page:
    """One open page."""

    socket: web.WebSocketResponse
    outbox: Outbox
    user: User = PEOPLE[0]

    def send(self, **frame: Any) -> None:
        self.outbox.put(json.dumps(frame))


class PageSockets:
    """All open pages. For one event loop."""

    def __init__(self, actions: Actions, is_bot_online: Callable[[], bool]) -> None:
        self._actions = actions
        self._is_bot_online = is_bot_online
        self._pages: set[Page] = set()
        self._stop_listening = actions.world.listen(self._hear)
        self._operations: dict[str, Callable[[Page, Json], Awaitable[Any]]] = {
            "hello": self._hello,
            "act_as": self._act_as,
            "say": self._say,
            "command": self._command,
            "autocomplete": self._autocomplete,
            "menu": self._menu,
            "component": self._component,
            "modal_submit": self._modal_submit,
            "dismiss": self._dismiss,
            "history": self._history,
        }

    async def close(self) -> None:
        """Ends all connections; safe to call twice."""
        self._stop_listening()
        await asyncio.gather(*(page.socket.close(code=1001) for page in list(self._pages)))

    async def handle(self, request: web.Request) -> web.WebSocketResponse:
        """GET /playground/socket. The caller has checked Host and Origin."""
        socket = web.WebSocketResponse(timeout=CLOSE_WAIT, heartbeat=_HEARTBEAT, max_msg_size=1 << 20)
        await socket.prepare(request)
        async with Outbox(socket) as outbox, asyncio.TaskGroup() as running:
            page = Page(socket, outbox)
            self._pages.add(page)
            try:
                async for message in socket:
                    if message.type == WSMsgType.TEXT:  # a task, since an autocomplete may take its time
                        running.create_task(self._take(page, message.data))
            finally:
                self._pages.discard(page)
        return socket

    async def _take(self, page: Page, text: str) -> None:
        number: Any = None
        try:
            frame = _parse(text)
            number = frame.get("n")
            operation = self._operations.get(str(frame.get("op")))
            if operation is None:
                raise InvalidInput(f"There is no operation {frame.get('op')!r}.")
            data = await operation(page, frame)
        except UserError as error:
            page.send(op="reply", n=number, ok=False, error=str(error))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            log.warning("page.frame_refused", extra={"reason": repr(error)})
            page.send(op="reply", n=number, ok=False, error="The page sent something that cannot be understood.")
        else:
            page.send(op="reply", n=number, ok=True, data=data)

    # --- operations ---

    async def _hello(self, page: Page, frame: Json) -> Json:
        user, world = page.user, self._actions.world
        return {
            "me": _person(user),
            "users": [_person(one) for one in PEOPLE],
            "guild": {"id": objects.GUILD_ID, "name": objects.GUILD_NAME},
            "channels": [{"id": one.id, "name": one.name, "topic": one.topic} for one in CHANNELS.values()],
            "roles": [{"id": one.id, "name": one.name} for one in objects.ROLES.values()],
            "commands": self._actions.visible_commands(user),
            "bot": _person(BOT) | {"online": self._is_bot_online()},
            "messages": {channel_id: world.visible(channel_id, user.id) for channel_id in CHANNELS},
        }

    async def _act_as(self, page: Page, frame: Json) -> Json:
        page.user = find_user(frame["user_id"])
        return await self._hello(page, frame)

    async def _say(self, page: Page, frame: Json) -> Json:
        files = [str(one) for one in frame.get("attachments") or []]
        return {"message_id": self._actions.say(page.user, frame["channel_id"], str(frame["content"]), files).id}

    async def _command(self, page: Page, frame: Json) -> Json:
        options = frame.get("options") or []
        return _started(self._actions.command(page.user, frame["channel_id"], frame["command_id"], options))

    async def _autocomplete(self, page: Page, frame: Json) -> Json:
        asked = self._actions.autocomplete(page.user, frame["channel_id"], frame["command_id"], frame["options"])
        outcome = await asked.outcome(0)
        if outcome.kind == "failed":
            raise InvalidInput(f"{DID_NOT_RESPOND}.")
        return {"choices": list(outcome.choices)}

    async def _menu(self, page: Page, frame: Json) -> Json:
        return _started(self._actions.menu(page.user, frame["channel_id"], frame["command_id"], frame["target_id"]))

    async def _component(self, page: Page, frame: Json) -> Json:
        return _started(
            self._actions.component(page.user, frame["message_id"], frame["custom_id"], frame.get("values"))
        )

    async def _modal_submit(self, page: Page, frame: Json) -> Json:
        return _started(self._actions.submit(page.user, frame["modal_id"], frame.get("components") or []))

    async def _dismiss(self, page: Page, frame: Json) -> None:
        self._actions.dismiss(page.user, frame["message_id"])

    async def _history(self, page: Page, frame: Json) -> Json:
        channel_id = frame["channel_id"]
        if channel_id not in CHANNELS:
            raise InvalidInput("There is no such channel.")
        return {"messages": self._actions.world.visible(channel_id, page.user.id, frame.get("before"))}

    # --- events ---

    def _hear(self, event: Event) -> None:
        for page in self._pages:
            if event.only_for not in (None, page.user.id):
                continue
            if event.type == "COMMANDS":
                page.send(op="event", type="commands", data={"commands": self._actions.visible_commands(page.user)})
            elif event.type in _EVENT_NAMES:
                page.send(op="event", type=_EVENT_NAMES[event.type], data=_event_data(event))


def _event_data(event: Event) -> Json:
    return {"message": event.data} if event.type in ("MESSAGE_CREATE", "MESSAGE_UPDATE") else event.data


def _started(interaction: Interaction) -> Json:
    return {"interaction_id": interaction.id}


def _person(user: User) -> Json:
    return {
        "id": user.id,
        "username": user.username,
        "global_name": user.global_name,
        "colour": user.colour,
        "lead": user.is_lead,
    }


def _parse(text: str) -> Json:
    try:
        frame = json.loads(text)
    except (ValueError, RecursionError):
        raise InvalidInput("The page sent something that is no JSON.") from None
    if not isinstance(frame, dict):
        raise InvalidInput("The page sent something that is no operation.")
    return frame
