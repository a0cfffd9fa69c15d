"""Discord's limits on messages, embeds and choices: a body that real Discord refuses is refused here.

Components are in components.py. Source of every number: Discord's documentation, "Message", "Embed limits".
"""

from __future__ import annotations

from bot.playground.components import check_message_components
from bot.playground.form import Spot
from bot.playground.wire import ApiError, Json, MessageFlag

_EMBEDS = 10
_EMBED_TEXT = 6000
_CONTENT = 2000
_CHOICES = 25
_FILES = 10


def check_message(body: Json, *, files: int = 0, place: str | None = None, before: Json | None = None) -> None:
    """Checks a new message, or an edit of `before`. `place` names the part of the form it stood in ("data").

    Raises:
        ApiError: 50035 with the tree of complaints, or 50006 for a message with nothing in it.
    """
    spot = Spot({place: body})[place] if place else Spot(body)
    spot["content"].text(most=_CONTENT)
    _check_embeds(spot["embeds"])
    flags = spot["flags"].whole(0, 2**31, default=0) | int((before or {}).get("flags") or 0)
    is_v2 = bool(flags & MessageFlag.COMPONENTS_V2)
    check_message_components(spot["components"], is_v2)
    if is_v2:
        _refuse_old_parts(spot, {**(before or {}), **body})
    _check_allowed_mentions(spot["allowed_mentions"])
    if files > _FILES or spot["attachments"].count() > _FILES:
        spot["attachments"].complain("BASE_TYPE_MAX_LENGTH", f"Must be {_FILES} or fewer in length.")
    spot.finish()
    if not files and _is_empty({**(before or {}), **body}):
        raise ApiError(400, 50006, "Cannot send an empty message")


def check_choices(data: Json) -> None:
    """Checks the choices of an autocomplete answer.

    Raises:
        ApiError: 50035.
    """
    form = Spot({"data": data})
    choices = form["data"]["choices"]
    choices.count(most=_CHOICES)
    for choice in choices.each():
        choice["name"].text(1, 100, required=True)
        if isinstance(choice["value"].value, str):
            choice["value"].text(0, 100)
        elif not isinstance(choice["value"].value, int | float):
            choice["value"].complain("BASE_TYPE_REQUIRED", "This field is required")
    form.finish()


def _refuse_old_parts(spot: Spot, message: Json) -> None:
    """`message`: what it would be afterwards; an edit to V2 must empty the old parts itself."""
    for name in ("content", "embeds", "poll", "sticker_ids"):
        if message.get(name):
            spot[name].complain(
                "MESSAGE_CANNOT_USE_LEGACY_FIELDS_WITH_COMPONENTS_V2",
                f"The '{name}' field cannot be used when using MessageFlags.IS_COMPONENTS_V2",
            )


def _is_empty(message: Json) -> bool:
    return not any(
        message.get(part) for part in ("content", "embeds", "components", "attachments", "sticker_ids", "poll")
    )


def _check_embeds(embeds: Spot) -> None:
    embeds.count(most=_EMBEDS)
    if sum(_check_embed(embed) for embed in embeds.each()) > _EMBED_TEXT:
        embeds.complain("MAX_EMBED_SIZE_EXCEEDED", f"Embed size exceeds maximum size of {_EMBED_TEXT}")


def _check_embed(embed: Spot) -> int:
    """Checks one embed and returns its share of the 6000 characters that all embeds of a message may hold."""
    texts = [
        embed["title"].text(most=256),
        embed["description"].text(most=4096),
        embed["footer"]["text"].text(most=2048),
        embed["author"]["name"].text(most=256),
    ]
    embed["fields"].count(most=25)
    for field in embed["fields"].each():
        texts += [field["name"].text(1, 256, required=True), field["value"].text(1, 1024, required=True)]
    return sum(len(text) for text in texts)


def _check_allowed_mentions(allowed: Spot) -> None:
    parse = allowed["parse"].value or []
    for kind in ("users", "roles"):
        allowed[kind].count(most=100)
        if kind in parse and allowed[kind].value:
            allowed["parse"].complain(
                "MESSAGE_ALLOWED_MENTIONS_PARSE_EXCLUSIVE",
                f'parse:["{kind}"] and {kind}: [ids...] are mutually exclusive.',
            )
