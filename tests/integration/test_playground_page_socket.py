"""The socket the page speaks, and the addresses around it."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from bot.playground.server import CHANNEL_IDS, Playground
from tests.fakes.playground_bot import Connected, served

SUPPORT = CHANNEL_IDS["support"]
JONAS = "100000000000000101"


class Page:
    """A page without a browser: sends operations, keeps the events that came."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._number = 0
        self.events: list[dict[str, Any]] = []

    async def ask(self, op: str, **arguments: Any) -> dict[str, Any]:
        """The whole reply frame."""
        self._number += 1
        await self._socket.send_json({"op": op, "n": self._number, **arguments})
        while True:
            frame = await self._take()
            if frame["op"] == "reply" and frame["n"] == self._number:
                return frame

    async def do(self, op: str, **arguments: Any) -> Any:
        frame = await self.ask(op, **arguments)
        assert frame["ok"], frame
        return frame["data"]

    async def event(self, kind: str, **wanted: Any) -> dict[str, Any]:
        """The data of the first event of that type that holds the wanted values; it is taken out."""
        while True:
            for event in self.events:
                if event["type"] == kind and wanted.items() <= event["data"].items():
                    self.events.remove(event)
                    return event["data"]
            await self._take()

    async def _take(self) -> dict[str, Any]:
        frame = await self._socket.receive_json(timeout=5)
        if frame["op"] == "event":
            self.events.append(frame)
        return frame


@asynccontextmanager
async def opened(playground: Playground) -> AsyncIterator[Page]:
    headers = {"Origin": playground.base_url}
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(playground.base_url + "/playground/socket", headers=headers) as socket,
    ):
        yield Page(socket)


def _command(hello: dict[str, Any], name: str) -> str:
    return next(one["id"] for one in hello["commands"] if one["name"] == name)


async def test_hello_tells_everything_a_page_shows() -> None:
    async with served() as playground, Connected(playground), opened(playground) as page:
        hello = await page.do("hello")
        assert hello["me"] == {
            "id": "100000000000000100",
            "username": "maria",
            "global_name": "Maria",
            "colour": hello["me"]["colour"],
            "lead": True,
        }
        assert [one["lead"] for one in hello["users"]] == [True, False, False]
        assert [one["name"] for one in hello["channels"]] == ["support", "training"]
        assert hello["bot"]["online"] is True
        assert hello["guild"]["name"] == "Pupil playground"
        assert {"ask", "train", "Echo"} <= {one["name"] for one in hello["commands"]}
        assert hello["messages"] == {SUPPORT: [], CHANNEL_IDS["training"]: []}


async def test_command_button_and_events_in_order() -> None:
    async with served() as playground, Connected(playground), opened(playground) as page:
        hello = await page.do("hello")
        started = await page.do("command", channel_id=SUPPORT, command_id=_command(hello, "count"), options=[])
        waiting = await page.event("interaction", **started)
        assert (waiting["state"], waiting["command"]) == ("waiting", "/count")
        message = (await page.event("message_create"))["message"]
        assert message["content"] == "count 0"
        assert message["interaction_metadata"]["name"] == "count"
        assert (await page.event("interaction", **started))["state"] == "done"
        await page.do("component", message_id=message["id"], custom_id="count:0", component_type=2)
        assert (await page.event("message_update"))["message"]["content"] == "count 1"


async def test_autocomplete_goes_on_while_another_operation_waits() -> None:
    async with served() as playground, Connected(playground), opened(playground) as page:
        hello = await page.do("hello")
        options = [{"type": 3, "name": "label", "value": "b", "focused": True}]
        asked = await page.do("autocomplete", channel_id=SUPPORT, command_id=_command(hello, "label"), options=options)
        assert [one["value"] for one in asked["choices"]] == ["bug", "billing"]


