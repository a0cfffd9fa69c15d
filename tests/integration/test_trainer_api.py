"""The trainer's API: every answer by its description, parts of files, strangers and slow ones.

A real server on loopback. Answers that need a fault (a full disk) get it from a method that is made to raise.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import aiohttp
import pytest
from aiohttp import web
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from yarl import URL

import trainer.gate
import trainer.sending
import trainer.server
from storage.errors import Busy, DiskFull, TrainerUnavailable, TrainingFailed
from tests.fakes.trainer_bench import KEY, Bench, bench
from tests.integration.test_trainer_client import make_artifact
from trainer.exports import Exports
from trainer.jobs import Jobs
from trainer.openapi import document
from trainer.protocol import to_json
from trainer.sending import NothingThere, part
from trainer.server import make_app
from trainer.signing import EMPTY, ID, SIGNATURE, Verifier, is_answer, sign_request
from trainer.store import Store

DOCUMENT = document()
OPERATIONS = {
    operation["operationId"]: (method.upper(), path, operation)
    for path, operations in DOCUMENT["paths"].items()
    for method, operation in operations.items()
}


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Bench]:
    async with bench(tmp_path) as made:
        yield made


# The document


def test_description_has_every_route_and_no_other() -> None:
    app = make_app(cast(Any, None), Verifier([KEY]))
    served = {(route.method, cast(Any, route.resource).canonical): route.handler for route in app.router.routes()}
    assert served.keys() == {(method, path) for method, path, _ in OPERATIONS.values()}
    for name, (method, path, _) in OPERATIONS.items():
        assert served[method, path].__name__ == name


def everywhere(node: Any) -> list[dict[str, Any]]:
    """Every object of the document."""
    inner = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    return ([node] if isinstance(node, dict) else []) + [found for each in inner for found in everywhere(each)]


def test_document_hangs_together() -> None:
    assert DOCUMENT["openapi"].startswith("3.1.")
    assert json.loads(json.dumps(DOCUMENT)) == DOCUMENT
    schemas = DOCUMENT["components"]["schemas"]
    for node in everywhere(DOCUMENT):
        if "$ref" in node:
            assert node["$ref"].removeprefix("#/components/schemas/") in schemas
        if "schema" in node:
            Draft202012Validator.check_schema(node["schema"])
    for schema in schemas.values():
        Draft202012Validator.check_schema(schema)
        assert set(schema["required"]) <= schema["properties"].keys()
    assert len(OPERATIONS) == sum(map(len, DOCUMENT["paths"].values()))
    for _, path, operation in OPERATIONS.values():
        placed = [each["name"] for each in operation.get("parameters", ()) if each["in"] == "path"]
        assert placed == re.findall(r"{(\w+)}", path)
        for requirement in operation.get("security", DOCUMENT["security"]):
            assert requirement.keys() == DOCUMENT["components"]["securitySchemes"].keys()


def test_schemas_say_what_the_docstrings_say() -> None:
    job = DOCUMENT["components"]["schemas"]["JobSpec"]
    assert job["description"].startswith("Everything a trainer needs")
    assert job["properties"]["snapshot"]["description"] == "sha256 of the snapshot file."
    assert job["required"] == ["job_id", "attempt", "snapshot", "base"]
    assert "phase" in DOCUMENT["components"]["schemas"]["Progress"]["required"]


async def test_anybody_may_read_the_description_and_nothing_else(served: Bench) -> None:
    async with aiohttp.ClientSession() as session:
        async with session.get(f"{served.url}/v1/openapi.json") as response:
            assert (response.status, await response.json()) == (200, DOCUMENT)
            assert SIGNATURE not in response.headers
        for method, path in (("GET", "/v1/openapi.json?x"), ("PUT", "/v1/openapi.json"), ("GET", "/v1//openapi.json")):
            async with session.request(method, URL(served.url + path, encoded=True)) as response:
                assert response.status == 401


# Every answer


class Asker:
    """Makes requests and holds every answer against the description."""

    def __init__(self, served: Bench) -> None:
        self.served = served
        self.seen: set[tuple[str, str]] = set()

    async def __call__(
        self, name: str, path: str, body: Any = b"", *, key: str = KEY, digest: str = "", **headers: str
    ) -> bytes:
        method, template, operation = OPERATIONS[name]
        bare = path.partition("?")[0]
        match = re.fullmatch(re.sub(r"{(\w+)}", r"(?P<\1>[^/]+)", template), bare)
        assert match, f"{path} is not {template}"
        digest = digest or (hashlib.sha256(body).hexdigest() if isinstance(body, bytes) else EMPTY)
        signed = sign_request(key, method, path, digest) | {k.replace("_", "-"): v for k, v in headers.items()}
        url = URL(self.served.url + path, encoded=True)
        async with (
            aiohttp.ClientSession(auto_decompress=False) as session,
            session.request(method, url, data=body or None, headers=signed) as response,
        ):
            read = await response.read()
            status = str(response.status)
            assert status in operation["responses"], f"{name} answered {status}: {read[:200]!r}"
            self._check(operation["responses"][status], response, read, signed[ID], key)
        if response.status < 300:
            for parameter in operation.get("parameters", ()):
                if parameter["in"] == "path":
                    assert_valid(parameter["schema"], match[parameter["name"]])
        self.seen.add((name, status))
        return read

    def _check(
        self, told: dict[str, Any], response: aiohttp.ClientResponse, read: bytes, request: str, key: str
    ) -> None:
        for header in told.get("headers", ()):
            assert header in response.headers
        if SIGNATURE in told.get("headers", ()):
            assert is_answer(key, request, response.status, read, response.headers[SIGNATURE])
        if "content" not in told:
            assert read == b""
            return
        assert response.content_type in told["content"]
        if response.content_type == "application/json":
            assert_valid(told["content"]["application/json"]["schema"], json.loads(read))


def assert_valid(schema: dict[str, Any], value: Any) -> None:
    Draft202012Validator(schema | {"components": DOCUMENT["components"]}).validate(value)


async def chunked() -> AsyncIterator[bytes]:
    yield b"without a length"


async def test_every_answer_is_as_described(served: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    ask = Asker(served)
    snapshot = served.snapshot()
    artifact = make_artifact(served.store.artifacts)
    lost = make_artifact(served.folder / "lost", 1000)
    job, file = "/v1/jobs/aaaaaaaa", f"/v1/artifacts/{artifact.name}/model.safetensors"
    spec = to_json(served.spec()).encode()

    # What goes well
    await ask("openapi", "/v1/openapi.json")
    await ask("health", "/v1/health")
    await ask("warm", "/v1/warm")
    await ask("put_snapshot", f"/v1/snapshots/{snapshot.stem}", snapshot.read_bytes())
    await ask("put_job", job, spec)
    await served.outcome()
    assert json.loads(await ask("get_job", f"{job}?after=1&wait=0"))["events"]
    await ask("cancel_job", job)
    await ask("list_artifact", f"/v1/artifacts/{artifact.name}")
    assert await ask("get_artifact_file", file) == (artifact / "model.safetensors").read_bytes()
    await ask("get_artifact_file", file, Range="bytes=5-9")
    for name in ("model.safetensors", "README.md", "report.json", "manifest.json"):
        await ask("put_artifact_file", f"/v1/artifacts/{lost.name}/{name}", (lost / name).read_bytes())
    with monkeypatch.context() as patch:
        patch.setattr(Exports, "artifact", answering(None))
        await ask("get_base", "/v1/bases/some%2Fbase?wait=0&precision=fp32")

    # What is refused
    for name, path in (("get_job", "/v1/jobs/x"), ("cancel_job", "/v1/jobs/x"), ("put_job", job)):
        await ask(name, path)
    for name in ("get_job", "cancel_job"):
        await ask(name, "/v1/jobs/bbbbbbbb")
    await ask("get_base", "/v1/bases/x?precision=int1")
    await ask("list_artifact", "/v1/artifacts/x")
    await ask("get_artifact_file", f"/v1/artifacts/{artifact.name}/x")
    await ask("get_artifact_file", f"/v1/artifacts/{'e' * 64}/manifest.json")
    await ask("get_artifact_file", file, Range="bytes=300000-")
    await ask("put_job", job, to_json(served.spec([["kill"]])).encode())
    monkeypatch.setattr(trainer.server, "LARGEST_SNAPSHOT", 10)
    monkeypatch.setattr(trainer.server, "LARGEST_FILE", 10)
    bodies = {
        "put_snapshot": f"/v1/snapshots/{EMPTY}",
        "put_job": job,
        "put_artifact_file": f"/v1/artifacts/{'d' * 64}/model.safetensors",
    }
    for name, path in bodies.items():
        await ask(name, path, b"x", digest=EMPTY)  # 400
        await ask(name, path, chunked())  # 411
        await ask(name, path, b"x" * 70_000, digest=EMPTY)  # 413
        await ask(name, path, b"x", digest=EMPTY, Content_Encoding="gzip")  # 415

    # What goes wrong
    targets: dict[str, tuple[type, str, str, bytes]] = {
        "put_snapshot": (Store, "receive_snapshot", bodies["put_snapshot"], b""),
        "warm": (Jobs, "prepare", "/v1/warm", b""),
        "put_job": (Jobs, "submit", job, spec),
        "get_job": (Jobs, "status", job, b""),
        "cancel_job": (Jobs, "cancel", job, b""),
        "get_base": (Exports, "artifact", "/v1/bases/x", b""),
        "list_artifact": (Store, "artifact_files", f"/v1/artifacts/{artifact.name}", b""),
        "get_artifact_file": (Store, "artifact_file", file, b""),
        "put_artifact_file": (Store, "receive_artifact_file", bodies["put_artifact_file"], b""),
        "health": (cast(type, trainer.server), "free_memory", "/v1/health", b""),
    }
    faults = {
        "500": RuntimeError("planted"),
        "503": Busy("Later.", retry_after=1.0),
        "507": DiskFull("No space is left."),
        "422": TrainingFailed("It cannot be exported."),
    }
    for name, (owner, attribute, path, body) in targets.items():
        for status in OPERATIONS[name][2]["responses"].keys() & faults.keys():
            with monkeypatch.context() as patch:
                patch.setattr(owner, attribute, answering(faults[status]))
                await ask(name, path, body)
        await ask(name, path, body, key="x" * 32)  # 401

    documented = {(name, status) for name, (_, _, operation) in OPERATIONS.items() for status in operation["responses"]}
    assert ask.seen == documented


def answering(outcome: Exception | None) -> Any:
    """A function that raises `outcome` or returns None, at once and when awaited."""

    class Answer:
        def __await__(self) -> Any:
            yield from ()

    def answer(*_: Any, **__: Any) -> Answer:
        if outcome is not None:
            raise outcome
        return Answer()

    return answer


# Parts of files


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (None, None),
        ("bytes=0-", (0, 10)),
        ("bytes=4-", (4, 10)),
        ("bytes=4-4", (4, 5)),
        ("bytes=4-99", (4, 10)),
        ("bytes=-3", (7, 10)),
        ("bytes=-99", (0, 10)),
        # What cannot be meant is as good as no range at all.
        ("bytes=-", None),
        ("bytes=5-4", None),
        ("bytes=0-1,3-4", None),
        ("lines=0-1", None),
        ("bytes=x-", None),
        ("bytes=٣-", None),
        ("bytes=" + "9" * 5000 + "-", None),
    ],
)
def test_range_is_read_as_the_standard_says(wanted: str | None, expected: tuple[int, int] | None) -> None:
    assert part(wanted, 10) == expected


@pytest.mark.parametrize(
    ("wanted", "size"), [("bytes=10-", 10), ("bytes=-0", 10), ("bytes=0-", 0), ("bytes=99-100", 10)]
)
def test_range_behind_the_end_is_nothing(wanted: str, size: int) -> None:
    with pytest.raises(NothingThere):
        part(wanted, size)


async def fetch(served: Bench, artifact: str, name: str, **headers: str) -> tuple[int, bytes, Mapping[str, str]]:
    path = f"/v1/artifacts/{artifact}/{name}"
    signed = sign_request(KEY, "GET", path) | {k.replace("_", "-"): v for k, v in headers.items()}
    async with aiohttp.ClientSession() as session, session.get(served.url + path, headers=signed) as response:
        return response.status, await response.read(), response.headers


async def test_part_comes_only_of_the_same_file(served: Bench) -> None:
    artifact = make_artifact(served.store.artifacts)
    data = (artifact / "model.safetensors").read_bytes()
    tag = f'"{hashlib.sha256(data).hexdigest()}"'
    for asked in ({}, {"If_Range": tag}):
        status, got, headers = await fetch(served, artifact.name, "model.safetensors", Range="bytes=100-", **asked)
        assert (status, got, headers["ETag"]) == (206, data[100:], tag)
        assert headers["Content-Range"] == f"bytes 100-{len(data) - 1}/{len(data)}"
    for other in (f"W/{tag}", '"' + "e" * 64 + '"', "Tue, 24 Nov 2099 00:00:00 GMT", "*", tag.strip('"')):
        for asked in ("bytes=100-", "bytes=999999999-"):
            status, got, headers = await fetch(served, artifact.name, "model.safetensors", Range=asked, If_Range=other)
            assert (status, got, headers["ETag"]) == (200, data, tag)
    status, got, headers = await fetch(served, artifact.name, "manifest.json", Range="bytes=-5")
    assert (status, len(got), headers["ETag"]) == (206, 5, f'"{artifact.name}"')
    status, got, headers = await fetch(served, artifact.name, "model.safetensors", Range=f"bytes={len(data)}-")
    assert (status, headers["Content-Range"]) == (416, f"bytes */{len(data)}")
    assert json.loads(got)["error"].endswith(".")
    assert (await fetch(served, artifact.name, "report.json"))[:2] == (200, b"")


async def test_file_that_becomes_shorter_breaks_the_connection(served: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    artifact = make_artifact(served.store.artifacts)
    monkeypatch.setattr(trainer.sending, "_PIECE", 1000)
    weights, sent = artifact / "model.safetensors", trainer.sending._send

    async def cut_first(*arguments: Any) -> None:
        with weights.open("r+b") as file:
            file.truncate(5000)
        await sent(*arguments)

    monkeypatch.setattr(trainer.sending, "_send", cut_first)
    with pytest.raises(aiohttp.ClientPayloadError):
        await fetch(served, artifact.name, "model.safetensors")


async def test_reader_that_stops_reading_is_let_go(served: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    artifact = make_artifact(served.store.artifacts, 40_000_000)  # more than the buffers on the way hold
    monkeypatch.setattr(trainer.sending, "PATIENCE", 0.3)
    ended: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()
    sent = trainer.sending._send

    async def watched(*arguments: Any) -> None:
        try:
            await sent(*arguments)
        except BaseException as error:
            ended.set_result(error)
            raise

    monkeypatch.setattr(trainer.sending, "_send", watched)
    path = f"/v1/artifacts/{artifact.name}/model.safetensors"
    reader, writer = await asyncio.open_connection("127.0.0.1", port_of(served), limit=1 << 10)
    writer.write(head("GET", path))
    assert isinstance(await asyncio.wait_for(ended, 60), TimeoutError)
    assert (await served.client.health()).jobs_running == 0
    writer.close()
    del reader


async def test_download_begins_anew_when_the_file_is_another_one(served: Bench, tmp_path: Path) -> None:
    """A trainer whose file has another digest than the one we have a part of sends it whole, and we take it so."""
    artifact = make_artifact(served.store.artifacts)
    data = (artifact / "model.safetensors").read_bytes()
    begun = tmp_path / "models" / f"{artifact.name}.part"
    begun.mkdir(parents=True)
    (begun / "model.safetensors").write_bytes(b"of another file" * 100)
    transport = served.client._transport
    async with transport.open(artifact.name, "model.safetensors", 1500, "e" * 64) as (offset, chunks):
        assert offset == 0
        assert b"".join([chunk async for chunk in chunks]) == data
    async with transport.open(artifact.name, "model.safetensors", 1500, hashlib.sha256(data).hexdigest()) as (
        offset,
        chunks,
    ):
        assert offset == 1500
        assert b"".join([chunk async for chunk in chunks]) == data[1500:]
    fetched = await served.client.fetch_artifact(artifact.name, tmp_path / "models")
    assert (fetched / "model.safetensors").read_bytes() == data


async def test_another_part_than_was_asked_for_is_not_taken() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 206 x\r\nContent-Length: 3\r\nContent-Range: bytes 5-7/8\r\n\r\nabc")
        await writer.drain()
        writer.close()

    from trainer.client import TrainerClient

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server, TrainerClient(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", KEY) as client:
        with pytest.raises(TrainerUnavailable, match="another part"):
            async with client._transport.open("a" * 64, "model.safetensors", 6, "b" * 64):
                pass


# Strangers and slow ones


def port_of(served: Bench) -> int:
    return int(served.url.rpartition(":")[2])


def head(method: str, path: str, *more: str, digest: str = EMPTY) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: x", *more]
    lines += [f"{name}: {value}" for name, value in sign_request(KEY, method, path, digest).items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


async def converse(port: int, *pieces: bytes, pause: float = 0.0) -> bytes:
    """What the server says to these pieces until it hangs up; fails if it has not within a minute."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    said = b""

    async def listen() -> None:
        nonlocal said
        with suppress(ConnectionError):
            while chunk := await reader.read(1 << 16):
                said += chunk

    async with asyncio.timeout(60):
        listening = asyncio.create_task(listen())
        with suppress(ConnectionError):
            for piece in pieces:
                if listening.done():
                    break
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(pause)
        await listening
    writer.close()
    return said


