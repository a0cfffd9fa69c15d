"""What the page's stand-in server says: people, commands, a conversation, answers and the lesson."""

from __future__ import annotations

import asyncio
import struct
import time
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.fakes.page_server import PageServer

Json = dict[str, Any]

SUPPORT, TRAINING = "10", "11"
BOT, MARIA, JONAS, ADA = "2", "100", "101", "102"
LABELS = ["bug", "question", "billing", "praise", "account", "feature request"]
NAMES = {MARIA: "maria", JONAS: "jonas", ADA: "ada", BOT: "Pupil"}
COLOURS = {MARIA: "#a4512f", JONAS: "#3d6285", ADA: "#7a4a78"}


class Refused(Exception):
    """One sentence the server answers with."""


def _text(name: str, description: str, **more: Any) -> Json:
    return {"type": 3, "name": name, "description": description, **more}


_CLASSIFIER = _text("classifier", "Which classifier answers", autocomplete=True)
COMMANDS: list[Json] = [
    {"id": "1", "name": "ask", "type": 1, "description": "What does the bot think of a text?"}
    | {"options": [_text("text", "The text to ask about", required=True, max_length=4000), _CLASSIFIER]},
    {"id": "2", "name": "label", "type": 1, "description": "Teach the bot one text"}
    | {
        "options": [
            _text("text", "The text", required=True, max_length=4000),
            _text("label", "What it is", required=True, autocomplete=True),
            _CLASSIFIER,
        ]
    },
    {"id": "3", "name": "train", "type": 1, "description": "Training"}
    | {
        "options": [
            {"type": 1, "name": "now", "description": "Train a new version now", "options": [_CLASSIFIER]},
            {"type": 1, "name": "status", "description": "How far the training is"},
        ]
    },
    {"id": "4", "name": "import", "type": 1, "description": "Labels from a file"}
    | {
        "options": [
            {"type": 11, "name": "file", "description": "CSV with text and label", "required": True},
            {"type": 4, "name": "limit", "description": "At most so many rows", "min_value": 1, "max_value": 100},
            _text(
                "mode", "What to do", choices=[{"name": "Add rows", "value": "add"}, {"name": "Check", "value": "dry"}]
            ),
        ]
    },
    {"id": "5", "name": "teach", "type": 1, "description": "Teach a longer text in a form"},
    {"id": "6", "name": "sleep", "type": 1, "description": "Never answers"},
    {"id": "7", "name": "Predict", "type": 3, "description": ""},
]


def hello(user: str, online: bool) -> Json:
    users = [
        {"id": one, "username": NAMES[one], "global_name": None, "colour": COLOURS[one], "lead": one == MARIA}
        for one in (MARIA, JONAS, ADA)
    ]
    return {
        "me": next(one for one in users if one["id"] == user),
        "users": users,
        "guild": {"id": "1", "name": "Pupil playground"},
        "channels": [
            {"id": SUPPORT, "name": "support", "topic": "Mail from customers. Ask the bot what it is, and teach it."},
            {"id": TRAINING, "name": "training", "topic": "What the bot learns"},
        ],
        "roles": [{"id": "20", "name": "Teachers"}, {"id": "21", "name": "Leads"}],
        "commands": COMMANDS,
        "bot": {"id": BOT, "username": "Pupil", "online": online},
    }


def command_name(frame: Json) -> str:
    command = next(one for one in COMMANDS if one["id"] == frame["command_id"])
    inner = [option["name"] for option in frame.get("options", []) if option["type"] == 1]
    return " ".join([command["name"], *inner])


def message(number: str, channel: str, author: str, content: str = "", minutes_ago: float = 0, **more: Any) -> Json:
    sent = datetime.now(UTC) - timedelta(minutes=minutes_ago)
    person = {"id": author, "username": NAMES[author], "global_name": None, "bot": author == BOT}
    return {
        "id": number,
        "channel_id": channel,
        "author": person,
        "content": content,
        "timestamp": sent.isoformat(),
        "edited_timestamp": None,
        "embeds": [],
        "attachments": [],
        "components": [],
        "flags": 0,
        **more,
    }


def button(label: str, custom_id: str, style: int = 2, **more: Any) -> Json:
    return {"type": 2, "style": style, "label": label, "custom_id": custom_id, **more}


def row(*components: Json) -> Json:
    return {"type": 1, "components": list(components)}


def used(command: str, user: str = MARIA, number: str = "0") -> Json:
    person = {"id": user, "username": NAMES[user], "global_name": None}
    return {"interaction_metadata": {"id": number, "type": 2, "name": command, "user": person}}


def _answer_card() -> Json:
    return {
        "title": "bug",
        "description": "The export button does nothing since this morning",
        "color": 0x2F7A4D,
        "fields": [
            {"name": "Confidence", "value": "81 %", "inline": True},
            {"name": "Next", "value": "question 11 %", "inline": True},
            {"name": "Version", "value": "`v3+2`", "inline": True},
        ],
        "footer": {"text": "4 ms"},
    }


