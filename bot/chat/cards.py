"""How a reply looks, as data: text, an embed, buttons, menus and forms. Knows Discord's limits, not its objects.

A button is its label and its id, and the id says everything ("undo:481"): whichever process meets the click can
answer it, also after a restart. `bot.chat.sending` turns cards into discord.py's objects, `bot.chat.buttons` finds the
function for an id.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum

from bot.chat.text import cut

MAX_CONTENT = 2000
MAX_TITLE = 256
MAX_BODY = 4096
MAX_FIELDS = 25
MAX_FIELD_NAME = 256
MAX_FIELD_VALUE = 1024
MAX_EMBED = 6000
MAX_ROWS = 5
MAX_BUTTONS = 5
MAX_BUTTON_LABEL = 80
MAX_CHOICES = 25
MAX_CHOICE = 100
MAX_ID = 100
MAX_PLACEHOLDER = 150
MAX_FORM_TITLE = 45
MAX_ALT_TEXT = 1024
"""Limits of Discord's API (discord-api-docs: message, embed, component and modal objects), in characters or items."""

MAX_FOOTER = 300
"""Ours; Discord takes 2048. With a full body it leaves room for fields."""


class Tone(Enum):
    """What the colour beside an embed says. The words say it too."""

    NEUTRAL = 0x5B6EE1
    GOOD = 0x2E9E6B
    CAREFUL = 0xD9912B
    BAD = 0xC8423B


class Style(Enum):
    GREY = "secondary"
    BLUE = "primary"
    GREEN = "success"
    RED = "danger"


@dataclass(frozen=True, slots=True)
class Button:
    label: str
    id: str
    style: Style = Style.GREY


@dataclass(frozen=True, slots=True)
class Choice:
    value: str
    label: str
    description: str = ""


class Pick(Enum):
    """What a menu offers."""

    CHOICES = "choices"
    ROLE = "role"
    """The server's roles; Discord lists them."""
    CHANNEL = "channel"
    """The server's text channels; Discord lists them."""


@dataclass(frozen=True, slots=True)
class Menu:
    """A drop-down from which one thing is chosen."""

    id: str
    placeholder: str
    choices: tuple[Choice, ...] = ()
    pick: Pick = Pick.CHOICES
    chosen: str = ""
    """Id of the role or channel that is chosen already."""


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file that comes with a message."""

    name: str
    content: bytes
    description: str = ""
    """Of a picture: what it shows, numbers included, for those who do not see it. At most 1,024 characters."""


@dataclass(frozen=True, slots=True)
class Card:
    """One message. `title`, `body`, `fields`, `footer` and `picture` make an embed when any of them is there."""

    text: str = ""
    title: str = ""
    body: str = ""
    fields: tuple[tuple[str, str], ...] = ()
    footer: str = ""
    tone: Tone = Tone.NEUTRAL
    rows: tuple[tuple[Button, ...] | Menu, ...] = ()
    files: tuple[Attachment, ...] = ()
    picture: str = ""
    """The name of the file that is shown as a picture in the embed."""

    @property
    def ids(self) -> list[str]:
        """The ids of everything on it that can be pressed."""
        pressed = [item for row in self.rows for item in ((row,) if isinstance(row, Menu) else row)]
        return [item.id for item in pressed]


@dataclass(frozen=True, slots=True)
class Input:
    """One question of a form: written, or chosen where there are `choices`."""

    id: str
    label: str
    value: str = ""
    placeholder: str = ""
    long: bool = False
    most: int = 4000
    choices: tuple[Choice, ...] = ()
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Form:
    """A modal. Its id comes back with the answers, so a form opened before a restart can still be sent after it."""

    id: str
    title: str
    inputs: tuple[Input, ...]


def fitted(card: Card) -> Card:
    """The card within Discord's limits. Texts are cut with an ellipsis; whoever lists things counts the rest before.

    Raises:
        ValueError: an id or a number of buttons that no cutting can put right (a mistake in the program).
    """
    title, body, footer = cut(card.title, MAX_TITLE), cut(card.body, MAX_BODY), cut(card.footer, MAX_FOOTER)
    return replace(
        card,
        text=cut(card.text, MAX_CONTENT),
        title=title,
        body=body,
        fields=tuple(_fitted_fields(card.fields, MAX_EMBED - len(title) - len(body) - len(footer))),
        footer=footer,
        rows=tuple(_fitted_row(row) for row in _checked(card.rows)),
        files=tuple(replace(file, description=cut(file.description, MAX_ALT_TEXT)) for file in card.files),
    )


def _fitted_fields(fields: Sequence[tuple[str, str]], room: int) -> Iterator[tuple[str, str]]:
    """The fields that fit into `room` characters, at most 25."""
    for name, value in fields[:MAX_FIELDS]:
        name, value = cut(name, MAX_FIELD_NAME) or EMPTY, cut(value, MAX_FIELD_VALUE) or EMPTY
        room -= len(name) + len(value)
        if room < 0:
            return
        yield name, value


EMPTY = "\u200b"
"""Discord refuses empty field names and values."""


def _checked(rows: Sequence[tuple[Button, ...] | Menu]) -> Sequence[tuple[Button, ...] | Menu]:
    if len(rows) > MAX_ROWS:
        raise ValueError(f"a message has at most {MAX_ROWS} rows, not {len(rows)}")
    for row in rows:
        items = (row,) if isinstance(row, Menu) else row
        if not 1 <= len(items) <= MAX_BUTTONS:
            raise ValueError(f"a row has 1 to {MAX_BUTTONS} buttons, not {len(items)}")
        if any(len(item.id) > MAX_ID for item in items):
            raise ValueError(f"an id of more than {MAX_ID} characters: {items}")
    return rows


def _fitted_row(row: tuple[Button, ...] | Menu) -> tuple[Button, ...] | Menu:
    if isinstance(row, Menu):
        if row.pick is Pick.CHOICES and not 1 <= len(row.choices) <= MAX_CHOICES:
            raise ValueError(f"a menu has 1 to {MAX_CHOICES} choices, not {len(row.choices)}")
        choices = tuple(
            replace(choice, label=cut(choice.label, MAX_CHOICE), description=cut(choice.description, MAX_CHOICE))
            for choice in row.choices
        )
        return replace(row, placeholder=cut(row.placeholder, MAX_PLACEHOLDER), choices=choices)
    return tuple(replace(button, label=cut(button.label, MAX_BUTTON_LABEL)) for button in row)
