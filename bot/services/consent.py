"""Who has opted out: nothing that they type is stored. Kept in memory, so that asking costs nothing."""

from __future__ import annotations

from collections.abc import Iterable

from bot.services.people import Actor
from storage.errors import NotAllowed

OPTED_OUT = (
    "You have opted out here, so nothing that you type is stored, and nothing was now. "
    "`/privacy opt-out off:True` changes that."
)


class Consent:
    """`PrivacyService` keeps it up to date."""

    def __init__(self, out: Iterable[tuple[str, str]] = ()) -> None:
        """`out`: (guild, person) of those who have opted out."""
        self._out = set(out)

    def is_out(self, actor: Actor) -> bool:
        return (actor.guild, actor.id) in self._out

    def check(self, actor: Actor) -> None:
        """Raises NotAllowed for somebody who has opted out."""
        if self.is_out(actor):
            raise NotAllowed(OPTED_OUT)

    def note(self, actor: Actor, *, out: bool) -> None:
        """What the actor wants from now on, once that is stored."""
        (self._out.add if out else self._out.discard)((actor.guild, actor.id))
