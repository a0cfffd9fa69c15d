"""What a person gets back, in words a test can ask for. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from bot.playground import components
from bot.playground.interaction import Interaction
from bot.playground.wire import ComponentType, Json, MessageFlag


@dataclass
class Reply:
    """What came of something a person did.

    `kind`: "message" (a new one), "update" (a message was changed), "modal", "deleted" (the reply was taken back) or
    "failed" (`error` says what the person reads).
    """

    kind: str
    message: Json | None = None
    modal: Json | None = None
    error: str = ""
    interaction: Interaction | None = field(default=None, repr=False)
    index: int = 0

    @property
    def content(self) -> str:
        return str(self.message["content"]) if self.message else ""

    @property
    def embeds(self) -> list[Json]:
        return list(self.message["embeds"]) if self.message else []

    @property
    def components(self) -> list[Json]:
        return list((self.message or self.modal or {}).get("components", []))

    @property
    def ephemeral(self) -> bool:
        return bool(self.message and self.message["flags"] & MessageFlag.EPHEMERAL)

    @property
    def text(self) -> str:
        """Everything a person reads: content, embeds, text displays."""
        return message_text(self.message) if self.message else self.error

    @property
    def buttons(self) -> list[str]:
        """The labels of the buttons, in reading order."""
        parts = components.walk(self.components)
        return [part.get("label") or "" for part in parts if part["type"] == ComponentType.BUTTON]


def message_text(message: Json) -> str:
    """The texts of a message, one after the other on lines of their own."""
    texts = [message["content"]]
    for embed in message["embeds"]:
        texts += [embed.get("author", {}).get("name"), embed.get("title"), embed.get("description")]
        for line in embed.get("fields") or []:
            texts += [line["name"], line["value"]]
        texts.append(embed.get("footer", {}).get("text"))
    texts += [
        part.get("content")
        for part in components.walk(message["components"])
        if part["type"] == ComponentType.TEXT_DISPLAY
    ]
    return "\n".join(text for text in texts if text)
