"""The playground as a whole: builds its parts, and says at which addresses they answer.

The caller owns the aiohttp application and the port; `add_routes`, then `bind` once the port is known.
"""

from __future__ import annotations

import logging
from collections import deque
from pathlib import Path
from typing import Any

from aiohttp import web

from bot.playground import objects
from bot.playground.actions import Actions
from bot.playground.commands import Commands
from bot.playground.gateway import Gateway
from bot.playground.interactions import Interactions
from bot.playground.objects import PEOPLE
from bot.playground.people import Person
from bot.playground.replies import Replies
from bot.playground.rest import PREFIX, Fault, Recorded, Rest
from bot.playground.routes import Parts
from bot.playground.socket import PageSockets
from bot.playground.store import Store
from bot.playground.uploads import read_form
from bot.playground.wire import ApiError
from bot.playground.world import World
from bot.web.origin import ONLY_HERE, is_from_here
from storage.errors import NotFound

log = logging.getLogger(__name__)

GUILD_ID = objects.GUILD_ID
CHANNEL_IDS = objects.CHANNEL_IDS
APPLICATION_ID = objects.APPLICATION_ID
TOKEN = "playground"  # noqa: S105 - no secret: it opens nothing but this process's own stand-in
_PAGE = Path(__file__).parent / "page"
_SHOWN_INLINE = {"image/png", "image/jpeg", "image/gif", "image/webp", "image/avif"}
_PAGE_HEADERS = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data: blob:; style-src 'self' 'unsafe-inline';"
    " frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


class Playground:
    """A stand-in for Discord. For one event loop; `close` it."""

    def __init__(
        self,
        state: Path | None = None,
        *,
        deadline: float = 3.0,
        token_life: float = 900.0,
        heartbeat: float = 41.25,
        messages_per_channel: int = 500,
    ) -> None:
        """`state`: the file that keeps messages and commands, None for memory. Times in seconds, Discord's by default.

        Raises:
            InstanceLocked: another process uses `state`.
            DamagedFile: `state` is there but cannot be read.
        """
        self.token = TOKEN
        self.base_url = ""
        self._store = Store(state, messages_per_channel)
        self.world = World(self._store)
        self.commands = Commands(self.world)
        self.gateway = Gateway(self.world, TOKEN, heartbeat=heartbeat)
        self.interactions = Interactions(self.world, self.gateway.dispatch, deadline, token_life)
        self.actions = Actions(self.world, self.commands, self.interactions)
        replies = Replies(self.world, self.interactions)
        self._rest = Rest(Parts(self.world, self.commands, replies, lambda: self.gateway.url), TOKEN)
        self._pages = PageSockets(self.actions, lambda: self.gateway.online)
        self._is_closed = False

    # --- addresses ---

    def add_routes(self, app: web.Application) -> None:
        """Adds every address of the playground, and closes it together with the application."""
        app.router.add_route("*", PREFIX + "/{path:.*}", self._guard(self._rest.handle))
        app.router.add_get("/gateway/", self._guard(self.gateway.handle))
        app.router.add_get("/cdn/{file}/{name}", self._guard(self._give_file))
        app.router.add_get("/playground/socket", self._guard(self._pages.handle))
        app.router.add_post("/playground/uploads", self._guard(self._take_upload))
        app.router.add_get("/", self._guard(self._give_page))
        app.router.add_get("/page/{path:.+}", self._guard(self._give_page))
        app.on_shutdown.append(self._end_connections)
        app.on_cleanup.append(self._close)

    def bind(self, base_url: str) -> None:
        """Told its own address, "http://127.0.0.1:8730", once the port is known and before anybody connects."""
        self.base_url = base_url.rstrip("/")
        self.gateway.url = self.gateway_url
        self.world.bind(self.base_url)

    @property
    def api_url(self) -> str:
        return self.base_url + PREFIX

    @property
    def gateway_url(self) -> str:
        return "ws" + self.base_url.removeprefix("http") + "/gateway/"

    async def close(self) -> None:
        """Ends all connections; safe to call twice."""
        if not self._is_closed:
            self._is_closed = True
            await self._end_connections()
            self._store.close()

    async def _end_connections(self, app: web.Application | None = None) -> None:
        self.interactions.close()
        await self._pages.close()
        await self.gateway.close()

    async def _close(self, app: web.Application) -> None:
        await self.close()

    # --- for tests ---

    def person(self, name: str) -> Person:
        """ "maria" (lead: Manage Server, owner of the guild), "jonas" or "ada" (members)."""
        for user in PEOPLE:
            if user.username == name:
                return Person(self.actions, user)
        raise NotFound(f"There is no {name!r} here. There are: {', '.join(user.username for user in PEOPLE)}.")

    @property
    def requests(self) -> deque[Recorded]:
        """What the bot asked for, newest last, bounded: (method, path, body)."""
        return self._rest.requests

    @property
    def unhandled(self) -> deque[Recorded]:
        """Those of the requests for which there is no route."""
        return self._rest.unhandled

    def fail_next(self, status: int, body: Any = None, **headers: str) -> None:
        """The bot's next REST request gets this answer and has no effect. Called twice: the next two."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self._rest.faults.append(Fault(status, {} if body is None else body, named))

    # --- small handlers ---

    def _guard(self, handler: Any) -> Any:
        async def guarded(request: web.Request) -> web.StreamResponse:
            if not is_from_here(request):
                log.warning("page.refused", extra={"host": request.host, "origin": request.headers.get("Origin")})
                raise web.HTTPForbidden(text=ONLY_HERE)
            answer: web.StreamResponse = await handler(request)
            return answer

        return guarded

    async def _take_upload(self, request: web.Request) -> web.Response:
        """POST multipart with one part "file" -> {id, filename, size, content_type, url}."""
        if request.content_type != "multipart/form-data":
            return web.json_response({"error": "Send the file as multipart/form-data."}, status=400)
        try:
            _, uploads = await read_form(request)
        except ApiError as error:
            sentence = "A file may have at most 10 MiB." if error.status == 413 else "The upload cannot be read."
            return web.json_response({"error": sentence}, status=error.status)
        if not uploads:
            return web.json_response({"error": "There was no file in the upload."}, status=400)
        file = self.world.add_file(uploads[0])
        return web.json_response(self.world.attachment(file))

    async def _give_file(self, request: web.Request) -> web.Response:
        """GET /cdn/{id}/{name}. Only pictures are shown in place: a page someone uploaded must not run as ours."""
        file = self._store.file(request.match_info["file"])
        if file is None:
            raise web.HTTPNotFound(text="This file is gone.")
        is_picture = file.content_type in _SHOWN_INLINE
        headers = {
            "Content-Type": file.content_type if is_picture else "application/octet-stream",
            "Content-Disposition": "inline" if is_picture else f'attachment; filename="{file.name}"',
            "Cache-Control": "private, max-age=86400",
            "X-Content-Type-Options": "nosniff",
        }
        return web.Response(body=file.data, headers=headers)

    async def _give_page(self, request: web.Request) -> web.StreamResponse:
        path = (_PAGE / request.match_info.get("path", "index.html")).resolve()
        if not path.is_relative_to(_PAGE.resolve()) or not path.is_file():
            raise web.HTTPNotFound(text="There is no such file.")
        return web.FileResponse(path, headers=_PAGE_HEADERS)
