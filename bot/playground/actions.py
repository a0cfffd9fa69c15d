"""What a person can do, in Discord's own terms: checked as Discord's client would, then delivered to the bot.

Used by the page's socket and by people.Person, so that a test and a click go the same way. Errors are for people
(storage.errors). Knows no connection.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bot.playground import components
from bot.playground.commands import Commands, may_use
from bot.playground.interaction import Interaction
from bot.playground.interactions import Interactions
from bot.playground.objects import CHANNELS, USERS, User
from bot.playground.options import CommandInput, autocomplete_input, check_options, menu_input
from bot.playground.submissions import check_modal_answers, check_values
from bot.playground.wire import CommandType, ComponentType, InteractionType, Json, MessageFlag
from bot.playground.world import Message, World
from storage.errors import InvalidInput, NotAllowed, NotFound

_CONTENT = 2000


class Actions:
    """Everything takes the acting `User` first. For one event loop."""

    def __init__(self, world: World, commands: Commands, interactions: Interactions) -> None:
        self.world = world
        self.commands = commands
        self.interactions = interactions
        self._granted: set[tuple[str, str]] = set()

    def grant(self, user: User, command_name: str) -> None:
        """Lets the person use a command in spite of its default permissions, as a server's settings can."""
        self._granted.add((user.id, command_name))

    def visible_commands(self, user: User) -> list[Json]:
        return [command for command in self.commands.all() if self._may_use(command, user)]

    def say(self, user: User, channel_id: str, content: str, file_ids: Sequence[str] = ()) -> Message:
        """Raises InvalidInput for nothing or for more than 2000 characters, NotFound for an upload that is gone."""
        _check_channel(channel_id)
        if not content.strip() and not file_ids:
            raise InvalidInput("The message is empty.")
        if len(content) > _CONTENT:
            raise InvalidInput(f"A message has at most {_CONTENT} characters; this one has {len(content)}.")
        files = [self.world.store.file(file_id) for file_id in file_ids]
        if None in files:
            raise NotFound("An attached file is gone; attach it again.")
        return self.world.post(user.id, channel_id, {"content": content}, files=[file for file in files if file])

    def command(self, user: User, channel_id: str, command_id: str, options: list[Json]) -> Interaction:
        """Runs a slash command; `options` as Discord nests them."""
        command = self._command(user, command_id, {CommandType.SLASH})
        typed = check_options(command, options, self.world)
        return self._begin_command(InteractionType.COMMAND, user, channel_id, command, typed)

    def autocomplete(self, user: User, channel_id: str, command_id: str, options: list[Json]) -> Interaction:
        """Asks for choices; the option being typed has `"focused": true`."""
        command = self._command(user, command_id, {CommandType.SLASH})
        typed = autocomplete_input(command, options)
        return self._begin_command(InteractionType.AUTOCOMPLETE, user, channel_id, command, typed)

    def menu(self, user: User, channel_id: str, command_id: str, target_id: str) -> Interaction:
        """Runs a command of a message's or a user's menu."""
        command = self._command(user, command_id, {CommandType.MESSAGE, CommandType.USER})
        if command["type"] == CommandType.MESSAGE:
            self._visible_message(user, target_id)
        typed = menu_input(command, target_id, self.world)
        return self._begin_command(InteractionType.COMMAND, user, channel_id, command, typed, target_id)

    def component(
        self, user: User, message_id: str, custom_id: str, values: Sequence[Any] | None = None
    ) -> Interaction:
        """Clicks a button (`values` None) or chooses in a select."""
        message = self._visible_message(user, message_id)
        component = components.find(message.wire["components"], custom_id)
        if component is None:
            raise NotFound("That button is no longer on the message.")
        if component.get("disabled"):
            raise InvalidInput("That button is switched off.")
        data: Json = {"custom_id": custom_id, "component_type": component["type"], "id": component["id"]}
        if component["type"] != ComponentType.BUTTON:
            resolved: Json = {}
            data["values"] = check_values(component, values, resolved, self.world)
            data |= {"resolved": resolved} if resolved else {}
        name = (message.wire.get("interaction_metadata") or {}).get("name", "")
        return self.interactions.begin(
            InteractionType.COMPONENT, user.id, message.wire["channel_id"], name, data, message
        )

    def submit(self, user: User, modal_id: str, answers: list[Json]) -> Interaction:
        """Sends a filled-in modal."""
        opened = self.interactions.modal(modal_id)
        if opened is None or opened.interaction.user_id != user.id:
            raise NotFound("That form is no longer open.")
        filled, resolved = check_modal_answers(opened.form, answers, self.world)
        data: Json = {"custom_id": opened.form["custom_id"], "components": filled}
        data |= {"resolved": resolved} if resolved else {}
        before = opened.interaction
        return self.interactions.begin(
            InteractionType.MODAL, user.id, before.channel_id, before.name, data, before.source
        )

    def dismiss(self, user: User, message_id: str) -> None:
        """Removes an ephemeral message for the one person who sees it."""
        message = self._visible_message(user, message_id)
        if message.only_for != user.id:
            raise InvalidInput("Only messages that nobody else sees can be dismissed.")
        self.world.delete(message)

    # --- how ---

    def _begin_command(
        self,
        kind: InteractionType,
        user: User,
        channel_id: str,
        command: Json,
        typed: CommandInput,
        target_id: str | None = None,
    ) -> Interaction:
        _check_channel(channel_id)
        data: Json = {"id": command["id"], "name": command["name"], "type": command["type"], "options": typed.options}
        data |= {"resolved": typed.resolved} if typed.resolved else {}
        data |= {"target_id": target_id} if target_id else {}
        data |= {"guild_id": command["guild_id"]} if "guild_id" in command else {}
        return self.interactions.begin(kind, user.id, channel_id, typed.path, data)

    def _may_use(self, command: Json, user: User) -> bool:
        return may_use(command, user) or (user.id, command["name"]) in self._granted

    def _command(self, user: User, command_id: str, kinds: set[CommandType]) -> Json:
        command = next((one for one in self.commands.all() if one["id"] == command_id), None)
        if command is None or command["type"] not in kinds:
            raise NotFound("The bot no longer has that command.")
        if not self._may_use(command, user):
            raise NotAllowed(f"{user.global_name} may not use {command['name']}: it needs Manage Server.")
        return command

    def _visible_message(self, user: User, message_id: str) -> Message:
        message = self.world.find_message(message_id)
        if message is None or message.only_for not in (None, user.id):
            raise NotFound("That message is gone.")
        if message.wire["flags"] & MessageFlag.LOADING:
            raise InvalidInput("The bot is still thinking about that one.")
        return message


def find_user(user_id: str) -> User:
    """A person (not the bot); raises NotFound."""
    user = USERS.get(user_id)
    if user is None or user.bot:
        raise NotFound(f"There is no person with the id {user_id}.")
    return user


def _check_channel(channel_id: str) -> None:
    if channel_id not in CHANNELS:
        raise NotFound(f"There is no channel with the id {channel_id}.")
