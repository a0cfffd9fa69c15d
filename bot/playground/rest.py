"""The REST side: reads the bot's requests, has them answered by routes.py, writes the answers.

Every request is recorded for the tests; one for a route that is not there is recorded as unhandled and answered 404.
Rate limits are not enforced. Knows HTTP, tokens and Discord's error form; no routes.
"""

from __future__ import annotations

import json
import logging
import secrets
from collections import deque
from collections.abc import Mapping
from typing import Any, NamedTuple

from aiohttp import web

from bot.playground.routes import Call, Parts, find_route
from bot.playground.uploads import parse_json, read_form
from bot.playground.wire import ApiError

log = logging.getLogger(__name__)

PREFIX = "/api/v10"
_RECORDED = 20_000


class Recorded(NamedTuple):
    """A request of the bot. `path` without "/api/v10"; `body` the parsed JSON, None when there was none."""

    method: str
    path: str
    body: Any


class Fault(NamedTuple):
    """What the next request gets instead of its answer."""

    status: int
    body: Any
    headers: Mapping[str, str]


class Rest:
    """Answers the bot's requests. For one event loop."""

    def __init__(self, parts: Parts, token: str) -> None:
        self.requests: deque[Recorded] = deque(maxlen=_RECORDED)
        self.unhandled: deque[Recorded] = deque(maxlen=_RECORDED)
        self.faults: deque[Fault] = deque()
        self._parts = parts
        self._token = token

    async def handle(self, request: web.Request) -> web.Response:
        """Every request under /api/v10."""
        path = request.path.removeprefix(PREFIX)
        try:
            answer, names = find_route(request.method, path)
            call = await self._read(request, names)
            self.requests.append(Recorded(request.method, path, call.body))
            if self.faults:
                fault = self.faults.popleft()
                return _response(fault.body, fault.status, fault.headers)
            if answer is None:
                self._note_unhandled(request.method, path, call.body)
                return _response({"code": 0, "message": "404: Not Found"}, 404)
            self._check_token(request, path)
            data = answer(self._parts, call)
        except ApiError as error:
            return _response(error.body, error.status)
        return web.Response(status=204) if data is None else _response(data)

    async def _read(self, request: web.Request, names: dict[str, str]) -> Call:
        call = Call(names, request.query)
        if request.content_type == "multipart/form-data":
            call.body, uploads = await read_form(request)
            call.files = [self._parts.world.add_file(one) for one in uploads]
        else:
            call.body = parse_json(await request.read())
        return call

    def _check_token(self, request: web.Request, path: str) -> None:
        """Raises ApiError 401. Interaction routes carry their own token in the path."""
        if path.startswith(("/interactions/", "/webhooks/")):
            return
        given = request.headers.get("Authorization", "").removeprefix("Bot ")
        if not secrets.compare_digest(given.encode(), self._token.encode()):
            raise ApiError(401, 0, "401: Unauthorized")

    def _note_unhandled(self, method: str, path: str, body: Any) -> None:
        self.unhandled.append(Recorded(method, path, body))
        log.warning("request.unhandled", extra={"method": method, "path": path})


def _response(data: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """JSON with exactly Discord's content type: with a charset behind it, discord.py would take it for a text."""
    response = web.Response(body=json.dumps(data).encode(), status=status, headers=headers)
    response.headers["Content-Type"] = "application/json"
    return response
