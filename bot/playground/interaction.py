"""One interaction: what a person did, as the bot gets it, and what came of it. Knows none of the rules."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from bot.playground import objects
from bot.playground.objects import APPLICATION_ID, BOT_PERMISSIONS, CHANNELS, GUILD_ID, LOCALE, USERS
from bot.playground.wire import ATTACHMENT_LIMIT, CallbackType, CommandType, InteractionType, Json
from bot.playground.world import Message

_REPLY_TYPES = {CommandType.SLASH: 20, CommandType.USER: 23, CommandType.MESSAGE: 23}


@dataclass(frozen=True)
class Outcome:
    """One thing that came of an interaction, in order.

    `kind`: "message" (new), "update" (the message it came from, or a reply, was edited), "modal", "choices", "deleted"
    or "failed".
    """

    kind: str
    message: Json | None = None
    modal: Json | None = None
    choices: tuple[Json, ...] = ()
    error: str = ""


@dataclass
class Interaction:
    """One thing a person did, from its delivery to the bot until its token ends."""

    id: str
    token: str
    kind: InteractionType
    user_id: str
    channel_id: str
    name: str
    data: Json
    source: Message | None
    born: float
    answered: CallbackType | None = None
    failed: bool = False
    ephemeral: bool = False
    original: str | None = None
    outcomes: list[Outcome] = field(default_factory=list)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def add(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        self._changed.set()

    async def outcome(self, index: int) -> Outcome:
        """Waits until `index + 1` things have come of it; the last of them. Set your own time-out."""
        while len(self.outcomes) <= index:
            self._changed.clear()
            await self._changed.wait()
        return self.outcomes[index]

    @property
    def title(self) -> str:
        """How the page names it: "/train now" for a slash command, "Predict" for a menu."""
        return f"/{self.name}" if self.data.get("type") == CommandType.SLASH else self.name

    @property
    def reply_type(self) -> int:
        """Discord's type of the messages that answer it: 20 to a slash command, 23 to a menu, else 0."""
        return _REPLY_TYPES[self.data["type"]] if self.kind == InteractionType.COMMAND else 0

    def payload(self) -> Json:
        """The data of INTERACTION_CREATE."""
        user, channel = USERS[self.user_id], CHANNELS[self.channel_id]
        payload: Json = {
            "id": self.id,
            "application_id": APPLICATION_ID,
            "type": int(self.kind),
            "token": self.token,
            "version": 1,
            "data": self.data,
            "guild_id": GUILD_ID,
            "guild": {"id": GUILD_ID, "features": [], "locale": LOCALE},
            "guild_locale": LOCALE,
            "channel_id": channel.id,
            "channel": objects.channel_object(channel) | {"permissions": str(int(user.permissions))},
            "member": objects.member_object(user, with_permissions=True),
            "locale": LOCALE,
            "app_permissions": str(int(BOT_PERMISSIONS)),
            "entitlements": [],
            "authorizing_integration_owners": {"0": GUILD_ID},
            "context": 0,
            "attachment_size_limit": ATTACHMENT_LIMIT,
        }
        return payload | ({"message": self.source.copy()} if self.source else {})

    def metadata(self) -> Json:
        """`interaction_metadata` of the messages that answer it."""
        metadata: Json = {
            "id": self.id,
            "type": int(self.kind),
            "user": objects.user_object(USERS[self.user_id]),
            "authorizing_integration_owners": {"0": GUILD_ID},
            "name": self.name,
        }
        if self.kind == InteractionType.COMPONENT and self.source:
            metadata["interacted_message_id"] = self.source.id
        return metadata
