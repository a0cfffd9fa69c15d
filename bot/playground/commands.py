"""The commands a bot registered: Discord's rules for them, kept over restarts, and who may see which.

Knows nothing of running one: options.py checks what a person typed, interactions.py delivers it.
"""

from __future__ import annotations

import re
from typing import Any

from bot.playground.form import Spot
from bot.playground.objects import APPLICATION_ID, User
from bot.playground.wire import CommandType, Json, OptionType, Permission, unknown
from bot.playground.world import Event, World

_NAME = re.compile(r"^[-_'\w]{1,32}$")
_LIMITS = {CommandType.SLASH: 100, CommandType.USER: 15, CommandType.MESSAGE: 15}
_CHARACTERS = 8000
_NESTING = (OptionType.SUBCOMMAND, OptionType.GROUP)


class Commands:
    """The command book of the one application. Guild "" stands for the global commands."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._books: dict[str, list[Json]] = world.store.commands()

    def registered(self, guild: str = "") -> list[Json]:
        return self._books.get(guild, [])

    def all(self) -> list[Json]:
        return [command for book in self._books.values() for command in book]

    def get(self, guild: str, command_id: str) -> Json:
        """Raises ApiError 10063 when there is none."""
        for command in self.registered(guild):
            if command["id"] == command_id:
                return command
        raise unknown("application command", 10063)

    def overwrite(self, guild: str, bodies: list[Json]) -> list[Json]:
        """PUT: these are the commands now. One that keeps its name keeps its id.

        Raises:
            ApiError: 50035; then nothing has changed.
        """
        check_commands(bodies)
        return self._save(guild, [self._complete(guild, body) for body in bodies])

    def add(self, guild: str, body: Json) -> Json:
        """POST: one more, or instead of the one with its name."""
        key = _key(body)
        others = [command for command in self.registered(guild) if _key(command) != key]
        check_commands([*others, body])
        command = self._complete(guild, body)
        self._save(guild, [*others, command])
        return command

    def change(self, guild: str, command_id: str, body: Json) -> Json:
        """PATCH."""
        command = self.get(guild, command_id)
        changed = command | body
        others = [other for other in self.registered(guild) if other is not command]
        check_commands([*others, changed])
        changed["version"] = self._world.snowflake()
        self._save(guild, [*others, changed])
        return changed

    def delete(self, guild: str, command_id: str) -> None:
        command = self.get(guild, command_id)
        self._save(guild, [other for other in self.registered(guild) if other is not command])

    def _save(self, guild: str, commands: list[Json]) -> list[Json]:
        self._books[guild] = commands
        self._world.store.save_commands(guild, commands)
        self._world.tell(Event("COMMANDS", {"commands": self.all()}))
        return commands

    def _complete(self, guild: str, body: Json) -> Json:
        known = next((command for command in self.registered(guild) if _key(command) == _key(body)), None)
        permissions = body.get("default_member_permissions")
        command: Json = {
            "id": known["id"] if known else self._world.snowflake(),
            "application_id": APPLICATION_ID,
            "version": self._world.snowflake(),
            "type": int(body.get("type") or CommandType.SLASH),
            "name": body["name"],
            "name_localizations": body.get("name_localizations"),
            "description": body.get("description") or "",
            "description_localizations": body.get("description_localizations"),
            "options": body.get("options") or [],
            "default_member_permissions": None if permissions is None else str(permissions),
            "nsfw": bool(body.get("nsfw")),
            "integration_types": body.get("integration_types") or [0],
            "contexts": body.get("contexts"),
        }
        if guild:
            return command | {"guild_id": guild}
        return command | {"dm_permission": body.get("dm_permission", True)}


def may_use(command: Json, user: User) -> bool:
    """True when the person holds all of `default_member_permissions` ("0": administrators alone)."""
    needed = command.get("default_member_permissions")
    if needed is None or user.permissions & Permission.ADMINISTRATOR:
        return True
    return int(needed) != 0 and (int(user.permissions) & int(needed)) == int(needed)


def check_commands(bodies: Any) -> None:
    """Checks a whole book.

    Raises:
        ApiError: 50035 with the place of each complaint.
    """
    book = Spot(bodies)
    seen: set[tuple[int, str]] = set()
    for command in book.each():
        _check_command(command)
        key = _key(command.value)
        if key in seen:
            command["name"].complain("APPLICATION_COMMANDS_DUPLICATE_NAME", "Application command names must be unique")
        seen.add(key)
    for kind, most in _LIMITS.items():
        if sum(1 for one, _ in seen if one == kind) > most:
            book.complain("BASE_TYPE_MAX_LENGTH", f"Must be {most} or fewer in length.")
    book.finish()


def _key(command: Json) -> tuple[int, str]:
    return int(command.get("type") or CommandType.SLASH), str(command.get("name"))


def _check_command(command: Spot) -> None:
    if _key(command.value)[0] != CommandType.SLASH:
        command["name"].text(1, 32, required=True)
        if command["description"].value:
            command["description"].complain("APPLICATION_COMMAND_CONTEXT_MENU_DESCRIPTION", "Menus have no description")
        return
    _check_named(command)
    _check_options(command["options"])
    if _characters(command.value) > _CHARACTERS:
        command.complain("APPLICATION_COMMAND_TOO_LARGE", f"Command exceeds maximum size ({_CHARACTERS})")


def _check_named(spot: Spot) -> None:
    name = spot["name"].text(1, 32, required=True)
    if name and (not _NAME.match(name) or name != name.lower()):
        spot["name"].complain("APPLICATION_COMMAND_INVALID_NAME", "Command name is invalid")
    spot["description"].text(1, 100, required=True)


def _check_options(options: Spot) -> None:
    options.count(most=25)
    names: set[str] = set()
    optional_came = False
    for option in options.each():
        _check_option(option)
        name = option["name"].value
        if name in names:
            option["name"].complain("APPLICATION_COMMAND_OPTIONS_NAME_DUPLICATE", "Option names must be unique")
        names.add(name)
        if option["required"].value and optional_came:
            option["required"].complain(
                "APPLICATION_COMMAND_OPTIONS_REQUIRED_INVALID",
                "Required options must be placed before optional ones",
            )
        optional_came |= option["type"].value not in _NESTING and not option["required"].value


def _check_option(option: Spot) -> None:
    kind = option["type"].whole(1, 11, default=0)
    _check_named(option)
    if kind in _NESTING:
        _check_options(option["options"])
        return
    option["choices"].count(most=25)
    for choice in option["choices"].each():
        choice["name"].text(1, 100, required=True)
        if isinstance(choice["value"].value, str):
            choice["value"].text(0, 100)
    if option["autocomplete"].value and option["choices"].value:
        option["autocomplete"].complain("APPLICATION_COMMAND_OPTION_AUTOCOMPLETE", "Choices or autocomplete, not both")
    option["min_length"].whole(0, 6000, default=0)
    option["max_length"].whole(1, 6000, default=6000)


def _characters(node: Json) -> int:
    """Characters of names, descriptions and choice values, of which a command may hold 8000."""
    own = len(node.get("name") or "") + len(node.get("description") or "")
    choices = sum(len(one["name"]) + len(str(one["value"])) for one in node.get("choices") or [])
    return own + choices + sum(_characters(option) for option in node.get("options") or [])
