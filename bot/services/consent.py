"""Whose words may be stored: who has opted out, and the one check before anything that somebody typed is kept.

Kept in memory, so that asking costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterable

from bot.services.classifiers import check_live
from bot.services.people import Actor, Role
from storage.errors import NotAllowed
from storage.records import Classifier

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
        return self.left_out(actor.guild, actor.id)

    def left_out(self, guild: str, person: str) -> bool:
        """The same of somebody who is not the one who acts."""
        return (guild, person) in self._out

    def require_author(self, guild: str, author: str) -> None:
        """The check before somebody else's message is stored. Raises NotAllowed: its author has opted out."""
        if self.left_out(guild, author):
            raise NotAllowed("Who wrote this message has opted out, so it is not stored.")

    def require(self, actor: Actor, role: Role, what: str, classifier: Classifier | None = None) -> None:
        """The check before words of `actor` are stored; `what` completes "... may". No `classifier`: not known yet.

        Raises:
            NotAllowed: they have not the role, or have opted out. Conflict: the classifier is archived.
        """
        actor.require(role, what)
        if self.is_out(actor):
            raise NotAllowed(OPTED_OUT)
        if classifier is not None:
            check_live(classifier)

    def note(self, actor: Actor, *, out: bool) -> None:
        """What the actor wants from now on, once that is stored."""
        (self._out.add if out else self._out.discard)((actor.guild, actor.id))
