"""Discord's rules for message components and modals, and how to find one in a message.

Source of every number: Discord's documentation, "Component Reference". Knows neither messages nor interactions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from bot.playground.form import Spot
from bot.playground.wire import ButtonStyle, Json
from bot.playground.wire import ComponentType as Type

SELECTS = frozenset(
    {Type.STRING_SELECT, Type.USER_SELECT, Type.ROLE_SELECT, Type.MENTIONABLE_SELECT, Type.CHANNEL_SELECT}
)
_DEFAULTS: dict[int, Json] = {
    **{kind: {"min_values": 1, "max_values": 1} for kind in SELECTS},
    Type.CONTAINER: {"accent_color": None, "spoiler": False},
    Type.THUMBNAIL: {"description": None, "spoiler": False},
    Type.SEPARATOR: {"divider": True, "spacing": 1},
}
_ROWS = 5
_BUTTONS_A_ROW = 5
_V2_TOTAL = 40
_V2_TEXT = 4000
_INSIDE_CONTAINER = {
    Type.ACTION_ROW, Type.SECTION, Type.TEXT_DISPLAY, Type.MEDIA_GALLERY, Type.FILE, Type.SEPARATOR,
}  # fmt: skip
_TOP_LEVEL_V2 = _INSIDE_CONTAINER | {Type.CONTAINER}
_INSIDE_LABEL = SELECTS | {Type.TEXT_INPUT, Type.FILE_UPLOAD, Type.RADIO_GROUP, Type.CHECKBOX_GROUP, Type.CHECKBOX}


def walk(components: Iterable[Json]) -> Iterator[Json]:
    """Every component, parents before children, in reading order."""
    for component in components:
        yield component
        yield from walk(component.get("components") or [])
        yield from walk(component[key] for key in ("accessory", "component") if component.get(key))


def find(components: Iterable[Json], custom_id: str) -> Json | None:
    """The component with that custom id."""
    return next((component for component in walk(components) if component.get("custom_id") == custom_id), None)


def complete(components: list[Json]) -> None:
    """Does in place what Discord does on receipt: drops nulls, fills in defaults and missing numeric ids.

    What a select presets is named by a string, as every id of a role or channel: a page would round the number.
    """
    for component in walk(components):
        for key in [key for key, value in component.items() if value is None]:
            del component[key]
        for key, value in _DEFAULTS.get(component["type"], {}).items():
            component.setdefault(key, value)
        for preset in component.get("default_values", ()):
            preset["id"] = str(preset["id"])
    taken = {component["id"] for component in walk(components) if component.get("id")}
    free = 1
    for component in walk(components):
        if not component.get("id"):
            while free in taken:
                free += 1
            component["id"] = free
            taken.add(free)


def check_message_components(components: Spot, is_v2: bool) -> None:
    """Complains about components that a message may not hold."""
    _check_custom_ids(components)
    if not is_v2:
        components.count(most=_ROWS)
        for row in components.each():
            _check_one_of(row, {Type.ACTION_ROW})
        return
    for component in components.each():
        _check_one_of(component, _TOP_LEVEL_V2)
    parts = list(walk(component for component in components.value or [] if isinstance(component, dict)))
    if len(parts) > _V2_TOTAL:
        components.complain("COMPONENT_MAX_TOTAL_EXCEEDED", f"The maximum number of components is {_V2_TOTAL}.")
    if sum(len(part.get("content") or "") for part in parts if part.get("type") == Type.TEXT_DISPLAY) > _V2_TEXT:
        components.complain("COMPONENT_TEXT_MAX_LENGTH", f"The combined text must be {_V2_TEXT} or fewer in length.")


def check_modal(data: Json) -> None:
    """Checks the data of a modal callback.

    Raises:
        ApiError: 50035.
    """
    form = Spot({"data": data})
    modal = form["data"]
    modal["title"].text(1, 45, required=True)
    modal["custom_id"].text(1, 100, required=True)
    modal["components"].count(1, 5)
    _check_custom_ids(modal["components"])
    for component in modal["components"].each():
        if _check_kind(component, {Type.LABEL, Type.TEXT_DISPLAY, Type.ACTION_ROW}) == Type.ACTION_ROW:
            _check_text_row(component)
        else:
            _check_parts(component)
    form.finish()


def _check_custom_ids(components: Spot) -> None:
    seen: set[str] = set()
    for component in walk(part for part in components.value or [] if isinstance(part, dict)):
        custom_id = component.get("custom_id")
        if custom_id is not None and custom_id in seen:
            components.complain("COMPONENT_CUSTOM_ID_DUPLICATED", "Component custom id cannot be duplicated")
        seen.add(custom_id or "")


def _check_kind(component: Spot, allowed: Iterable[Type]) -> int | None:
    kind = component["type"].value
    if kind not in set(allowed):
        choices = ", ".join(str(int(one)) for one in sorted(allowed))
        component["type"].complain("UNION_TYPE_CHOICES", f'Value of field "type" must be one of ({choices}).')
        return None
    return int(kind)


def _check_one_of(component: Spot, allowed: Iterable[Type]) -> None:
    if _check_kind(component, allowed) is not None:
        _check_parts(component)


def _check_parts(component: Spot) -> None:
    check = _CHECKS.get(component["type"].value)
    if check is not None:
        check(component)


def _check_row(row: Spot) -> None:
    parts = row["components"]
    parts.count(1, _BUTTONS_A_ROW)
    kinds = [part["type"].value for part in parts.each()]
    if len(kinds) > 1 and any(kind != Type.BUTTON for kind in kinds):
        parts.complain("COMPONENT_LAYOUT_WIDTH_EXCEEDED", "A row holds up to five buttons or one select.")
    for part in parts.each():
        _check_one_of(part, SELECTS | {Type.BUTTON})


def _check_text_row(row: Spot) -> None:
    row["components"].count(1, 1)
    for part in row["components"].each():
        part["label"].text(1, 45, required=True)
        _check_one_of(part, {Type.TEXT_INPUT})


def _check_button(button: Spot) -> None:
    style = button["style"].whole(1, 6, default=0)
    button["label"].text(most=80)
    if style == ButtonStyle.PREMIUM:
        return
    if not button["label"].value and not button["emoji"].value:
        button.complain("BUTTON_COMPONENT_INVALID_LABEL", "A button needs a label or an emoji.")
    if style == ButtonStyle.LINK:
        button["url"].text(1, 512, required=True)
    else:
        button["custom_id"].text(1, 100, required=True)


def _check_select(select: Spot) -> None:
    select["custom_id"].text(1, 100, required=True)
    select["placeholder"].text(most=150)
    least = select["min_values"].whole(0, 25, default=1)
    most = select["max_values"].whole(1, 25, default=1)
    if least > most:
        select["min_values"].complain("BASE_TYPE_MAX_VALUE", "min_values must not exceed max_values.")
    if select["type"].value == Type.STRING_SELECT:
        _check_options(select["options"], 1, 25)


def _check_options(options: Spot, least: int, most: int) -> None:
    options.count(least, most)
    seen: set[str] = set()
    for option in options.each():
        option["label"].text(1, 100, required=True)
        value = option["value"].text(1, 100, required=True)
        option["description"].text(most=100)
        if value in seen:
            option["value"].complain(
                "SELECT_COMPONENT_OPTION_VALUE_DUPLICATED", "The specified option value is used twice"
            )
        seen.add(value)


def _check_text_input(field: Spot) -> None:
    field["custom_id"].text(1, 100, required=True)
    if field["style"].value not in (1, 2):
        field["style"].complain("BASE_TYPE_CHOICES", "Value must be one of {1, 2}.")
    field["placeholder"].text(most=100)
    field["value"].text(most=4000)
    least = field["min_length"].whole(0, 4000, default=0)
    if least > field["max_length"].whole(1, 4000, default=4000):
        field["min_length"].complain("BASE_TYPE_MAX_VALUE", "min_length must not exceed max_length.")


def _check_label(label: Spot) -> None:
    label["label"].text(1, 45, required=True)
    label["description"].text(most=100)
    _check_one_of(label["component"], _INSIDE_LABEL)


def _check_file_upload(upload: Spot) -> None:
    upload["custom_id"].text(1, 100, required=True)
    upload["min_values"].whole(0, 10, default=1)
    upload["max_values"].whole(1, 10, default=1)


def _check_radio_group(group: Spot) -> None:
    group["custom_id"].text(1, 100, required=True)
    _check_options(group["options"], 2, 10)


def _check_checkbox_group(group: Spot) -> None:
    group["custom_id"].text(1, 100, required=True)
    _check_options(group["options"], 1, 10)
    group["min_values"].whole(0, 10, default=1)
    group["max_values"].whole(1, 10, default=1)


def _check_checkbox(box: Spot) -> None:
    box["custom_id"].text(1, 100, required=True)


def _check_text_display(display: Spot) -> None:
    display["content"].text(1, _V2_TEXT, required=True)


def _check_section(section: Spot) -> None:
    section["components"].count(1, 3)
    for part in section["components"].each():
        _check_one_of(part, {Type.TEXT_DISPLAY})
    _check_one_of(section["accessory"], {Type.BUTTON, Type.THUMBNAIL})


def _check_gallery(gallery: Spot) -> None:
    gallery["items"].count(1, 10)
    for item in gallery["items"].each():
        item["media"]["url"].text(1, 2048, required=True)
        item["description"].text(most=1024)


def _check_container(container: Spot) -> None:
    for part in container["components"].each():
        _check_one_of(part, _INSIDE_CONTAINER)


_CHECKS: dict[int, Callable[[Spot], None]] = {
    Type.ACTION_ROW: _check_row,
    Type.BUTTON: _check_button,
    **dict.fromkeys(SELECTS, _check_select),
    Type.TEXT_INPUT: _check_text_input,
    Type.SECTION: _check_section,
    Type.TEXT_DISPLAY: _check_text_display,
    Type.MEDIA_GALLERY: _check_gallery,
    Type.CONTAINER: _check_container,
    Type.LABEL: _check_label,
    Type.FILE_UPLOAD: _check_file_upload,
    Type.RADIO_GROUP: _check_radio_group,
    Type.CHECKBOX_GROUP: _check_checkbox_group,
    Type.CHECKBOX: _check_checkbox,
}