async def test_modal_is_opened_filled_in_and_answered() -> None:
    async with served() as playground, Connected(playground), opened(playground) as page:
        hello = await page.do("hello")
        upload = await _upload(playground, "a.csv", b"rows")
        await page.do("command", channel_id=SUPPORT, command_id=_command(hello, "survey"), options=[])
        form = await page.event("modal")
        assert form["title"] == "Survey"
        answers = [
            {"type": 4, "custom_id": "why", "value": "so"},
            {"type": 3, "custom_id": "label", "values": ["ham"]},
            {"type": 21, "custom_id": "sure", "value": "n"},
            {"type": 23, "custom_id": "public", "value": False},
            {"type": 19, "custom_id": "file", "values": [upload["id"]]},
        ]
        empty = await page.ask("modal_submit", modal_id=form["modal_id"], components=answers[1:])
        assert (empty["ok"], empty["error"]) == (False, "'Why' must be filled in.")
        await page.do("modal_submit", modal_id=form["modal_id"], components=answers)
        message = (await page.event("message_create"))["message"]
        assert "[b'rows']" in message["content"]
        await page.do("dismiss", message_id=message["id"])
        assert (await page.event("message_delete"))["id"] == message["id"]


async def test_menu_on_a_message_that_somebody_wrote() -> None:
    async with served() as playground, Connected(playground), opened(playground) as page:
        hello = await page.do("hello")
        said = await page.do("say", channel_id=SUPPORT, content="hello there", attachments=[])
        await page.do("menu", channel_id=SUPPORT, command_id=_command(hello, "Echo"), target_id=said["message_id"])
        edited = await page.event("message_update")
        assert edited["message"]["content"] == "hello there"
        assert edited["message"]["flags"] & 64


async def test_ephemeral_message_goes_to_its_person_alone_and_is_there_after_switching_back() -> None:
    async with served() as playground, Connected(playground), opened(playground) as maria, opened(playground) as jonas:
        await jonas.do("act_as", user_id=JONAS)
        hello = await maria.do("hello")
        options = [{"type": 3, "name": "text", "value": "a"}, {"type": 3, "name": "label", "value": "bug"}]
        await maria.do("command", channel_id=SUPPORT, command_id=_command(hello, "label"), options=options)
        assert (await maria.event("message_create"))["message"]["content"] == "a is bug x1"
        await jonas.do("say", channel_id=SUPPORT, content="marker")
        await jonas.event("message_create")
        assert not jonas.events, "neither the interaction nor its reply reached the other person"
        as_jonas = await maria.do("act_as", user_id=JONAS)
        assert [one["content"] for one in as_jonas["messages"][SUPPORT]] == ["marker"]
        back = await maria.do("act_as", user_id=hello["me"]["id"])
        assert [one["content"] for one in back["messages"][SUPPORT]] == ["a is bug x1", "marker"]


async def test_member_neither_finds_nor_runs_a_lead_command() -> None:
    async with served() as playground, Connected(playground), opened(playground) as page:
        train = _command(await page.do("hello"), "train")
        hello = await page.do("act_as", user_id=JONAS)
        assert "train" not in {one["name"] for one in hello["commands"]}
        options = [{"type": 1, "name": "now", "options": []}]
        refused = await page.ask("command", channel_id=SUPPORT, command_id=train, options=options)
        assert refused["error"] == "Jonas may not use train: it needs Manage Server."


async def test_late_bot_fails_the_interaction_on_the_page() -> None:
    async with served(deadline=0.2) as playground, Connected(playground), opened(playground) as page:
        hello = await page.do("hello")
        await page.do("command", channel_id=SUPPORT, command_id=_command(hello, "slow"), options=[])
        failed = await page.event("interaction", state="failed")
        assert failed["error"] == "The application did not respond"


async def test_bot_going_and_new_commands_are_told() -> None:
    async with served() as playground, opened(playground) as page:
        async with Connected(playground) as bot:
            await page.do("hello")
            assert (await page.event("bot"))["online"] is True
            await page.event("commands")
            bot.tree.remove_command("big")
            await bot.tree.sync()
            assert "big" not in {one["name"] for one in (await page.event("commands"))["commands"]}
        assert (await page.event("bot", online=False))["online"] is False


