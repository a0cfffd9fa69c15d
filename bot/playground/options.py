"""Checks what a person typed into a command, as Discord's own client and server do before the bot hears of it.

Raises errors for people (storage.errors), never Discord's API errors: these checks are about the person, not the bot.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from bot.playground import objects
from bot.playground.objects import CHANNELS, GUILD_ID, USERS
from bot.playground.wire import CommandType, Json, OptionType
from bot.playground.world import World
from storage.errors import InvalidInput, NotFound

_NESTING = (OptionType.SUBCOMMAND, OptionType.GROUP)


@dataclass
class CommandInput:
    """What goes to the bot. `path`: the command's full name without a slash ("train now")."""

    path: str
    options: list[Json]
    resolved: Json = field(default_factory=dict)


def leaf_of(command: Json, options: list[Json]) -> tuple[Json, list[Json], list[str]]:
    """Follows subcommands: the command or subcommand that runs, its own options as typed, and its full name.

    Raises:
        NotFound: a subcommand that does not exist.
    """
    names = [command["name"]]
    node = command
    while any(option["type"] in _NESTING for option in node.get("options") or []):
        typed: Json = options[0] if options else {"name": ""}
        found = next((one for one in node["options"] if one["name"] == typed["name"]), None)
        if found is None:
            known = ", ".join(one["name"] for one in node["options"])
            raise NotFound(f"/{' '.join(names)} has no subcommand {typed['name']!r}. It has: {known}.")
        node, options = found, typed.get("options") or []
        names.append(node["name"])
    return node, options, names


def check_options(command: Json, typed: list[Json], world: World) -> CommandInput:
    """The options as the bot gets them, in the declared order, with everything they refer to resolved.

    Raises:
        InvalidInput: a missing, unknown, doubled or ill-formed option, in one sentence.
        NotFound: no such subcommand, user, channel or upload.
    """
    leaf, own, names = leaf_of(command, typed)
    declared = {option["name"]: option for option in leaf.get("options") or []}
    given = {option["name"]: option for option in own}
    for name in given:
        if name not in declared:
            raise InvalidInput(f"/{' '.join(names)} has no option {name!r}.")
    result = CommandInput(" ".join(names), [])
    checked: list[Json] = []
    for name, option in declared.items():
        if name in given:
            value = _check_value(option, given[name].get("value"), result.resolved, world)
            checked.append({"type": option["type"], "name": name, "value": value})
        elif option.get("required"):
            raise InvalidInput(f"/{' '.join(names)} needs the option {name!r}.")
    result.options = _nest(command, typed, checked)
    return result


def autocomplete_input(command: Json, typed: list[Json]) -> CommandInput:
    """The options of a command that is still being typed: nothing is required, one has `focused`.

    Raises:
        InvalidInput: the focused option is missing or has no autocomplete.
    """
    leaf, own, names = leaf_of(command, typed)
    declared = {option["name"]: option for option in leaf.get("options") or []}
    focused = next((option["name"] for option in own if option.get("focused")), None)
    if focused is None or not declared.get(focused, {}).get("autocomplete"):
        raise InvalidInput(f"/{' '.join(names)} has no autocomplete for {focused!r}.")
    checked = [option | {"type": declared[option["name"]]["type"]} for option in own if option["name"] in declared]
    return CommandInput(" ".join(names), _nest(command, typed, checked))


def menu_input(command: Json, target_id: str, world: World) -> CommandInput:
    """The target of a message or user menu, resolved. The caller has checked that the person sees the message.

    Raises:
        NotFound: it is gone.
    """
    result = CommandInput(command["name"], [])
    if command["type"] == CommandType.MESSAGE:
        message = world.find_message(target_id)
        if message is None:
            raise NotFound("That message is gone.")
        result.resolved = {"messages": {target_id: message.copy()}}
    else:
        resolve(OptionType.USER, target_id, result.resolved, world)
    return result