def _training_card() -> list[Json]:
    lines = (
        "### v4 is live\nIt answered **51 of 60** kept questions right, v3 answered 43. See `v4` in </model list:9>."
    )
    accessory = {"type": 2, "style": 2, "label": "Report", "custom_id": "report"}
    return [
        {
            "type": 17,
            "accent_color": 0x2F7A4D,
            "components": [
                {"type": 9, "components": [{"type": 10, "content": lines}], "accessory": accessory},
                {"type": 14, "divider": True, "spacing": 1},
                {"type": 10, "content": "- `bug` 0.84 → 0.91\n- `billing` 0.79 → 0.88\n-# 94 % likely better"},
                row(button("Roll back to v3", "rollback", 4), button("Keep", "keep", 3)),
            ],
        }
    ]


_MARKDOWN = (
    "**Bold**, *italic*, ~~gone~~, `code` and snake_case_name stay.\n> a quote\n- one\n- two\n"
    "Done <t:1700000000:D>, ask <@101> in <#11>, or use </label:2>.\n```py\nprint('hi')\n```"
)


def conversation(next_id: Callable[[], str]) -> dict[str, list[Json]]:
    """A page full of everything that has a look."""

    def say(author: str, content: str = "", ago: float = 0, channel: str = SUPPORT, **more: Any) -> Json:
        return message(next_id(), channel, author, content, ago, **more)

    select_box = {
        "type": 3,
        "custom_id": "correct",
        "placeholder": "Which label is right?",
        "options": [{"label": label, "value": label, "description": f"Texts about {label}"} for label in LABELS],
    }
    picture = {
        "id": "0",
        "filename": "confusion.png",
        "content_type": "image/png",
        "size": 900,
        "url": "/cdn/0/confusion.png",
    }
    table = {"id": "9", "filename": "labels.csv", "content_type": "text/csv", "size": 18234, "url": "/cdn/9/labels.csv"}
    votes = row(
        button("Right", "right", 3, emoji={"name": "👍"}),
        button("Wrong", "wrong", 2),
        button("Why", "why", 1, disabled=True),
    )
    support = [
        say(JONAS, "The export button does nothing since this morning.", 1500),
        say(JONAS, "Third customer already who writes that.", 1499),
        say(BOT, ago=1490, embeds=[_answer_card()], components=[votes], **used("ask")),
        say(ADA, _MARKDOWN, 30),
        say(
            BOT,
            "Here is where it errs, and the labels so far.",
            20,
            attachments=[picture | {"description": "Confusion matrix"}, table],
        ),
        say(BOT, ago=12, flags=32768, components=_training_card()),
        say(
            BOT,
            "I was wrong? Then tell me.",
            5,
            flags=64,
            components=[row(select_box)],
            **{"for": MARIA},
            **used("ask"),
        ),
    ]
    return {SUPPORT: support, TRAINING: [say(BOT, "Training **v4**: epoch 2 of 5", 3, TRAINING)]}


MODAL_PARTS: list[Json] = [
    {
        "type": 18,
        "label": "Text",
        "description": "Up to 4,000 characters",
        "component": {"type": 4, "custom_id": "text", "style": 2, "required": True},
    },
    {
        "type": 18,
        "label": "Label",
        "component": {"type": 3, "custom_id": "label", "options": [{"label": one, "value": one} for one in LABELS]},
    },
    {
        "type": 18,
        "label": "How sure are you?",
        "component": {
            "type": 21,
            "custom_id": "sure",
            "required": True,
            "options": [{"label": "Sure", "value": "yes", "default": True}, {"label": "Not quite", "value": "no"}],
        },
    },
    {
        "type": 18,
        "label": "Also",
        "component": {
            "type": 22,
            "custom_id": "also",
            "required": False,
            "options": [{"label": "Pin it", "value": "pin"}],
        },
    },
    {"type": 18, "label": "More texts", "component": {"type": 19, "custom_id": "file", "required": False}},
]


async def answer(server: PageServer, interaction: Json, frame: Json) -> Json:
    """Plays the bot: what happens after an interaction began, and how it ended."""
    name, number, user = interaction["command"], interaction["interaction_id"], interaction["user_id"]
    if name == "/sleep" or frame.get("custom_id") == "why-not":
        await asyncio.sleep(0.5)
        return {"state": "failed", "error": "The application did not respond"}
    if name == "/teach" and "components" not in frame:
        modal = {"modal_id": number, "interaction_id": number, "title": "Teach a text", "custom_id": "teach"}
        await server.event("modal", modal | {"components": MODAL_PARTS}, user)
    elif name == "/train now":
        await _train(server, interaction)
    elif frame["op"] == "component":
        await _pressed(server, frame)
    else:
        reply = message(server.next_id(), interaction["channel_id"], BOT, f"Saved: {_words(frame)}", flags=64)
        await server.post(reply | used(name.removeprefix("/"), user, number) | {"for": user}, user)
    return {"state": "done"}