async def test_head_that_never_ends_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer.server, "HEAD_TIMEOUT", 0.5)
    async with bench(tmp_path) as served:
        whole = head("GET", "/v1/health")
        assert await converse(port_of(served)) == b""  # says nothing at all
        assert await converse(port_of(served), *(bytes([byte]) for byte in whole[:-1]), pause=0.02) == b""
        # Also the second of a connection, after a good first one.
        said = await converse(port_of(served), whole, *(bytes([byte]) for byte in whole[:-1]), pause=0.02)
        assert said.startswith(b"HTTP/1.1 200")
        assert said.count(b"HTTP/1.1") == 1
        assert (await served.client.health()).version == 1


@pytest.mark.parametrize(
    "more",
    [
        ["X-Long: " + "x" * 9000],
        [f"X-{number}: x" for number in range(100)],
        ["Content-Length: 1", "Content-Length: 2"],
        ["Content-Length: 1", "Transfer-Encoding: chunked"],
        ["X-Line : x"],
    ],
    ids=["long header", "many headers", "two lengths", "length and chunks", "blank in a name"],
)
async def test_head_that_cannot_be_is_refused_before_it_is_a_request(served: Bench, more: list[str]) -> None:
    said = await converse(port_of(served), head("GET", "/v1/health", *more))
    assert said[8:12] == b" 400"
    assert b"Traceback" not in said
    assert (await served.client.health()).version == 1


