"""Which mentions of a message ping somebody, by Discord's allowed_mentions rules. Pure; knows no users."""

from __future__ import annotations

import re
from dataclasses import dataclass

from bot.playground.wire import Json

_CODE = re.compile(r"```.*?```|``.*?``|`[^`]*`", re.DOTALL)
_USER = re.compile(r"<@!?(\d{1,20})>")
_ROLE = re.compile(r"<@&(\d{1,20})>")
_EVERYONE = re.compile(r"@(everyone|here)\b")


@dataclass(frozen=True)
class Pings:
    """Ids in order of appearance, each once."""

    users: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    everyone: bool = False


def find_pings(text: str, allowed: Json | None, *, may_mention_everyone: bool) -> Pings:
    """The pings of a text. Nothing inside code pings. `allowed` None: the field was not sent, so everything may."""
    plain = _CODE.sub(" ", text)
    everyone = bool(_EVERYONE.search(plain)) and may_mention_everyone and _allows(allowed, "everyone")
    return Pings(
        users=tuple(one for one in _unique(_USER, plain) if _allows(allowed, "users", one)),
        roles=tuple(one for one in _unique(_ROLE, plain) if _allows(allowed, "roles", one)),
        everyone=everyone,
    )


def _unique(pattern: re.Pattern[str], text: str) -> list[str]:
    return list(dict.fromkeys(pattern.findall(text)))


def _allows(allowed: Json | None, kind: str, one: str | None = None) -> bool:
    if allowed is None or kind in (allowed.get("parse") or []):
        return True
    return one is not None and one in [str(each) for each in allowed.get(kind) or []]