def _words(frame: Json) -> str:
    parts = [str(option.get("value")) for option in frame.get("options", [])]
    parts += [str(part.get("value") or part.get("values")) for part in frame.get("components", [])]
    return " · ".join(parts)


async def _train(server: PageServer, interaction: Json) -> None:
    metadata = used("train now", interaction["user_id"], interaction["interaction_id"])
    waiting = await server.post(message(server.next_id(), interaction["channel_id"], BOT, flags=128) | metadata)
    await asyncio.sleep(0.3)
    await server.edit(waiting, flags=0, content="Training **v5** began.")


async def _pressed(server: PageServer, frame: Json) -> None:
    target = next(one for one in server.messages[SUPPORT] if one["id"] == frame["message_id"])
    await asyncio.sleep(0.1)
    words = ", ".join(frame.get("values", [frame["custom_id"]]))
    await server.edit(target, content=f"Noted: {words}", components=[row(button("Undo", "undo"))])


def _picture(width: int = 360, height: int = 200) -> bytes:
    """A small PNG with stripes, so that a picture in a message is one."""
    line = lambda y: b"\0" + b"".join(bytes((240 - (x // 60) * 18, 177 - (y // 40) * 16, 90)) for x in range(width))  # noqa: E731
    data = zlib.compress(b"".join(line(y) for y in range(height)))

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


PICTURE = _picture()

_TITLES = {
    "names": "Ask with label names only",
    "teach": "Load the lesson",
    "train": "Train",
    "ask": "Ask again",
}
_NOTES = {
    "names": "The bot has seen no text yet. It guesses from the names of the labels.",
    "teach": "240 labelled texts count at once, before any training.",
    "train": "The encoder itself learns from them, in the background.",
    "ask": "The same questions, once more.",
}
_RIGHT = {"names": (31, "v0"), "teach": (45, "v0+240"), "ask": (52, "v1")}
_SAMPLES = [
    (
        "I was charged twice this month, please check.",
        "billing",
        {"names": "billing", "teach": "billing", "ask": "billing"},
    ),
    (
        "Since the update the app closes when I open a report.",
        "bug",
        {"names": "question", "teach": "bug", "ask": "bug"},
    ),
    (
        "Could you add a dark mode some day?",
        "feature request",
        {"names": "praise", "teach": "question", "ask": "feature request"},
    ),
    ("How do I invite a colleague?", "question", {"names": "account", "teach": "account", "ask": "account"}),
    ("You saved my week, thank you!", "praise", {"names": "praise", "teach": "praise", "ask": "praise"}),
]


@dataclass
class Lesson:
    """The lesson's server side: steps in order, a training until `over` or for `training_seconds`, either ending."""

    promote: bool = True
    training_seconds: float = 1.0
    done: list[str] = field(default_factory=list)
    began: float | None = None
    over: asyncio.Event = field(default_factory=asyncio.Event)

    async def step(self, name: str) -> None:
        if list(_TITLES)[len(self.done)] != name:
            raise Refused("This step is not the next one.")
        if name == "train":
            self.began = time.monotonic()
            with suppress(TimeoutError):
                await asyncio.wait_for(self.over.wait(), self.training_seconds)
            self.began = None
        self.done.append(name)

    def state(self) -> Json:
        return {
            "classifier": "triage",
            "labels": LABELS,
            "kept": 60,
            "running": "train" if self.began else None,
            "steps": [self._step(name) for name in _TITLES],
            "samples": [self._sample(*sample) for sample in _SAMPLES],
        }

    def _step(self, name: str) -> Json:
        right, version = _RIGHT.get(name, (None, None)) if name in self.done else (None, None)
        return {
            "id": name,
            "title": _TITLES[name],
            "state": self._state(name),
            "accuracy": None if right is None else right / 60,
            "correct": right,
            "asked": None if right is None else 60,
            "version": version,
            "note": _NOTES[name],
            "progress": self._progress() if name == "train" and self.began else None,
            "verdict": self._verdict() if name == "train" and name in self.done else None,
        }

    def _state(self, name: str) -> str:
        if name in self.done:
            return "done"
        if name != list(_TITLES)[len(self.done)]:
            return "locked"
        return "running" if name == "train" and self.began else "ready"

    def _progress(self) -> Json:
        fraction = min(0.99, (time.monotonic() - (self.began or 0.0)) / self.training_seconds)
        return {"phase": "training", "fraction": fraction, "eta_seconds": (1 - fraction) * self.training_seconds}

    def _verdict(self) -> Json:
        if self.promote:
            return {
                "promote": True,
                "reason": "0.76 → 0.87 on 88 held-out texts: 12 fixed, 2 broken (97 % likely better).",
            }
        return {"promote": False, "reason": "kept, because 0.85 against 0.86 on 88 held-out texts is not better."}

    def _sample(self, text: str, label: str, answers: dict[str, str]) -> Json:
        return {
            "text": text,
            "label": label,
            "answers": {step: one for step, one in answers.items() if step in self.done},
        }
