"""Every failure of the HTTP API as JSON: `{"error": sentence}` with the right status, and never a traceback.

`bot.api_client` reads the same table the other way, so that a program meets the errors of `storage.errors` on both
sides of the wire. Knows nothing of routes.
"""

from __future__ import annotations

import logging
import math
import secrets

from aiohttp import web
from aiohttp.typedefs import Handler

from storage.errors import (
    Busy,
    Conflict,
    DiskFull,
    InvalidInput,
    NotAllowed,
    NotFound,
    PupilError,
    TrainerUnavailable,
)

log = logging.getLogger(__name__)

API_PATHS = ("/api/v1/", "/metrics", "/healthz")
"""What this API answers. The playground has routes of its own on the same port, with Discord's error forms."""

STATUSES: tuple[tuple[type[PupilError], int], ...] = (
    (InvalidInput, 400),
    (NotAllowed, 403),
    (NotFound, 404),
    (Conflict, 409),
    (Busy, 429),
    (TrainerUnavailable, 503),
    (DiskFull, 507),
)
"""The status of each error; any other PupilError is 500."""


@web.middleware
async def answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turns whatever a handler raises into a JSON answer. Requests outside `API_PATHS` pass untouched."""
    if not request.path.startswith(API_PATHS):
        return await handler(request)
    try:
        return await handler(request)
    except PupilError as error:
        return _known(request, error)
    except web.HTTPException as error:
        return _from_aiohttp(request, error)
    except Exception:
        return _unexpected(request)


def status_of(error: PupilError) -> int:
    return next((status for kind, status in STATUSES if isinstance(error, kind)), 500)


def _known(request: web.Request, error: PupilError) -> web.Response:
    status = status_of(error)
    if status >= 500:
        log.error("request.failed", extra={"route": request.path, "status": status, "why": str(error)})
    headers = {"Retry-After": str(math.ceil(error.retry_after))} if isinstance(error, Busy) else {}
    return web.json_response({"error": str(error)}, status=status, headers=headers)


def _from_aiohttp(request: web.Request, error: web.HTTPException) -> web.Response:
    """What the router or a body limit refused, in our form. Headers such as Allow and WWW-Authenticate stay."""
    headers = {name: error.headers[name] for name in ("Allow", "WWW-Authenticate") if name in error.headers}
    return web.json_response({"error": _sentence(request, error)}, status=error.status, headers=headers)


def _sentence(request: web.Request, error: web.HTTPException) -> str:
    if isinstance(error, web.HTTPNotFound):
        return f"There is no route {request.path[:100]}. README.md lists them under “HTTP API”."
    if isinstance(error, web.HTTPMethodNotAllowed):
        return f"{request.method[:10]} is not possible here; {' and '.join(sorted(error.allowed_methods))} are."
    return error.text or error.reason


def _unexpected(request: web.Request) -> web.Response:
    reference = secrets.token_hex(4)
    log.exception("request.crashed", extra={"route": request.path, "reference": reference})
    sentence = f"Something went wrong on our side. The log has the details under {reference}."
    return web.json_response({"error": sentence}, status=500)
