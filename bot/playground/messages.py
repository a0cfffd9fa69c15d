"""Message objects: how a body that the bot or a person sent becomes Discord's complete object. Pure; knows no state."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from bot.playground import components, objects
from bot.playground.mentions import find_pings
from bot.playground.objects import APPLICATION_ID, GUILD_ID, USERS
from bot.playground.wire import ComponentType, Json, MessageFlag, Permission

_EDITABLE = ("content", "embeds", "components")


@dataclass
class Message:
    """A message: its Discord object, and the user id of the only person who sees it when it is ephemeral."""

    wire: Json
    only_for: str | None = None

    @property
    def id(self) -> str:
        return str(self.wire["id"])

    @property
    def is_loading(self) -> bool:
        """True while it stands for a deferred reply ("thinking ...")."""
        return bool(self.wire["flags"] & MessageFlag.LOADING)

    def copy(self) -> Json:
        return copy.deepcopy(self.wire)


def new(message_id: str, author: str, channel_id: str) -> Json:
    """An empty message object, complete."""
    user = USERS[author]
    wire: Json = {
        "id": message_id,
        "type": 0,
        "channel_id": channel_id,
        "guild_id": GUILD_ID,
        "author": objects.user_object(user),
        "member": objects.member_object(user, with_user=False),
        "content": "",
        "timestamp": now(),
        "edited_timestamp": None,
        "tts": False,
        "pinned": False,
        "mention_everyone": False,
        "mentions": [],
        "mention_roles": [],
        "attachments": [],
        "embeds": [],
        "components": [],
        "flags": 0,
    }
    return wire | ({"application_id": APPLICATION_ID} if user.bot else {})


def fill(wire: Json, body: Json, attachments: Sequence[Json]) -> None:
    """Sets what `body` names of a message object, as Discord does on receipt; `attachments` are the new files."""
    for part in _EDITABLE:
        if part in body:
            wire[part] = copy.deepcopy(body[part]) or ("" if part == "content" else [])
    for embed in wire["embeds"]:
        embed.setdefault("type", "rich")
    components.complete(wire["components"])
    _attach(wire, body.get("attachments"), attachments)
    if "content" in body or "components" in body:
        _ping(wire, body.get("allowed_mentions"))


def _attach(wire: Json, listed: list[Json] | None, attachments: Sequence[Json]) -> None:
    """Keeps the attachments that the list names (all, when there is none) and adds the new files.

    An entry of the list names a kept attachment by its id, or a new file by its index ("files[0]").
    """
    described = {str(entry.get("id")): entry for entry in listed or []}
    kept = [one for one in wire["attachments"] if listed is None or one["id"] in described]
    new = [one | _description(described.get(str(index))) for index, one in enumerate(attachments)]
    wire["attachments"] = kept + new
    links = {f"attachment://{one['filename']}": one["url"] for one in wire["attachments"]}
    wire["embeds"] = _resolve_links(wire["embeds"], links)
    wire["components"] = _resolve_links(wire["components"], links)


def _ping(wire: Json, allowed: Json | None) -> None:
    may = bool(USERS[wire["author"]["id"]].permissions & Permission.MENTION_EVERYONE)
    pings = find_pings("\n".join(_texts(wire)), allowed, may_mention_everyone=may)
    wire["mentions"] = [objects.user_object(USERS[one]) for one in pings.users if one in USERS]
    wire["mention_roles"] = [one for one in pings.roles if one == GUILD_ID]
    wire["mention_everyone"] = pings.everyone


def now() -> str:
    """The time as Discord writes it."""
    return datetime.now(UTC).isoformat()


def _description(entry: Json | None) -> Json:
    return {"description": entry["description"]} if entry and entry.get("description") else {}


def _texts(wire: Json) -> Iterable[str]:
    """The texts in which a mention pings: the content and V2 text displays, never embeds."""
    yield wire["content"]
    for component in components.walk(wire["components"]):
        if component["type"] == ComponentType.TEXT_DISPLAY:
            yield component.get("content") or ""


def _resolve_links(node: Any, links: dict[str, str]) -> Any:
    if isinstance(node, dict):
        return {key: _resolve_links(value, links) for key, value in node.items()}
    if isinstance(node, list):
        return [_resolve_links(value, links) for value in node]
    return links.get(node, node) if isinstance(node, str) else node


def move_links(node: Any, old: str, new: str) -> Any:
    """A copy of `node` in which links that begin with `old` begin with `new`."""
    if isinstance(node, dict):
        return {
            key: new + value.removeprefix(old)
            if key in ("url", "proxy_url") and isinstance(value, str) and value.startswith(old)
            else move_links(value, old, new)
            for key, value in node.items()
        }
    return [move_links(value, old, new) for value in node] if isinstance(node, list) else node
