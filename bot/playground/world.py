"""What there is in the playground: messages of fixed people in fixed channels, files, and who hears of changes.

Owns the state; keeps it over restarts through a Store. Knows no interactions and no connections: it tells listeners.
Lives in one event loop; nothing here waits.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from bot.playground import messages
from bot.playground.messages import Message
from bot.playground.objects import CHANNELS, GUILD_ID
from bot.playground.store import Store, StoredFile
from bot.playground.uploads import Upload
from bot.playground.wire import Json, MessageFlag, unknown

DID_NOT_RESPOND = "The application did not respond"
_DISCORD_EPOCH_MS = 1_420_070_400_000
_SETTABLE_FLAGS = MessageFlag.SUPPRESS_EMBEDS | MessageFlag.SUPPRESS_NOTIFICATIONS | MessageFlag.COMPONENTS_V2


@dataclass(frozen=True)
class Event:
    """Something changed. `type` is the gateway's name of it; `only_for` a user id when nobody else may see it."""

    type: str
    data: Json
    only_for: str | None = None


class World:
    """The state of one guild. Ephemeral messages live in memory only: on Discord, too, a reload forgets them."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.base_url = store.fact("base_url") or ""
        self._listeners: list[Callable[[Event], None]] = []
        self._last_id = 0
        self._messages: dict[str, dict[str, Message]] = {channel: {} for channel in CHANNELS}
        for wire in store.messages():
            self._remember(Message(wire))
        for message in self.all_messages():
            if message.is_loading:
                self.give_up_loading(message)

    # --- listeners, ids, addresses ---

    def listen(self, listener: Callable[[Event], None]) -> Callable[[], None]:
        """Calls `listener` with every event from now on; the returned function ends that."""
        self._listeners.append(listener)

        def stop() -> None:
            if listener in self._listeners:
                self._listeners.remove(listener)

        return stop

    def tell(self, event: Event) -> None:
        for listener in list(self._listeners):
            listener(event)

    def snowflake(self) -> str:
        """A new id: Discord's form (milliseconds since 2015 shifted by 22 bits), always greater than the one before."""
        now = (time.time_ns() // 1_000_000 - _DISCORD_EPOCH_MS) << 22
        self._last_id = max(self._last_id + 1, now)
        return str(self._last_id)

    def bind(self, base_url: str) -> None:
        """Told where this process listens: links to files of an earlier run, at another port, are put right."""
        before, self.base_url = self.base_url, base_url
        self.store.save_fact("base_url", base_url)
        if before and before != base_url:
            for message in self.all_messages():
                message.wire = messages.move_links(message.wire, f"{before}/cdn/", f"{base_url}/cdn/")
                self._save(message)

    # --- reading ---

    def all_messages(self) -> list[Message]:
        return [message for channel in self._messages.values() for message in channel.values()]

    def find_message(self, message_id: str) -> Message | None:
        """The message, ephemeral ones included: the caller decides who may see it."""
        return next((found for channel in self._messages.values() if (found := channel.get(message_id))), None)

    def public_message(self, channel_id: str, message_id: str) -> Message:
        """A message as a bot's token sees it.

        Raises:
            ApiError: 10003 or 10008. Also for ephemeral messages: they are reached through an interaction alone.
        """
        if channel_id not in CHANNELS:
            raise unknown("Channel", 10003)
        message = self._messages[channel_id].get(message_id)
        if message is None or message.only_for:
            raise unknown("Message", 10008)
        return message

    def visible(self, channel_id: str, user_id: str, before: str | None = None, limit: int = 100) -> list[Json]:
        """The newest messages that the person sees in a channel, oldest first."""
        bound = int(before) if before else None
        seen = [
            message
            for message in self._messages[channel_id].values()
            if message.only_for in (None, user_id) and (bound is None or int(message.id) < bound)
        ]
        return [message.copy() for message in seen[-limit:]]

    # --- changing ---

    def post(
        self,
        author: str,
        channel_id: str,
        body: Json,
        *,
        files: Sequence[StoredFile] = (),
        only_for: str | None = None,
        more: Json | None = None,
    ) -> Message:
        """A new message. `body` holds what its author may set, `more` what the server adds."""
        wire = messages.new(self.snowflake(), author, channel_id) | (more or {})
        wire["flags"] |= _settable_flags(body) | (MessageFlag.EPHEMERAL if only_for else 0)
        messages.fill(wire, body, [self.attachment(file) for file in files])
        message = Message(wire, only_for)
        self._remember(message)
        self._save(message)
        self.tell(Event("MESSAGE_CREATE", message.copy(), only_for))
        return message

    def edit(self, message: Message, body: Json, files: Sequence[StoredFile] = ()) -> Message:
        """Changes the parts that `body` names; a "thinking ..." message becomes a normal one."""
        is_first_text = message.is_loading
        wire = message.wire
        wire["flags"] = (wire["flags"] | _settable_flags(body)) & ~MessageFlag.LOADING
        if not is_first_text:
            wire["edited_timestamp"] = messages.now()
        messages.fill(wire, body, [self.attachment(file) for file in files])
        self._save(message)
        self.tell(Event("MESSAGE_UPDATE", message.copy(), message.only_for))
        return message

    def give_up_loading(self, message: Message) -> None:
        """No reply can come any more to a deferred one: it says so instead of "thinking ..." for ever."""
        self.edit(message, {"content": DID_NOT_RESPOND})

    def delete(self, message: Message) -> None:
        channel_id = message.wire["channel_id"]
        self._messages[channel_id].pop(message.id, None)
        self.store.delete_message(message.id)
        gone = {"id": message.id, "channel_id": channel_id, "guild_id": GUILD_ID}
        self.tell(Event("MESSAGE_DELETE", gone, message.only_for))

    def add_file(self, upload: Upload) -> StoredFile:
        file = StoredFile(self.snowflake(), upload.name, upload.content_type, upload.data)
        self.store.save_file(file)
        return file

    def attachment(self, file: StoredFile, **more: Any) -> Json:
        """The Discord object of a kept file."""
        url = f"{self.base_url}/cdn/{file.id}/{file.name}"
        described: Json = {"id": file.id, "filename": file.name, "size": len(file.data), "url": url, "proxy_url": url}
        return described | {"content_type": file.content_type} | more

    # --- how ---

    def _remember(self, message: Message) -> None:
        self._last_id = max(self._last_id, int(message.id))
        channel = self._messages.setdefault(message.wire["channel_id"], {})
        channel[message.id] = message
        # Each kind by itself: most answers are for one person, and a result with its buttons is for all of them.
        alike = [each.id for each in channel.values() if (each.only_for is None) is (message.only_for is None)]
        for old in alike[: -self.store.messages_per_channel]:
            self.store.delete_message(channel.pop(old).id)

    def _save(self, message: Message) -> None:
        if message.only_for is None:
            self.store.save_message(message.wire)


def _settable_flags(body: Json) -> int:
    """Those of the flags that the author of a message may set."""
    return int(body.get("flags") or 0) & int(_SETTABLE_FLAGS)
