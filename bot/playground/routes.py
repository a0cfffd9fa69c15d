"""The routes of Discord's API that a bot like Pupil uses, in one table, each with the few lines that answer it.

Knows the other parts' methods, none of their rules; no HTTP: rest.py reads requests and writes answers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from bot.playground import objects
from bot.playground.commands import Commands
from bot.playground.form import refuse
from bot.playground.limits import check_message
from bot.playground.objects import APPLICATION_ID, BOT, CHANNELS, GUILD_ID, USERS
from bot.playground.replies import Replies
from bot.playground.store import StoredFile
from bot.playground.wire import ApiError, Json, unknown
from bot.playground.world import World


@dataclass
class Parts:
    """What the routes answer from."""

    world: World
    commands: Commands
    replies: Replies
    gateway_url: Callable[[], str]


@dataclass
class Call:
    """One request, parsed."""

    names: dict[str, str]
    query: Mapping[str, str]
    body: Any = None
    files: list[StoredFile] = field(default_factory=list)

    def __getitem__(self, name: str) -> str:
        return self.names[name]

    @property
    def form(self) -> Json:
        """The body as an object; raises ApiError 50035 when it is none."""
        if not isinstance(self.body, dict):
            raise ApiError(400, 50035, "Invalid Form Body")
        return self.body

    @property
    def guild(self) -> str:
        """The guild of a command route; "" for the global ones."""
        return self.names.get("guild", "")


# --- the answers: each gets the parts and the call, and gives JSON, or None for 204 ---


def _gateway(parts: Parts, call: Call) -> Json:
    limit = {"total": 1000, "remaining": 1000, "reset_after": 0, "max_concurrency": 1}
    return {"url": parts.gateway_url(), "shards": 1, "session_start_limit": limit}


def _user(parts: Parts, call: Call) -> Json:
    if (user := USERS.get(call["user"])) is None:
        raise unknown("User", 10013)
    return objects.user_object(user)


def _member(parts: Parts, call: Call) -> Json:
    _check_guild(call)
    if (user := USERS.get(call["user"])) is None:
        raise unknown("Member", 10007)
    return objects.member_object(user)


def _members(parts: Parts, call: Call) -> list[Json]:
    _check_guild(call)
    return [objects.member_object(user) for user in USERS.values()]


def _guild(parts: Parts, call: Call) -> Json:
    _check_guild(call)
    counts = {"approximate_member_count": len(USERS), "approximate_presence_count": len(USERS)}
    return objects.guild_object() | (counts if call.query.get("with_counts") else {})


def _own_guilds(parts: Parts, call: Call) -> list[Json]:
    guild = objects.guild_object()
    own = {"owner": False, "permissions": str(int(BOT.permissions))}
    return [{key: guild[key] for key in ("id", "name", "icon", "banner", "features")} | own]


def _guild_channels(parts: Parts, call: Call) -> list[Json]:
    _check_guild(call)
    return [objects.channel_object(channel) for channel in CHANNELS.values()]


def _roles(parts: Parts, call: Call) -> list[Json]:
    _check_guild(call)
    return [objects.role_object(), *map(objects.role_object, objects.ROLES)]


def _channel(parts: Parts, call: Call) -> Json:
    _check_channel(call)
    return objects.channel_object(CHANNELS[call["channel"]])


def _typing(parts: Parts, call: Call) -> None:
    _check_channel(call)


def _read_messages(parts: Parts, call: Call) -> list[Json]:
    _check_channel(call)
    limit, before = call.query.get("limit", "50"), call.query.get("before")
    if not limit.isdecimal() or not 1 <= int(limit) <= 100:
        raise refuse("limit", "NUMBER_TYPE_RANGE", "int value should be between 1 and 100.")
    if before is not None and not before.isdecimal():
        raise refuse("before", "NUMBER_TYPE_COERCE", f'Value "{before}" is not snowflake.')
    found = parts.world.visible(call["channel"], BOT.id, before, int(limit))
    return found[::-1]  # Discord gives the newest first


def _send_message(parts: Parts, call: Call) -> Json:
    _check_channel(call)
    check_message(call.form, files=len(call.files))
    return parts.world.post(BOT.id, call["channel"], call.form, files=call.files).copy()


def _read_message(parts: Parts, call: Call) -> Json:
    return parts.world.public_message(call["channel"], call["message"]).copy()


def _edit_message(parts: Parts, call: Call) -> Json:
    message = parts.world.public_message(call["channel"], call["message"])
    if message.wire["author"]["id"] != BOT.id:
        raise ApiError(403, 50005, "Cannot edit a message authored by another user")
    check_message(call.form, files=len(call.files), before=message.wire)
    return parts.world.edit(message, call.form, call.files).copy()


def _delete_message(parts: Parts, call: Call) -> None:
    parts.world.delete(parts.world.public_message(call["channel"], call["message"]))


def _registered(parts: Parts, call: Call) -> list[Json]:
    return parts.commands.registered(call.guild)


def _overwrite_commands(parts: Parts, call: Call) -> list[Json]:
    if not isinstance(call.body, list):
        raise ApiError(400, 50035, "Invalid Form Body")
    return parts.commands.overwrite(call.guild, call.body)


def _add_command(parts: Parts, call: Call) -> Json:
    return parts.commands.add(call.guild, call.form)


def _read_command(parts: Parts, call: Call) -> Json:
    return parts.commands.get(call.guild, call["command"])


def _change_command(parts: Parts, call: Call) -> Json:
    return parts.commands.change(call.guild, call["command"], call.form)


def _delete_command(parts: Parts, call: Call) -> None:
    parts.commands.delete(call.guild, call["command"])


def _answer_interaction(parts: Parts, call: Call) -> Json | None:
    answer = parts.replies.answer(call["interaction"], call["token"], call.form, call.files)
    return answer if call.query.get("with_response") in ("1", "true", "True") else None


def _follow_up(parts: Parts, call: Call) -> Json:
    return parts.replies.follow_up(call["token"], call.form, call.files)


def _read_reply(parts: Parts, call: Call) -> Json:
    return parts.replies.read(call["token"], call["message"])


def _edit_reply(parts: Parts, call: Call) -> Json:
    return parts.replies.edit(call["token"], call["message"], call.form, call.files)


def _delete_reply(parts: Parts, call: Call) -> None:
    parts.replies.delete(call["token"], call["message"])


def _check_guild(call: Call) -> None:
    if call["guild"] != GUILD_ID:
        raise unknown("Guild", 10004)


def _check_channel(call: Call) -> None:
    if call["channel"] not in CHANNELS:
        raise unknown("Channel", 10003)


Answer = Callable[[Parts, Call], Any]

_APPLICATION = f"/applications/{APPLICATION_ID}"
_REPLY = f"/webhooks/{APPLICATION_ID}/{{token}}/messages/{{message}}"
_MESSAGE = "/channels/{channel}/messages/{message}"

# Literal paths before those with names in them: the first that fits answers.
_TABLE: tuple[tuple[str, str, Answer], ...] = (
    ("GET", "/gateway", _gateway),
    ("GET", "/gateway/bot", _gateway),
    ("GET", "/users/@me", lambda parts, call: objects.own_user_object(BOT)),
    ("GET", "/users/@me/guilds", _own_guilds),
    ("GET", "/users/{user}", _user),
    ("GET", "/oauth2/applications/@me", lambda parts, call: objects.application_object()),
    ("GET", "/applications/@me", lambda parts, call: objects.application_object()),
    ("GET", "/guilds/{guild}", _guild),
    ("GET", "/guilds/{guild}/channels", _guild_channels),
    ("GET", "/guilds/{guild}/roles", _roles),
    ("GET", "/guilds/{guild}/members", _members),
    ("GET", "/guilds/{guild}/members/{user}", _member),
    ("GET", "/channels/{channel}", _channel),
    ("POST", "/channels/{channel}/typing", _typing),
    ("GET", "/channels/{channel}/messages", _read_messages),
    ("POST", "/channels/{channel}/messages", _send_message),
    ("GET", _MESSAGE, _read_message),
    ("PATCH", _MESSAGE, _edit_message),
    ("DELETE", _MESSAGE, _delete_message),
    *(
        (method, base + path, answer)
        for base in (_APPLICATION, _APPLICATION + "/guilds/{guild}")
        for method, path, answer in (
            ("GET", "/commands", _registered),
            ("PUT", "/commands", _overwrite_commands),
            ("POST", "/commands", _add_command),
            ("GET", "/commands/{command}", _read_command),
            ("PATCH", "/commands/{command}", _change_command),
            ("DELETE", "/commands/{command}", _delete_command),
        )
    ),
    ("POST", "/interactions/{interaction}/{token}/callback", _answer_interaction),
    ("POST", f"/webhooks/{APPLICATION_ID}/{{token}}", _follow_up),
    ("GET", _REPLY, _read_reply),
    ("PATCH", _REPLY, _edit_reply),
    ("DELETE", _REPLY, _delete_reply),
)
_ROUTES = tuple(
    (method, re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", path)), answer) for method, path, answer in _TABLE
)


def find_route(method: str, path: str) -> tuple[Answer | None, dict[str, str]]:
    """What answers the request (None: nothing here does), and the names in its path."""
    for wanted, pattern, answer in _ROUTES:
        if wanted == method and (match := pattern.fullmatch(path)):
            return answer, match.groupdict()
    return None, {}
