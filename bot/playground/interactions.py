"""The open interactions and their clocks: 3 s for the first reply, 15 min for the token.

A first reply is refused with 10062 after the deadline and with 40060 after another one, a follow-up with 50027 after
the token's life. Tokens live in memory: after a restart of the playground open interactions are gone, messages and
their buttons are not. What a reply does is in replies.py.
Source: Discord's documentation, "Receiving and Responding to Interactions".
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable
from typing import NamedTuple

from bot.playground.interaction import Interaction, Outcome
from bot.playground.wire import ApiError, CallbackType, InteractionType, Json, unknown
from bot.playground.world import DID_NOT_RESPOND, Event, Message, World

log = logging.getLogger(__name__)

_OPEN_MODALS = 200


class OpenModal(NamedTuple):
    """A modal on somebody's screen, and the interaction that opened it."""

    interaction: Interaction
    form: Json


class Interactions:
    """All open interactions. For one event loop."""

    def __init__(self, world: World, deliver: Callable[[str, Json], None], deadline: float, token_life: float) -> None:
        """`deliver(type, data)` hands an event to the gateway; `deadline` and `token_life` in seconds."""
        self.deadline = deadline
        self.token_life = token_life
        self._world = world
        self._deliver = deliver
        self._open: dict[str, Interaction] = {}
        self._modals: dict[str, OpenModal] = {}
        self._timers: set[asyncio.TimerHandle] = set()

    def close(self) -> None:
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()

    def begin(
        self, kind: InteractionType, user_id: str, channel_id: str, name: str, data: Json, source: Message | None = None
    ) -> Interaction:
        """Delivers to the bot that the person did something. `name`: how it reads ("label", "train now")."""
        interaction = Interaction(
            id=self._world.snowflake(),
            token=secrets.token_urlsafe(32),
            kind=kind,
            user_id=user_id,
            channel_id=channel_id,
            name=name,
            data=data,
            source=source,
            born=time.monotonic(),
        )
        self._open[interaction.token] = interaction
        self._after(self.deadline, lambda: self._fail(interaction))
        self._after(self.token_life, lambda: self._end_token(interaction))
        self._tell_state(interaction, "waiting")
        self._deliver("INTERACTION_CREATE", interaction.payload())
        return interaction

    def modal(self, modal_id: str) -> OpenModal | None:
        """A modal that was opened; it can be sent again when the bot did not answer the first time."""
        return self._modals.get(modal_id)

    # --- for the bot's replies ---

    def waiting(self, interaction_id: str, token: str) -> Interaction:
        """The interaction whose first reply may be given now.

        Raises:
            ApiError: 10062 too late or unknown, 40060 it was answered already.
        """
        interaction = self._open.get(token)
        if interaction is None or interaction.id != interaction_id:
            raise unknown("interaction", 10062)
        if time.monotonic() - interaction.born > self.deadline:  # a busy event loop delays the timer
            self._fail(interaction)
        if interaction.failed:
            raise unknown("interaction", 10062)
        if interaction.answered:
            raise ApiError(400, 40060, "Interaction has already been acknowledged.")
        return interaction

    def answered(self, token: str) -> Interaction:
        """The interaction to which follow-ups may be given now.

        Raises:
            ApiError: 50027 the token has ended, 10015 there was no first reply.
        """
        interaction = self._open.get(token)
        if interaction is None or time.monotonic() - interaction.born > self.token_life:
            raise ApiError(401, 50027, "Invalid Webhook Token")
        if interaction.answered is None:
            raise unknown("Webhook", 10015)
        return interaction

    def mark_answered(self, interaction: Interaction, kind: CallbackType) -> None:
        interaction.answered = kind
        self._tell_state(interaction, "done")

    def open_modal(self, interaction: Interaction, data: Json) -> None:
        """Puts a modal on the person's screen."""
        modal_id = self._world.snowflake()
        form: Json = {"modal_id": modal_id, "interaction_id": interaction.id, "channel_id": interaction.channel_id}
        form |= {key: data[key] for key in ("title", "custom_id", "components")}
        self._modals[modal_id] = OpenModal(interaction, form)
        if len(self._modals) > _OPEN_MODALS:
            del self._modals[next(iter(self._modals))]
        interaction.add(Outcome("modal", modal=form))
        self._world.tell(Event("MODAL", form, interaction.user_id))

    # --- how ---

    def _fail(self, interaction: Interaction) -> None:
        """The deadline has passed; no matter when there was an answer."""
        if interaction.answered or interaction.failed:
            return
        interaction.failed = True
        interaction.add(Outcome("failed", error=DID_NOT_RESPOND))
        self._tell_state(interaction, "failed", DID_NOT_RESPOND)
        log.info("interaction.expired", extra={"interaction": interaction.id, "command": interaction.name})

    def _end_token(self, interaction: Interaction) -> None:
        self._open.pop(interaction.token, None)
        original = self._world.find_message(interaction.original) if interaction.original else None
        if original is not None and original.is_loading:
            self._world.give_up_loading(original)
            interaction.add(Outcome("failed", error=DID_NOT_RESPOND))
            self._tell_state(interaction, "failed", DID_NOT_RESPOND)

    def _tell_state(self, interaction: Interaction, state: str, error: str | None = None) -> None:
        if interaction.kind == InteractionType.AUTOCOMPLETE:
            return
        data: Json = {
            "interaction_id": interaction.id,
            "state": state,
            "command": interaction.title,
            "user_id": interaction.user_id,
            "channel_id": interaction.channel_id,
        }
        self._world.tell(Event("INTERACTION", data | ({"error": error} if error else {}), interaction.user_id))

    def _after(self, seconds: float, action: Callable[[], None]) -> None:
        def run() -> None:
            self._timers.discard(timer)
            action()

        timer = asyncio.get_running_loop().call_later(seconds, run)
        self._timers.add(timer)
