"""Who is asking, and what they may do. The edges (chat, API, CLI) build an Actor; the services check it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from storage.errors import NotAllowed


class Role(IntEnum):
    """Each role may do what the ones before it may."""

    GUEST = 0
    """Asks; somebody without the role that a lead has named for teaching."""
    MEMBER = 1
    """Asks, labels, teaches."""
    LEAD = 2
    """Owns classifiers: names labels, starts trainings, decides what is live."""
    OPERATOR = 3
    """Runs the bot."""


@dataclass(frozen=True, slots=True)
class Actor:
    """One person (or key, or timer) in one guild, for the length of one request."""

    guild: str
    id: str
    name: str
    role: Role = Role.MEMBER
    channel: str | None = None
    """Where they are, so that a classifier can be found by the channel's default."""
    member_role: str | None = None
    """Id of the role that may label and teach here; None: everyone may."""

    def require(self, role: Role, what: str) -> None:
        """Raises NotAllowed unless the actor has at least `role`; `what` completes "... may"."""
        if self.role < role and role is Role.MEMBER and self.member_role:
            raise NotAllowed(f"You need the role <@&{self.member_role}> to {what} here. Ask a lead for it.")
        if self.role < role is Role.OPERATOR:
            raise NotAllowed(f"Only an operator may {what}. Ask whoever runs this bot.")
        if self.role < role:
            raise NotAllowed(f"Only a {role.name.lower()} may {what}. Ask someone who manages this server.")


def timer(guild: str) -> Actor:
    """The schedule itself, acting in one guild."""
    return Actor(guild, "timer", "the schedule", Role.OPERATOR)
