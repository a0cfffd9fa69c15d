"""Finds the function for whatever was pressed, chosen or sent: the id of the component says it all.

discord.py keeps live view objects and drops, without a word, a click it has no object for (after a restart, after a
timeout) or whose handler raised. Here nothing is kept. A cog marks a method with `@pressed(pattern)`; the router
matches the id against the patterns, calls the method with the named groups, and answers the person whatever happens.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import discord

from bot.chat.cards import Card
from bot.chat.errors import answer_error
from bot.chat.sending import as_message
from storage.errors import InvalidInput

Handler = Callable[..., Awaitable[None]]
H = TypeVar("H", bound=Handler)

UNKNOWN = "This button belongs to an older Pupil and does nothing any more. Use the command again."


def pressed(pattern: str) -> Callable[[H], H]:
    """Marks a cog's method as the one for ids that match `pattern` in full; its groups become keyword arguments."""

    def mark(handler: H) -> H:
        handler.__pressed__ = re.compile(pattern)  # type: ignore[attr-defined]
        return handler

    return mark


class Router:
    """All marked methods of all cogs."""

    def __init__(self) -> None:
        self._routes: list[tuple[re.Pattern[str], Handler]] = []

    def add(self, owner: object) -> None:
        for _, method in inspect.getmembers(owner, inspect.ismethod):
            if pattern := getattr(method, "__pressed__", None):
                self._routes.append((pattern, method))

    def find(self, custom_id: str) -> tuple[Handler, dict[str, str]] | None:
        """The method for an id and what the id says; None: nobody knows it."""
        for pattern, handler in self._routes:
            if match := pattern.fullmatch(custom_id):
                return handler, match.groupdict()
        return None

    async def route(self, interaction: discord.Interaction[Any]) -> None:
        """Answers a pressed component or a sent form. Never raises, never stays silent."""
        try:
            found = self.find(pressed_id(interaction))
            if found is None:
                await interaction.response.send_message(**as_message(Card(UNKNOWN)), ephemeral=True)
                return
            handler, groups = found
            await handler(interaction, **groups)
            if not interaction.response.is_done():
                raise RuntimeError(f"{handler.__qualname__} gave no answer")
        except Exception as error:
            await answer_error(interaction, error)


def pressed_id(interaction: discord.Interaction[Any]) -> str:
    data: Mapping[str, Any] = interaction.data or {}
    return str(data.get("custom_id", ""))


def chosen(interaction: discord.Interaction[Any]) -> str:
    """The one value chosen in a menu.

    Raises:
        InvalidInput: nothing was chosen.
    """
    data: Mapping[str, Any] = interaction.data or {}
    values = data.get("values") or []
    if not values:
        raise InvalidInput("Nothing was chosen. Choose one and try again.")
    return str(values[0])


def answers(interaction: discord.Interaction[Any]) -> dict[str, str]:
    """What was written or chosen in a form, by the id of each question; unanswered ones are ""."""
    data: Mapping[str, Any] = interaction.data or {}
    given: dict[str, str] = {}
    for outer in data.get("components", []):
        # Type 18 (label) holds one component, type 1 (the older action row) a list.
        for component in [outer["component"]] if "component" in outer else outer.get("components", []):
            values = component.get("values") or [""]
            given[component["custom_id"]] = str(component.get("value") or values[0])
    return given
