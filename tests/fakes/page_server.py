"""A stand-in for the playground's server: the page's files, its socket, uploads and the lesson, with canned answers.

It speaks the page's side of the protocol only. There is no bot, no database and no Discord behind it, so that a page
test starts at once and can bring about what is rare: a lost connection, a bot that never answers, a refused step.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aiohttp import web

from tests.fakes import page_scenes as scenes

PAGE = Path(__file__).parents[2] / "bot" / "playground" / "page"
Json = dict[str, Any]


class PageServer:
    """`async with PageServer() as server: server.url`. Every operation that came is in `operations`."""

    def __init__(self, *, messages: bool = True) -> None:
        self.operations: list[Json] = []
        self.lesson = scenes.Lesson()
        self.online = True
        self.url = ""
        self._ids = itertools.count(500)
        self._sockets: dict[web.WebSocketResponse, str] = {}
        self._uploads: dict[str, bytes] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._port = 0
        self.messages: dict[str, list[Json]] = {scenes.SUPPORT: [], scenes.TRAINING: []}
        if messages:
            self.messages = scenes.conversation(self.next_id)

    async def __aenter__(self) -> PageServer:
        await self.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listens; the second time on the same port as the first, as a restarted server does."""
        app = web.Application()
        app.router.add_get("/", self._page)
        app.router.add_get("/page/{name}", self._page)
        app.router.add_get("/playground/socket", self._socket)
        app.router.add_post("/playground/uploads", self._upload)
        app.router.add_get("/cdn/{file}/{name}", self._file)
        app.router.add_get("/api/v1/lesson", self._lesson)
        app.router.add_post("/api/v1/lesson/{step}", self._lesson_step)
        self._runner = web.AppRunner(app, shutdown_timeout=0.2)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._port)
        await site.start()
        self._port = self._runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{self._port}/"

    async def stop(self) -> None:
        for socket in list(self._sockets):
            await socket.close(code=1001)
        for task in self._tasks:
            task.cancel()
        await self._runner.cleanup()

    def next_id(self) -> str:
        return str(next(self._ids))

    def sent(self, op: str) -> list[Json]:
        """The operations of one kind, oldest first."""
        return [frame for frame in self.operations if frame["op"] == op]

    # --- what a test brings about ---

    async def event(self, kind: str, data: Json, only_for: str | None = None) -> None:
        for socket, user in list(self._sockets.items()):
            if only_for in (None, user):
                await socket.send_json({"op": "event", "type": kind, "data": data})

    async def post(self, message: Json, only_for: str | None = None) -> Json:
        """Puts a message into its channel and shows it to the pages."""
        self.messages[message["channel_id"]].append(message)
        await self.event("message_create", {"message": message}, only_for)
        return message

    async def edit(self, message: Json, **changes: Any) -> None:
        message.update(changes)
        await self.event("message_update", {"message": message})

    async def set_online(self, online: bool) -> None:
        self.online = online
        await self.event("bot", {"online": online})

    # --- the socket ---

    async def _socket(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self._sockets[socket] = scenes.MARIA
        try:
            async for message in socket:
                await self._take(socket, json.loads(message.data))
        finally:
            self._sockets.pop(socket, None)
        return socket

    async def _take(self, socket: web.WebSocketResponse, frame: Json) -> None:
        self.operations.append(frame)
        handler: Callable[[web.WebSocketResponse, Json], Any] = getattr(self, f"_on_{frame['op']}")
        try:
            data = handler(socket, frame)
        except scenes.Refused as refusal:
            await socket.send_json({"op": "reply", "n": frame["n"], "ok": False, "error": str(refusal)})
            return
        await socket.send_json({"op": "reply", "n": frame["n"], "ok": True, "data": data})

    def _on_hello(self, socket: web.WebSocketResponse, frame: Json) -> Json:
        user = self._sockets[socket]
        visible = {
            channel: [message for message in messages if message.get("flags", 0) & 64 == 0 or message["for"] == user]
            for channel, messages in self.messages.items()
        }
        return scenes.hello(user, self.online) | {"messages": visible}

    def _on_act_as(self, socket: web.WebSocketResponse, frame: Json) -> Json:
        self._sockets[socket] = frame["user_id"]
        return self._on_hello(socket, frame)

    def _on_history(self, socket: web.WebSocketResponse, frame: Json) -> Json:
        return {"messages": []}

    def _on_say(self, socket: web.WebSocketResponse, frame: Json) -> Json:
        message = scenes.message(self.next_id(), frame["channel_id"], self._sockets[socket], frame["content"])
        message["attachments"] = [self._attachment(one) for one in frame["attachments"]]
        self._start(self.post(message))
        return {"message_id": message["id"]}

    def _on_autocomplete(self, socket: web.WebSocketResponse, frame: Json) -> Json:
        focused = next(option for option in frame["options"] if option.get("focused"))
        names = [label for label in scenes.LABELS if str(focused["value"]).lower() in label]
        return {"choices": [{"name": name, "value": name} for name in names]}

    def _on_command(self, socket: web.WebSocketResponse, frame: Json) -> Json:
        return self._interaction(socket, frame, "/" + scenes.command_name(frame))

    def _on_menu(self, socket: web.WebSocketResponse, frame: Json) -> Json:
        return self._interaction(socket, frame, scenes.command_name(frame))

    def _on_component(self, socket: web.WebSocketResponse, frame: Json) -> Json:
        return self._interaction(socket, frame | {"channel_id": scenes.SUPPORT}, "")

    def _on_modal_submit(self, socket: web.WebSocketResponse, frame: Json) -> Json:
        return self._interaction(socket, frame | {"channel_id": scenes.SUPPORT}, "/teach")

    def _on_dismiss(self, socket: web.WebSocketResponse, frame: Json) -> None:
        return None

    # --- interactions ---

    def _interaction(self, socket: web.WebSocketResponse, frame: Json, command: str) -> Json:
        interaction = {
            "interaction_id": self.next_id(),
            "command": command,
            "user_id": self._sockets[socket],
            "channel_id": frame["channel_id"],
        }
        self._start(self._play(interaction, frame))
        return {"interaction_id": interaction["interaction_id"]}

    async def _play(self, interaction: Json, frame: Json) -> None:
        await self.event("interaction", interaction | {"state": "waiting"}, interaction["user_id"])
        outcome = await scenes.answer(self, interaction, frame)
        await self.event("interaction", interaction | outcome, interaction["user_id"])

    def _start(self, work: Any) -> None:
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # --- files, page, lesson ---

    async def _page(self, request: web.Request) -> web.FileResponse:
        return web.FileResponse(PAGE / request.match_info.get("name", "index.html"))

    async def _upload(self, request: web.Request) -> web.Response:
        field = (await request.post())["file"]
        assert isinstance(field, web.FileField)
        number, data = self.next_id(), field.file.read()
        self._uploads[number] = data
        url = f"{self.url}cdn/{number}/{field.filename}"
        self._names = getattr(self, "_names", {}) | {number: (field.filename, field.content_type, len(data), url)}
        return web.json_response({"id": number, **self._attachment(number)})

    def _attachment(self, number: str) -> Json:
        name, content_type, size, url = self._names[number]
        return {"id": number, "filename": name, "content_type": content_type, "size": size, "url": url}

    async def _file(self, request: web.Request) -> web.Response:
        data = scenes.PICTURE if request.match_info["file"] == "0" else self._uploads[request.match_info["file"]]
        return web.Response(body=data, content_type="image/png" if data[:4] == b"\x89PNG" else "text/csv")

    async def _lesson(self, request: web.Request) -> web.Response:
        return web.json_response(self.lesson.state())

    async def _lesson_step(self, request: web.Request) -> web.Response:
        try:
            await self.lesson.step(request.match_info["step"])
        except scenes.Refused as refusal:
            return web.json_response({"error": str(refusal)}, status=409)
        return web.json_response(self.lesson.state())
