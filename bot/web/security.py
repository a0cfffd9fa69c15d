"""Who is calling: a program on this machine, the holder of the API key, or nobody we answer.

A browser on this machine can be made to call a loopback address by any page it shows, so a loopback peer alone proves
little: the Host must be a name of this machine (else a foreign name was rebound to it) and the Origin, where there is
one, must be our own page. Whoever does not pass needs `Authorization: Bearer <PUPIL_API_KEY>`.
"""

from __future__ import annotations

import hmac
import ipaddress
from dataclasses import dataclass

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from yarl import URL

from bot.services.people import Role
from storage.settings import Settings

PROTECTED = ("/api/v1/", "/metrics")
OPEN = "/healthz"
"""Says only that the process is alive; health checks call it by address, without a key."""

_FORWARDED = ("Forwarded", "X-Forwarded-For", "X-Real-IP")


@dataclass(frozen=True, slots=True)
class Caller:
    """Whom the services see as the annotator."""

    id: str
    role: Role


LOCAL = Caller("local", Role.OPERATOR)
KEY_HOLDER = Caller("api", Role.LEAD)
CALLER = web.RequestKey("caller", Caller)


def guard(settings: Settings) -> Middleware:
    """A middleware for the whole port: the API's routes find `request[CALLER]`; the page's Host and Origin are checked.

    Raises (to `answer_errors`, or as plain text outside the API): HTTPUnauthorized, HTTPForbidden.
    """

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path.startswith(PROTECTED):
            request[CALLER] = identify(request, settings)
        elif request.path != OPEN and not (_host_is_ours(request, settings) and _origin_is_ours(request)):
            raise web.HTTPForbidden(text="This page answers only under its own address.")
        return await handler(request)

    return check


def identify(request: web.Request, settings: Settings) -> Caller:
    """Raises HTTPUnauthorized, with a sentence that says what is missing. A key that is given must be right."""
    given = request.headers.get("Authorization")
    if given is not None:
        return _holder(given, settings)
    if _is_local(request) and _host_is_ours(request, settings) and _origin_is_ours(request):
        return LOCAL
    raise _unauthorized("From another machine or page this needs the API key: Authorization: Bearer <PUPIL_API_KEY>.")


def _holder(authorization: str, settings: Settings) -> Caller:
    if settings.api_key is None:
        raise _unauthorized("This bot has no API key. Set PUPIL_API_KEY, or call it from this machine without a key.")
    scheme, _, key = authorization.partition(" ")
    right = hmac.compare_digest(key.strip().encode(), settings.api_key.get_secret_value().encode())
    if scheme.casefold() != "bearer" or not right:
        raise _unauthorized("That is not the API key of this bot. Check PUPIL_API_KEY.")
    return KEY_HOLDER


def _unauthorized(sentence: str) -> web.HTTPUnauthorized:
    return web.HTTPUnauthorized(text=sentence, headers={"WWW-Authenticate": "Bearer"})


def _is_local(request: web.Request) -> bool:
    """A peer on this machine that speaks for itself: a proxy on this machine speaks for somebody else."""
    if any(name in request.headers for name in _FORWARDED):
        return False
    return request.remote is not None and is_loopback(request.remote)


def _host_is_ours(request: web.Request, settings: Settings) -> bool:
    host = _parse(f"http://{request.host}").host or ""
    return is_loopback(host) or host == settings.host


def _origin_is_ours(request: web.Request) -> bool:
    """No Origin (not a browser, or its own navigation), or the same host and port that the request names."""
    origin = request.headers.get("Origin")
    if origin is None:
        return True
    ours, theirs = _parse(f"http://{request.host}"), _parse(origin)
    return theirs.host is not None and (theirs.host, theirs.explicit_port) == (ours.host, ours.explicit_port)


def is_loopback(host: str) -> bool:
    """Whether a host name or address means this machine: localhost, 127.0.0.0/8, ::1."""
    if host == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def _parse(url: str) -> URL:
    try:
        return URL(url)
    except ValueError:
        return URL()
