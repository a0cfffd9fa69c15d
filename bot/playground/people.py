"""A person who uses the bot, for tests and scripts: types commands, clicks, fills in forms, reads what came.

Goes the way the page goes (actions.py). Waits for answers; raises storage.errors when Discord itself would not let the
person do it, and TimeoutError when an answer is overdue.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from bot.playground import components
from bot.playground.actions import Actions
from bot.playground.interaction import Interaction, Outcome
from bot.playground.objects import CHANNEL_IDS, User
from bot.playground.options import leaf_of
from bot.playground.reply import Reply, message_text
from bot.playground.uploads import upload
from bot.playground.wire import CallbackType, CommandType, ComponentType, Json, OptionType
from bot.playground.world import Event, Message
from storage.errors import InvalidInput, NotFound

FileContent = tuple[str, bytes]
"""(file name, bytes): what a person attaches."""


class Person:
    """Someone of the playground. Channels are given by name ("support") or id."""

    def __init__(self, actions: Actions, user: User, timeout: float = 10.0) -> None:
        """`timeout`: seconds in which an answer must come."""
        self.user = user
        self.timeout = timeout
        self._actions = actions

    @property
    def id(self) -> str:
        return self.user.id

    # --- looking ---

    def messages(self, channel: str = "support") -> list[Json]:
        """What the person sees, oldest first."""
        return self._actions.world.visible(_channel_id(channel), self.id)

    def commands(self) -> list[str]:
        """Names of the commands that the person finds in the picker and the menus."""
        return [command["name"] for command in self._actions.visible_commands(self.user)]

    async def wait_for(
        self,
        check: Callable[[Json], bool],
        channel: str = "support",
        timeout: float | None = None,  # noqa: ASYNC109 - it reads better in a test than a block around each call
    ) -> Json:
        """The newest visible message that fulfils `check`, at once or as soon as there is one.

        Raises:
            TimeoutError: with the texts that were there instead.
        """
        channel_id = _channel_id(channel)
        found: asyncio.Future[Json] = asyncio.get_running_loop().create_future()

        def look(event: Event | None = None) -> None:
            if found.done() or (event and not event.type.startswith("MESSAGE_")):
                return
            if match := next((one for one in reversed(self.messages(channel_id)) if check(one)), None):
                found.set_result(match)

        stop = self._actions.world.listen(look)
        try:
            look()
            return await asyncio.wait_for(found, timeout or self.timeout)
        except TimeoutError:
            there = [message_text(message) for message in self.messages(channel_id)[-5:]]
            raise TimeoutError(f"No such message came to #{channel}; the newest: {there}.") from None
        finally:
            stop()

    # --- acting ---

    async def say(self, text: str, channel: str = "support", files: Sequence[FileContent] = ()) -> Json:
        """Writes a message; the message."""
        ids = [self._upload(file) for file in files]
        return self._actions.say(self.user, _channel_id(channel), text, ids).copy()

    async def command(self, name: str, /, channel: str = "support", **options: Any) -> Reply:
        """Runs a slash command ("label", "train now") and waits for its answer; after a defer, for what follows.

        An attachment is given as (file name, bytes).
        """
        command, typed = self._typed(name, options)
        return await self._settle(self._actions.command(self.user, _channel_id(channel), command["id"], typed))

    async def autocomplete(
        self, name: str, /, focused: str, channel: str = "support", **options: Any
    ) -> list[dict[str, Any]]:
        """The choices offered while `focused` is being typed; its text so far is among `options`."""
        command, typed = self._typed(name, {focused: ""} | options, focused)
        interaction = self._actions.autocomplete(self.user, _channel_id(channel), command["id"], typed)
        outcome = await asyncio.wait_for(interaction.outcome(0), self.timeout)
        if outcome.kind == "failed":
            raise TimeoutError(f"/{name} gave no choices for {focused!r} in time.")
        return list(outcome.choices)

    async def menu(self, name: str, message: Json | Reply) -> Reply:
        """Runs a command of a message's menu."""
        command = self._find_command(name, CommandType.MESSAGE)
        target = _message_of(message)
        return await self._settle(self._actions.menu(self.user, target["channel_id"], command["id"], target["id"]))

    async def click(self, message: Json | Reply, button: str) -> Reply:
        """Clicks the button with that label or custom id."""
        target = self._fresh(message)
        parts = [part for part in components.walk(target["components"]) if part["type"] == ComponentType.BUTTON]
        found = next((part for part in parts if button in (part.get("custom_id"), part.get("label"))), None)
        if found is None or "custom_id" not in found:
            there = ", ".join(repr(part.get("label")) for part in parts) or "none"
            raise NotFound(f"The message has no button {button!r}. It has: {there}.")
        return await self._settle(self._actions.component(self.user, target["id"], found["custom_id"]))

    async def select(self, message: Json | Reply, values: str | Sequence[str], custom_id: str | None = None) -> Reply:
        """Chooses in the message's select (the first, unless `custom_id` says which), by value or by label."""
        target = self._fresh(message)
        parts = [part for part in components.walk(target["components"]) if part["type"] in components.SELECTS]
        found = next((part for part in parts if custom_id in (None, part["custom_id"])), None)
        if found is None:
            raise NotFound("The message has no such select.")
        chosen = _values_of(found, values)
        return await self._settle(self._actions.component(self.user, target["id"], found["custom_id"], chosen))

    async def submit(self, reply: Reply, **answers: Any) -> Reply:
        """Sends the modal of a reply. Answers by custom id: text, bool, a list of values, or a list of files."""
        if reply.modal is None:
            raise InvalidInput("That reply is no form.")
        filled = [self._answer(reply.modal, custom_id, value) for custom_id, value in answers.items()]
        return await self._settle(self._actions.submit(self.user, reply.modal["modal_id"], filled))

    async def next(self, reply: Reply) -> Reply:
        """What comes of the same interaction after `reply`: a follow-up, an edit."""
        if reply.interaction is None:
            raise InvalidInput("Nothing can follow that reply.")
        return await self._settle(reply.interaction, reply.index + 1)

    def dismiss(self, reply: Json | Reply) -> None:
        """Takes an ephemeral message away."""
        self._actions.dismiss(self.user, _message_of(reply)["id"])

    # --- how ---

    async def _settle(self, interaction: Interaction, index: int = 0) -> Reply:
        try:
            outcome = await asyncio.wait_for(interaction.outcome(index), self.timeout)
        except TimeoutError:
            if interaction.answered == CallbackType.DEFERRED_UPDATE and index == 0 and interaction.source:
                outcome = Outcome("update", interaction.source.copy())  # acknowledged, and nothing more came
            else:
                raise TimeoutError(f"Nothing came of {interaction.title or 'the click'} in {self.timeout} s.") from None
        return Reply(outcome.kind, outcome.message, outcome.modal, outcome.error, interaction, index)

    def _find_command(self, name: str, kind: CommandType) -> Json:
        known = [command for command in self._actions.commands.all() if command["type"] == kind]
        for command in known:
            if command["name"] == name:
                return command
        raise NotFound(f"The bot has no command {name!r}. It has: {', '.join(one['name'] for one in known)}.")

    def _typed(self, name: str, options: dict[str, Any], focused: str | None = None) -> tuple[Json, list[Json]]:
        """The command, and its options nested as Discord nests them."""
        first, *rest = name.split()
        command = self._find_command(first, CommandType.SLASH)
        nested: list[Json] = []
        for step in reversed(rest):
            nested = [{"name": step, "options": nested}]
        leaf, _, names = leaf_of(command, nested)
        if len(names) != 1 + len(rest):
            raise NotFound(f"/{' '.join(names)} has no subcommand {rest[-1]!r}.")
        kinds = {option["name"]: option["type"] for option in leaf.get("options") or []}
        typed = [self._option(key, kinds.get(key, 0), value, key == focused) for key, value in options.items()]
        for step in reversed(rest):
            typed = [{"name": step, "options": typed}]
        return command, typed

    def _option(self, name: str, kind: int, value: Any, is_focused: bool) -> Json:
        if kind == OptionType.ATTACHMENT and isinstance(value, tuple):
            value = self._upload(value)
        elif isinstance(value, Person):
            value = value.id
        return {"name": name, "type": kind, "value": value} | ({"focused": True} if is_focused else {})

    def _answer(self, modal: Json, custom_id: str, value: Any) -> Json:
        part = components.find(modal["components"], custom_id)
        if part is None:
            raise NotFound(f"The form has no field {custom_id!r}.")
        answer: Json = {"type": part["type"], "custom_id": custom_id}
        if part["type"] == ComponentType.FILE_UPLOAD:
            return answer | {"values": [self._upload(file) for file in value]}
        if part["type"] in components.SELECTS or part["type"] == ComponentType.CHECKBOX_GROUP:
            return answer | {"values": _values_of(part, value)}
        return answer | {"value": value}

    def _upload(self, file: FileContent) -> str:
        return self._actions.world.add_file(upload(*file)).id

    def _fresh(self, message: Json | Reply) -> Json:
        """The message as it stands now."""
        wanted = _message_of(message)
        found: Message | None = self._actions.world.find_message(wanted["id"])
        if found is None:
            raise NotFound("That message is gone.")
        return found.wire


def _channel_id(channel: str) -> str:
    return CHANNEL_IDS.get(channel, channel)


def _message_of(message: Json | Reply) -> Json:
    if isinstance(message, Reply):
        if message.message is None:
            raise InvalidInput("That reply has no message.")
        return message.message
    return message


def _values_of(part: Json, values: str | Sequence[str]) -> list[str]:
    """Labels become values; values stay."""
    by_label = {option["label"]: option["value"] for option in part.get("options") or []}
    chosen = [values] if isinstance(values, str) else list(values)
    return [by_label.get(value, value) for value in chosen]
