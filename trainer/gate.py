"""What stands before every route of the trainer: signature, body limits, and errors as JSON with one sentence.

Refusals are cheap: nothing of a body is read before the signature over its digest was checked, and never more than
its announced length. Knows nothing of what the routes do.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator
from typing import TypeVar

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from storage.errors import (
    Busy,
    Conflict,
    DiskFull,
    InvalidInput,
    NotAllowed,
    NotFound,
    PupilError,
    TrainerUnavailable,
    TrainingFailed,
)
from trainer.protocol import Refusal, to_json
from trainer.signing import DIGEST, ID, SIGNATURE, Verifier, sign_answer

log = logging.getLogger(__name__)

T = TypeVar("T", bound=web.StreamResponse)

STALL = 30.0
"""Seconds without a byte of an announced body after which the request is given up."""
SLOWEST = 16 << 10
"""Bytes per second below which it is given up too: a byte now and then would hold the connection for ever."""

_STATUS: dict[type[PupilError], int] = {
    InvalidInput: 400,
    NotAllowed: 401,
    NotFound: 404,
    Conflict: 409,
    TrainingFailed: 422,
    Busy: 503,
    TrainerUnavailable: 503,
    DiskFull: 507,
}

_WORDS = {
    404: "There is no such route; bot and trainer may be of different versions.",
    405: "This route does not take that method.",
}


def make_gate(verifier: Verifier, open_path: str | None = None) -> Middleware:
    """The middleware. A handler behind it may raise any `PupilError` and may trust `Pupil-Digest`.

    Args:
        open_path: where GET needs no signature, and the answer has none. None: nowhere.
    """

    @web.middleware
    async def gate(request: web.Request, handler: Handler) -> web.StreamResponse:
        if (request.method, request.raw_path) == ("GET", open_path):
            return _close_after(await handler(request))
        try:
            key = verifier.check(request.method, request.raw_path, request.headers)
        except NotAllowed as error:
            return _close_after(_refusal(401, str(error)))
        answer = await _answer(request, handler)
        if isinstance(answer, web.Response):
            body = answer.body if isinstance(answer.body, bytes) else b""
            answer.headers[SIGNATURE] = sign_answer(key, request.headers[ID], answer.status, body)
        return answer

    return gate


async def body_chunks(request: web.Request, limit: int) -> AsyncIterator[bytes]:
    """The body piece by piece; ends well only if it was what the signature covers.

    `client_max_size` does not apply to a stream, so the bytes are counted here, whatever the announced length was.

    Raises:
        web.HTTPException: no length announced, too large, or encoded.
        InvalidInput: it stalled, came too slowly, or arrived with another digest.
    """
    if request.headers.get("Content-Encoding", "identity") != "identity":
        raise web.HTTPUnsupportedMediaType(reason="Send the body without Content-Encoding.")
    if request.content_length is None:
        raise web.HTTPLengthRequired(reason="Announce the body's length.")
    if request.content_length > limit:
        raise web.HTTPRequestEntityTooLarge(limit, request.content_length)
    digest, size = hashlib.sha256(), 0
    until = asyncio.get_running_loop().time() + STALL + request.content_length / SLOWEST
    while chunk := await _next_chunk(request, until):
        if (size := size + len(chunk)) > request.content_length:
            raise web.HTTPRequestEntityTooLarge(request.content_length, size)
        digest.update(chunk)
        yield chunk
    if digest.hexdigest() != request.headers[DIGEST]:
        raise InvalidInput("The body arrived damaged: its sha256 is not the announced one. Send it again.")


async def body(request: web.Request, limit: int) -> bytes:
    """The whole body of a small request."""
    return b"".join([chunk async for chunk in body_chunks(request, limit)])


async def _next_chunk(request: web.Request, until: float) -> bytes:
    try:
        async with asyncio.timeout_at(min(until, asyncio.get_running_loop().time() + STALL)):
            return await request.content.readany()
    except TimeoutError:
        raise InvalidInput("The body stalled, or came too slowly. Send it again.") from None


async def _answer(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except PupilError as error:
        status = next((code for kind, code in _STATUS.items() if isinstance(error, kind)), 500)
        return _close_after(_refusal(status, str(error)))
    except web.HTTPRequestEntityTooLarge as error:
        return _close_after(_refusal(413, error.text or "The body is too large."))
    except web.HTTPException as error:
        return _close_after(_refusal(error.status, _WORDS.get(error.status, error.reason)))
    except (ConnectionError, asyncio.CancelledError):
        raise
    except Exception:
        log.exception("request.broken", extra={"method": request.method, "path": request.path})
        return _close_after(_refusal(500, "The trainer met an error of its own; see its log."))


def _refusal(status: int, sentence: str) -> web.Response:
    return web.Response(status=status, body=to_json(Refusal(sentence)).encode(), content_type="application/json")


def _close_after(response: T) -> T:
    # Part of the body may not have been read; the connection cannot carry another request.
    response.force_close()
    return response
