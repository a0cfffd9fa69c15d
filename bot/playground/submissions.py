"""Checks what a person chose in a select or filled into a modal, as Discord's client does before the bot hears of it.

Raises errors for people (storage.errors); puts the answers into the form in which Discord delivers them.
"""

from __future__ import annotations

from typing import Any

from bot.playground import components
from bot.playground.options import resolve
from bot.playground.wire import ComponentType as Type
from bot.playground.wire import Json, OptionType
from bot.playground.world import World
from storage.errors import InvalidInput

_RESOLVED_AS = {
    Type.USER_SELECT: OptionType.USER,
    Type.ROLE_SELECT: OptionType.ROLE,
    Type.MENTIONABLE_SELECT: OptionType.MENTIONABLE,
    Type.CHANNEL_SELECT: OptionType.CHANNEL,
    Type.FILE_UPLOAD: OptionType.ATTACHMENT,
}
_MANY = components.SELECTS | {Type.FILE_UPLOAD, Type.CHECKBOX_GROUP}
"""Components that answer with `values`; the others answer with `value`."""


def check_values(component: Json, values: Any, resolved: Json, world: World, title: str = "This list") -> list[str]:
    """The chosen values of a select, a checkbox group or a file upload. `title`: how an error names it.

    Raises:
        InvalidInput: too few, too many, or one that is not offered.
        NotFound: a user, channel, role or upload that is not there.
    """
    chosen = [str(value) for value in values or []]
    needs = component.get("min_values", 1) if component.get("required", True) or chosen else 0
    most = component.get("max_values") or (len(component["options"]) if component["type"] == Type.CHECKBOX_GROUP else 1)
    if not needs <= len(chosen) <= most:
        raise InvalidInput(f"{title} needs {needs} to {most} choices; {len(chosen)} were made.")
    if "options" in component:
        offered = {option["value"] for option in component["options"]}
        if missing := [value for value in chosen if value not in offered]:
            raise InvalidInput(f"{title} does not offer {missing[0]!r}.")
    for value in chosen:
        if component["type"] in _RESOLVED_AS:
            resolve(_RESOLVED_AS[component["type"]], value, resolved, world)
    return chosen


def check_modal_answers(modal: Json, answers: list[Json], world: World) -> tuple[list[Json], Json]:
    """The filled-in modal as Discord delivers it: (components, resolved).

    `answers`: one object for each input, with `custom_id` and `value` or `values`; absent ones count as left empty.

    Raises:
        InvalidInput: one that the modal does not take, in one sentence.
        NotFound: an upload that is not there.
    """
    given = {answer["custom_id"]: answer for answer in answers}
    for custom_id in given:
        if components.find(modal["components"], custom_id) is None:
            raise InvalidInput(f"The form has no field {custom_id!r}.")
    resolved: Json = {}
    filled = [_fill(component, given, resolved, world) for component in modal["components"]]
    return filled, resolved


def _fill(component: Json, given: dict[str, Json], resolved: Json, world: World) -> Json:
    place: Json = {"type": component["type"], "id": component["id"]}
    if component["type"] == Type.LABEL:
        part = component["component"]
        return place | {"component": _answer(part, component["label"], given, resolved, world)}
    if component["type"] == Type.ACTION_ROW:
        parts = [_answer(part, part["label"], given, resolved, world) for part in component["components"]]
        return place | {"components": parts}
    return place


def _answer(part: Json, title: str, given: dict[str, Json], resolved: Json, world: World) -> Json:
    answer: Json = {"type": part["type"], "id": part["id"], "custom_id": part["custom_id"]}
    typed = given.get(part["custom_id"], {})
    if part["type"] in _MANY:
        return answer | {"values": check_values(part, typed.get("values"), resolved, world, repr(title))}
    return answer | {"value": _VALUES[part["type"]](part, typed.get("value"), title)}


def _text(part: Json, value: Any, title: str) -> str:
    text = "" if value is None else str(value)
    least = part.get("min_length") or 0
    most = part.get("max_length") or 4000
    if part.get("required", True) and not text:
        raise InvalidInput(f"{title!r} must be filled in.")
    if text and not least <= len(text) <= most:
        raise InvalidInput(f"{title!r} must have {least} to {most} characters; it has {len(text)}.")
    return text


def _radio(part: Json, value: Any, title: str) -> str | None:
    if value is None and not part.get("required", True):
        return None
    if value not in [option["value"] for option in part["options"]]:
        raise InvalidInput(f"One of the choices of {title!r} must be taken.")
    return str(value)


def _checkbox(part: Json, value: Any, title: str) -> bool:
    return bool(value)


_VALUES = {Type.TEXT_INPUT: _text, Type.RADIO_GROUP: _radio, Type.CHECKBOX: _checkbox}