@pytest.mark.parametrize(
    ("frame", "sentence"),
    [
        ({"op": "fly"}, "There is no operation 'fly'."),
        ({"op": "say", "channel_id": SUPPORT, "content": ""}, "The message is empty."),
        ({"op": "say", "channel_id": SUPPORT, "content": "x" * 2001}, "at most 2000 characters"),
        ({"op": "say", "channel_id": "1", "content": "x"}, "no channel with the id 1"),
        ({"op": "command", "channel_id": SUPPORT, "command_id": "1"}, "no longer has that command"),
        ({"op": "component", "message_id": "1", "custom_id": "x"}, "That message is gone."),
        ({"op": "act_as", "user_id": "100000000000000002"}, "no person with the id"),
        ({"op": "modal_submit", "modal_id": "1", "components": []}, "no longer open"),
        ({"op": "say"}, "cannot be understood"),
        ({"op": "command", "channel_id": SUPPORT, "command_id": {}, "options": 3}, "no longer has that command"),
    ],
)
async def test_wrong_operation_gets_one_sentence_and_the_socket_stays(frame: dict, sentence: str) -> None:
    async with served() as playground, opened(playground) as page:
        refused = await page.ask(**frame)
        assert refused["ok"] is False
        assert sentence in refused["error"]
        assert (await page.do("hello"))["me"]["username"] == "maria"


async def test_history_gives_what_came_before() -> None:
    async with served() as playground, opened(playground) as page:
        for number in range(105):
            await playground.person("ada").say(str(number))
        shown = (await page.do("hello"))["messages"][SUPPORT]
        assert [shown[0]["content"], shown[-1]["content"], len(shown)] == ["5", "104", 100]
        older = await page.do("history", channel_id=SUPPORT, before=shown[0]["id"])
        assert [one["content"] for one in older["messages"]] == ["0", "1", "2", "3", "4"]


@pytest.mark.parametrize(
    "headers",
    [{"Origin": "http://evil.example"}, {"Host": "evil.example:80"}, {"Origin": "null"}, {"X-Real-IP": "192.0.2.9"}],
)
@pytest.mark.parametrize("path", ["/playground/socket", "/gateway/"])
async def test_foreign_page_cannot_connect(headers: dict[str, str], path: str) -> None:
    async with served() as playground, aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await session.ws_connect(playground.base_url + path, headers=headers)
        assert refused.value.status == 403


async def test_upload_is_given_back_but_never_run_as_a_page_of_ours() -> None:
    async with served() as playground:
        upload = await _upload(playground, "../x y.html", b"<script>alert(1)</script>")
        assert (upload["filename"], upload["size"]) == ("x_y.html", 25)
        async with aiohttp.request("GET", upload["url"]) as answer:
            assert answer.headers["Content-Type"] == "application/octet-stream"
            assert answer.headers["Content-Disposition"].startswith("attachment")


async def test_upload_over_ten_mebibytes_is_refused() -> None:
    async with served() as playground:
        refused = await _upload(playground, "big.bin", b"x" * (10 * 1024 * 1024 + 1), status=413)
        assert refused == {"error": "A file may have at most 10 MiB."}


async def _upload(playground: Playground, name: str, data: bytes, status: int = 200) -> dict[str, Any]:
    form = aiohttp.FormData(quote_fields=False)
    form.add_field("file", io.BytesIO(data), filename=name)
    async with aiohttp.request("POST", playground.base_url + "/playground/uploads", data=form) as answer:
        assert answer.status == status
        return await answer.json()


async def test_page_files_are_given_and_nothing_outside_them() -> None:
    async with served() as playground:
        for path, status in (("/", 200), ("/page/../server.py", 404), ("/page/%2e%2e/server.py", 404)):
            async with aiohttp.request("GET", playground.base_url + path) as answer:
                assert answer.status == status, path


async def test_twenty_clicks_at_once_are_all_answered() -> None:
    async with served() as playground, Connected(playground):
        maria = playground.person("maria")
        replies = await asyncio.gather(*(maria.command("label", text=str(n), label="bug") for n in range(20)))
        assert [reply.text for reply in replies] == [f"{n} is bug x1" for n in range(20)]
