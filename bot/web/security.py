"""Who is calling: a program on this machine, the holder of the API key, or nobody we answer.

Whoever does not come from here (`bot.web.origin`) needs `Authorization: Bearer <PUPIL_API_KEY>`.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from bot.services.people import Role
from bot.web.origin import ONLY_HERE, is_from_here
from storage.settings import Settings

PROTECTED = ("/api/v1/", "/metrics")
OPEN = "/healthz"
"""Says only that the process is alive; health checks call it by address, without a key."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Whom the services see as the annotator."""

    id: str
    role: Role


LOCAL = Caller("local", Role.OPERATOR)
KEY_HOLDER = Caller("api", Role.LEAD)
CALLER = web.RequestKey("caller", Caller)


def guard(settings: Settings) -> Middleware:
    """A middleware for the whole port: the API's routes find `request[CALLER]`; the page is for this machine.

    Raises (to `answer_errors`, or as plain text outside the API): HTTPUnauthorized, HTTPForbidden.
    """

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path.startswith(PROTECTED):
            request[CALLER] = identify(request, settings)
        elif request.path != OPEN and not is_from_here(request):
            raise web.HTTPForbidden(text=ONLY_HERE)
        return await handler(request)

    return check


def identify(request: web.Request, settings: Settings) -> Caller:
    """Raises HTTPUnauthorized, with a sentence that says what is missing. A key that is given must be right."""
    given = request.headers.get("Authorization")
    if given is not None:
        return _holder(given, settings)
    if is_from_here(request):
        return LOCAL
    raise _unauthorized("From another machine or page this needs the API key: Authorization: Bearer <PUPIL_API_KEY>.")


def _holder(authorization: str, settings: Settings) -> Caller:
    if settings.api_key is None:
        raise _unauthorized("This bot has no API key. Set PUPIL_API_KEY, or call it from this machine without a key.")
    scheme, _, key = authorization.partition(" ")
    given, right = key.strip().encode(errors="surrogateescape"), settings.api_key.get_secret_value().encode()
    if scheme.casefold() != "bearer" or not hmac.compare_digest(given, right):
        raise _unauthorized("That is not the API key of this bot. Check PUPIL_API_KEY.")
    return KEY_HOLDER


def _unauthorized(sentence: str) -> web.HTTPUnauthorized:
    return web.HTTPUnauthorized(text=sentence, headers={"WWW-Authenticate": "Bearer"})