def _nest(command: Json, typed: list[Json], checked: list[Json]) -> list[Json]:
    """Puts the checked options back under their subcommand and group."""
    node, given = command, typed
    path: list[Json] = []
    while any(option["type"] in _NESTING for option in node.get("options") or []):
        node = next(one for one in node["options"] if one["name"] == given[0]["name"])
        given = given[0].get("options") or []
        path.append({"type": node["type"], "name": node["name"]})
    options = checked
    for step in reversed(path):
        options = [step | {"options": options}]
    return options


def _check_value(option: Json, value: Any, resolved: Json, world: World) -> Any:
    name, kind = option["name"], OptionType(option["type"])
    if kind == OptionType.STRING:
        value = _check_text(option, value)
    elif kind in (OptionType.INTEGER, OptionType.NUMBER):
        _check_number(option, kind, value)
    elif kind == OptionType.BOOLEAN:
        if not isinstance(value, bool):
            raise InvalidInput(f"The option {name!r} must be true or false.")
    else:
        resolve(kind, str(value), resolved, world)
        value = str(value)
    choices = [choice["value"] for choice in option.get("choices") or []]
    if choices and value not in choices:
        raise InvalidInput(f"The option {name!r} must be one of the offered choices.")
    return value


def _check_text(option: Json, value: Any) -> str:
    name = option["name"]
    if not isinstance(value, str):
        raise InvalidInput(f"The option {name!r} must be a text.")
    value = value.strip()
    least, most = option.get("min_length") or 0, option.get("max_length") or 6000
    if not value:
        raise InvalidInput(f"The option {name!r} is empty.")
    if not least <= len(value) <= most:
        raise InvalidInput(f"The option {name!r} must have {least} to {most} characters; it has {len(value)}.")
    return value


def _check_number(option: Json, kind: OptionType, value: Any) -> None:
    name = option["name"]
    wanted: Any = int if kind == OptionType.INTEGER else (int, float)
    if not isinstance(value, wanted) or isinstance(value, bool):
        raise InvalidInput(f"The option {name!r} must be a {'whole ' if kind == OptionType.INTEGER else ''}number.")
    least, most = option.get("min_value"), option.get("max_value")
    if (least is not None and value < least) or (most is not None and value > most):
        raise InvalidInput(f"The option {name!r} must be between {least} and {most}.")


def resolve(kind: OptionType, value: str, resolved: Json, world: World) -> None:
    """Adds the object with that id to `resolved`.

    Raises:
        NotFound: there is none.
    """
    for resolver in _resolvers(kind):
        if resolver(value, resolved, world):
            return
    raise NotFound(f"There is no {kind.name.lower()} with the id {value}.")


def _resolvers(kind: OptionType) -> Iterator[Any]:
    if kind in (OptionType.USER, OptionType.MENTIONABLE):
        yield lambda value, resolved, world: _resolve_user(value, resolved)
    if kind in (OptionType.ROLE, OptionType.MENTIONABLE):
        yield _resolve_role
    if kind == OptionType.CHANNEL:
        yield _resolve_channel
    if kind == OptionType.ATTACHMENT:
        yield _resolve_file


def _resolve_user(value: str, resolved: Json) -> bool:
    if (user := USERS.get(value)) is None:
        return False
    resolved.setdefault("users", {})[value] = objects.user_object(user)
    member = objects.member_object(user, with_user=False, with_permissions=True)
    resolved.setdefault("members", {})[value] = member
    return True


def _resolve_role(value: str, resolved: Json, world: World) -> bool:
    if value != GUILD_ID and value not in objects.ROLES:
        return False
    resolved.setdefault("roles", {})[value] = objects.role_object(value)
    return True


def _resolve_channel(value: str, resolved: Json, world: World) -> bool:
    if (channel := CHANNELS.get(value)) is None:
        return False
    permissions = {"permissions": str(int(objects.MEMBER_PERMISSIONS))}
    resolved.setdefault("channels", {})[value] = objects.channel_object(channel) | permissions
    return True


def _resolve_file(value: str, resolved: Json, world: World) -> bool:
    if (file := world.store.file(value)) is None:
        return False
    resolved.setdefault("attachments", {})[value] = world.attachment(file, ephemeral=True)
    return True
