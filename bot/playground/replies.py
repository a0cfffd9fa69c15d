"""What the bot may answer to an interaction, and what comes of it.

"Ephemeral" is decided by the first reply; the first follow-up after a deferred reply edits it, and keeps that.
Source: Discord's documentation, "Receiving and Responding to Interactions". Knows no clocks: interactions.py does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bot.playground import components
from bot.playground.components import check_modal
from bot.playground.form import refuse
from bot.playground.interaction import Interaction, Outcome
from bot.playground.interactions import Interactions
from bot.playground.limits import check_choices, check_message
from bot.playground.objects import BOT
from bot.playground.store import StoredFile
from bot.playground.wire import CallbackType, InteractionType, Json, MessageFlag, unknown
from bot.playground.world import Message, World

_ALLOWED = {
    InteractionType.COMMAND: {CallbackType.MESSAGE, CallbackType.DEFERRED_MESSAGE, CallbackType.MODAL},
    InteractionType.COMPONENT: set(CallbackType) - {CallbackType.CHOICES},
    InteractionType.AUTOCOMPLETE: {CallbackType.CHOICES},
    InteractionType.MODAL: set(CallbackType) - {CallbackType.CHOICES, CallbackType.MODAL},
}
_UPDATES = {CallbackType.DEFERRED_UPDATE, CallbackType.UPDATE}
_FirstReply = Callable[[Interaction, Json, Sequence[StoredFile]], None]


class Replies:
    """The bot's side of all interactions. For one event loop."""

    def __init__(self, world: World, interactions: Interactions) -> None:
        self._world = world
        self._interactions = interactions
        self._first_replies: dict[CallbackType, _FirstReply] = {
            CallbackType.MESSAGE: self._reply_with_message,
            CallbackType.DEFERRED_MESSAGE: self._defer_message,
            CallbackType.DEFERRED_UPDATE: self._defer_update,
            CallbackType.UPDATE: self._reply_with_update,
            CallbackType.CHOICES: self._reply_with_choices,
            CallbackType.MODAL: self._reply_with_modal,
        }

    # --- the first reply ---

    def answer(self, interaction_id: str, token: str, body: Json, files: Sequence[StoredFile]) -> Json:
        """POST /interactions/{id}/{token}/callback: the first reply.

        Raises:
            ApiError: 10062 too late or unknown, 40060 a second one, 50035 a form that Discord refuses, 50006.
        """
        interaction = self._interactions.waiting(interaction_id, token)
        kind = self._callback_type(interaction, body)
        data = body.get("data") or {}
        if not isinstance(data, dict):
            raise refuse("data", "MODEL_TYPE_CONVERT", "Only dictionaries may be used in a ModelType")
        self._first_replies[kind](interaction, data, files)
        self._interactions.mark_answered(interaction, kind)
        return self._callback_object(interaction)

    def _callback_type(self, interaction: Interaction, body: Json) -> CallbackType:
        allowed = _ALLOWED[interaction.kind]
        if interaction.source is None:
            allowed = allowed - _UPDATES
        if body.get("type") not in allowed:
            choices = ", ".join(str(int(one)) for one in sorted(allowed))
            raise refuse("type", "BASE_TYPE_CHOICES", f"Value must be one of {{{choices}}}.")
        return CallbackType(body["type"])

    def _reply_with_message(self, interaction: Interaction, data: Json, files: Sequence[StoredFile]) -> None:
        check_message(data, files=len(files), place="data")
        interaction.ephemeral = _asks_for_ephemeral(data)
        message = self._post(interaction, data, files)
        interaction.original = message.id
        interaction.add(Outcome("message", message.copy()))

    def _defer_message(self, interaction: Interaction, data: Json, files: Sequence[StoredFile]) -> None:
        interaction.ephemeral = _asks_for_ephemeral(data)
        interaction.original = self._post(interaction, {}, (), loading=True).id

    def _defer_update(self, interaction: Interaction, data: Json, files: Sequence[StoredFile]) -> None:
        self._adopt_source(interaction)

    def _reply_with_update(self, interaction: Interaction, data: Json, files: Sequence[StoredFile]) -> None:
        source = self._adopt_source(interaction)
        check_message(data, files=len(files), place="data", before=source.wire)
        self._world.edit(source, data, files)
        interaction.add(Outcome("update", source.copy()))

    def _reply_with_choices(self, interaction: Interaction, data: Json, files: Sequence[StoredFile]) -> None:
        check_choices(data)
        interaction.add(Outcome("choices", choices=tuple(data.get("choices") or ())))

    def _reply_with_modal(self, interaction: Interaction, data: Json, files: Sequence[StoredFile]) -> None:
        check_modal(data)
        components.complete(data["components"])
        self._interactions.open_modal(interaction, data)

    def _adopt_source(self, interaction: Interaction) -> Message:
        """The message the component sits on becomes the original reply.

        Raises:
            ApiError: 10008: it was deleted meanwhile.
        """
        source = interaction.source
        if source is None or self._world.find_message(source.id) is None:
            raise unknown("Message", 10008)
        interaction.original = source.id
        interaction.ephemeral = source.only_for is not None
        return source

    def _callback_object(self, interaction: Interaction) -> Json:
        """What `with_response=true` gives back: the message itself for types 4 and 7 only."""
        kind = interaction.answered
        about: Json = {
            "id": interaction.id,
            "type": int(interaction.kind),
            "response_message_loading": kind == CallbackType.DEFERRED_MESSAGE,
            "response_message_ephemeral": interaction.ephemeral,
        }
        answer: Json = {"interaction": about}
        original = self._world.find_message(interaction.original) if interaction.original else None
        if original is not None:
            about["response_message_id"] = original.id
            if kind in (CallbackType.MESSAGE, CallbackType.UPDATE):
                answer["resource"] = {"type": int(kind), "message": original.copy()}
        return answer

    # --- afterwards, through the webhook of the token ---

    def follow_up(self, token: str, body: Json, files: Sequence[StoredFile]) -> Json:
        """POST /webhooks/{application}/{token}.

        Raises:
            ApiError: 50027, 10015 before the first reply, 50035, 50006.
        """
        interaction = self._interactions.answered(token)
        original = self._world.find_message(interaction.original) if interaction.original else None
        if original is not None and original.is_loading:
            return self._edit(interaction, original, body, files)
        check_message(body, files=len(files))
        message = self._post(interaction, body, files, ephemeral=_asks_for_ephemeral(body))
        interaction.add(Outcome("message", message.copy()))
        return message.copy()

    def read(self, token: str, message_id: str) -> Json:
        return self._reply_message(self._interactions.answered(token), message_id).copy()

    def edit(self, token: str, message_id: str, body: Json, files: Sequence[StoredFile]) -> Json:
        interaction = self._interactions.answered(token)
        return self._edit(interaction, self._reply_message(interaction, message_id), body, files)

    def delete(self, token: str, message_id: str) -> None:
        interaction = self._interactions.answered(token)
        self._world.delete(self._reply_message(interaction, message_id))
        interaction.add(Outcome("deleted"))

    def _edit(self, interaction: Interaction, message: Message, body: Json, files: Sequence[StoredFile]) -> Json:
        was_loading = message.is_loading
        check_message(body, files=len(files), before=message.wire)
        self._world.edit(message, body, files)
        interaction.add(Outcome("message" if was_loading else "update", message.copy()))
        return message.copy()

    def _reply_message(self, interaction: Interaction, message_id: str) -> Message:
        """The reply with that id ("@original": the first), if it is this bot's and this person may have it."""
        wanted = interaction.original if message_id == "@original" else message_id
        message = self._world.find_message(wanted) if wanted else None
        if message is None or message.wire["author"]["id"] != BOT.id:
            raise unknown("Message", 10008)
        if message.only_for not in (None, interaction.user_id):
            raise unknown("Message", 10008)
        return message

    # --- how ---

    def _post(
        self,
        interaction: Interaction,
        body: Json,
        files: Sequence[StoredFile],
        *,
        loading: bool = False,
        ephemeral: bool | None = None,
    ) -> Message:
        is_ephemeral = interaction.ephemeral if ephemeral is None else ephemeral
        more: Json = {"interaction_metadata": interaction.metadata(), "type": interaction.reply_type}
        if loading:
            more["flags"] = int(MessageFlag.LOADING)
        only_for = interaction.user_id if is_ephemeral else None
        return self._world.post(BOT.id, interaction.channel_id, body, files=files, only_for=only_for, more=more)


def _asks_for_ephemeral(body: Json) -> bool:
    flags = body.get("flags")
    return isinstance(flags, int) and bool(flags & MessageFlag.EPHEMERAL)