async def test_long_request_line_is_refused(served: Bench) -> None:
    said = await converse(port_of(served), head("GET", "/v1/bases/" + "x" * 9000))
    assert said[8:12] == b" 400"


@pytest.mark.parametrize("way", ["stalls", "trickles"])
async def test_body_that_comes_too_slowly_is_given_up(served: Bench, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    monkeypatch.setattr(trainer.gate, "STALL", 0.3 if way == "stalls" else 1.0)
    monkeypatch.setattr(trainer.gate, "SLOWEST", 1 << 30)
    pieces = [b"x"] * (1 if way == "stalls" else 10_000)  # more than there is time for
    asked = head("PUT", f"/v1/snapshots/{EMPTY}", "Content-Length: 20000")
    said = await converse(port_of(served), asked, *pieces, pause=0.02)
    assert said[8:12] == b" 400"
    assert list(served.store.snapshots.iterdir()) == []


async def test_bytes_are_counted_whatever_was_announced() -> None:
    """A stub, as aiohttp's own parser ends a body at its announced length."""
    pieces = [b"x" * 4, b"y" * 4, b""]

    async def readany() -> bytes:
        return pieces.pop(0)

    request = SimpleNamespace(content_length=6, headers={}, content=SimpleNamespace(readany=readany))
    chunks = trainer.gate.body_chunks(cast(Any, request), limit=100)
    assert await anext(chunks) == b"xxxx"
    with pytest.raises(web.HTTPRequestEntityTooLarge):
        await anext(chunks)


async def test_gzip_bomb_is_not_unpacked(served: Bench) -> None:
    bomb = b"\x1f\x8b" + b"0" * 1000
    digest = hashlib.sha256(bomb).hexdigest()
    more = ("Content-Encoding: gzip", f"Content-Length: {len(bomb)}")
    said = await converse(port_of(served), head("PUT", f"/v1/snapshots/{digest}", *more, digest=digest) + bomb)
    assert said.startswith(b"HTTP/1.1 415")
    assert list(served.store.snapshots.iterdir()) == []
