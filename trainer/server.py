"""The trainer as an HTTP service: the routes of `trainer.openapi`, each a few lines over the queue and the files.

This process never imports torch: trainings and exports run in processes of their own. So it starts in a fraction of a
second, needs 50 MB, and goes on answering whatever a training does to its memory.
"""

from __future__ import annotations

import json
import logging
import ssl
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from storage.artifacts import MANIFEST, MAX_MANIFEST
from storage.errors import ConfigurationError, InvalidInput
from storage.settings import is_loopback
from trainer.executors.base import Executor
from trainer.exports import Exports
from trainer.gate import body, body_chunks, make_gate
from trainer.host import describe_device, free_disk, free_memory, installed
from trainer.jobs import Jobs
from trainer.openapi import LARGEST_FILE, LARGEST_SNAPSHOT, LARGEST_SPEC, LONGEST_WAIT, document
from trainer.openapi import PATH as OPENAPI
from trainer.protocol import VERSION, BaseStatus, Health, JobSpec, from_json, to_json
from trainer.retention import Limits, Retention
from trainer.sending import send_file
from trainer.signing import DIGEST, Verifier
from trainer.store import Store

HEAD_TIMEOUT = 30.0
"""Seconds a connection may take for the head of its next request; aiohttp's default is an hour."""
LONGEST_LINE, MOST_HEADERS = 8190, 64
"""Bytes of the request line, or of one header, and how many headers. A bot sends about ten, proxies add some."""


@dataclass(frozen=True)
class Trainer:
    """What the routes work on."""

    store: Store
    jobs: Jobs
    exports: Exports
    device: str = "auto"
    started: float = field(default_factory=time.monotonic)


@asynccontextmanager
async def serving(
    store: Store,
    executor: Executor,
    keys: Sequence[str],
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    device: str = "auto",
    tls: ssl.SSLContext | None = None,
    limits: Limits | None = None,
    jobs_options: dict[str, Any] | None = None,
) -> AsyncIterator[int]:
    """Serve until the block ends; yields the port. On the way out running jobs are ended and recorded as interrupted.

    Args:
        keys: requests signed with any of them are accepted.
        port: 0 chooses a free one.
        tls: None: what is said can be read on the way.
        limits: what stays in the folder; None: the defaults.
        jobs_options: intervals and limits of `Jobs`, for tests.

    Raises:
        ConfigurationError: the folder is in use, or the port cannot be bound.
    """
    async with store.opened():
        jobs = Jobs(store, executor, **(jobs_options or {}))
        trainer = Trainer(store, jobs, Exports(store, executor), device)
        retention = Retention(store, limits or Limits(), lambda: [*jobs.folders, *trainer.exports.folders])
        jobs.on_end = retention.wake
        runner = web.AppRunner(
            make_app(trainer, Verifier(keys)),
            access_log=None,
            logger=_quiet_log(),
            auto_decompress=False,
            keepalive_timeout=HEAD_TIMEOUT,
            max_line_size=LONGEST_LINE,
            max_field_size=LONGEST_LINE,
            max_headers=MOST_HEADERS,
            lingering_time=1.0,  # seconds a refused body is read and dropped, so that the refusal gets through
            shutdown_timeout=2.0,
        )
        await runner.setup()
        try:
            # Jobs end first: that answers everybody who waits for one, so that no connection holds up the rest.
            async with retention, jobs:
                yield await _bind(runner, host, port, tls)
        finally:
            await trainer.exports.close()
            await runner.cleanup()


def make_app(trainer: Trainer, verifier: Verifier) -> web.Application:
    routes = _Routes(trainer)
    app = web.Application(middlewares=[make_gate(verifier, open_path=OPENAPI)])
    app.add_routes(
        [
            web.get(OPENAPI, routes.openapi, allow_head=False),
            web.get("/v1/health", routes.health, allow_head=False),
            web.post("/v1/warm", routes.warm),
            web.put("/v1/snapshots/{sha256}", routes.put_snapshot),
            web.put("/v1/jobs/{id}", routes.put_job),
            web.get("/v1/jobs/{id}", routes.get_job, allow_head=False),
            web.delete("/v1/jobs/{id}", routes.cancel_job),
            web.get("/v1/bases/{name:.+}", routes.get_base, allow_head=False),
            web.get("/v1/artifacts/{id}", routes.list_artifact, allow_head=False),
            web.get("/v1/artifacts/{id}/{file}", routes.get_artifact_file, allow_head=False),
            web.put("/v1/artifacts/{id}/{file}", routes.put_artifact_file),
        ]
    )
    return app


def require_key(host: str, key_given: bool) -> None:
    """Refuse to be reachable from other machines with a key that nobody there can know.

    Raises:
        ConfigurationError
    """
    if not is_loopback(host) and not key_given:
        raise ConfigurationError(
            f"host is {host}, which other machines can reach, but there is no key. Write one of 32 or more random "
            "characters into a file with mode 0600 and name it with --key-file, here and in the bot's settings."
        )


def require_encryption(host: str, tls: bool, plain_http: bool) -> None:
    """Refuse to be reachable from other machines in a way that lets others on the way read texts and models.

    Raises:
        ConfigurationError
    """
    if not is_loopback(host) and not tls and not plain_http:
        raise ConfigurationError(
            f"host is {host}, which other machines can reach, but nothing would be encrypted: the labelled texts could "
            "be read on the way. Give a certificate with --tls-cert and --tls-key, or say --plain-http if a proxy or "
            "a VPN encrypts."
        )


def _quiet_log() -> logging.Logger:
    """For aiohttp's parser, whose errors quote what a stranger sent. The gate logs what goes wrong in the routes."""
    quiet = logging.getLogger(f"{__name__}.http")
    quiet.setLevel(logging.CRITICAL)
    return quiet


async def _bind(runner: web.AppRunner, host: str, port: int, tls: ssl.SSLContext | None) -> int:
    try:
        await web.TCPSite(runner, host, port, ssl_context=tls).start()
    except OSError as error:
        raise ConfigurationError(
            f"The trainer cannot listen on {host} port {port}: {error.strerror}. Choose another with --port."
        ) from error
    return int(runner.addresses[0][1])


class _Routes:
    def __init__(self, trainer: Trainer) -> None:
        self._trainer = trainer
        self._openapi = json.dumps(document(), indent=1).encode()

    async def openapi(self, request: web.Request) -> web.Response:
        return web.Response(body=self._openapi, content_type="application/json")

    async def health(self, request: web.Request) -> web.Response:
        trainer = self._trainer
        device = await describe_device(trainer.device)
        return _json(
            Health(
                VERSION,
                device.name,
                device.free_bytes,
                trainer.jobs.waiting,
                trainer.jobs.running,
                device.gpus,
                free_memory_bytes=free_memory(),
                free_disk_bytes=free_disk(trainer.store.root),
                pupil=installed("pupil"),
                torch=installed("torch"),
                seconds_up=round(time.monotonic() - trainer.started, 1),
            )
        )

    async def warm(self, request: web.Request) -> web.Response:
        await self._trainer.jobs.prepare()
        return web.Response(status=204)

    async def put_snapshot(self, request: web.Request) -> web.Response:
        sha256 = request.match_info["sha256"]
        if request.headers[DIGEST] != sha256:
            raise InvalidInput("A snapshot's address is the sha256 of its bytes.")
        await self._trainer.store.receive_snapshot(sha256, body_chunks(request, LARGEST_SNAPSHOT))
        return web.Response(status=204)

    async def put_job(self, request: web.Request) -> web.Response:
        spec = from_json(JobSpec, await body(request, LARGEST_SPEC))
        if spec.job_id != request.match_info["id"]:
            raise InvalidInput("The job's id in the address and in the body differ.")
        return _json(await self._trainer.jobs.submit(spec))

    async def get_job(self, request: web.Request) -> web.Response:
        after, wait = _number(request, "after"), _number(request, "wait")
        return _json(await self._trainer.jobs.status(request.match_info["id"], int(after), wait))

    async def cancel_job(self, request: web.Request) -> web.Response:
        return _json(await self._trainer.jobs.cancel(request.match_info["id"]))

    async def get_base(self, request: web.Request) -> web.Response:
        name, precision = request.match_info["name"], request.query.get("precision", "int8")
        artifact = await self._trainer.exports.artifact(name, _number(request, "wait"), precision)
        return _json(BaseStatus(artifact))

    async def list_artifact(self, request: web.Request) -> web.Response:
        return _json(await self._trainer.store.artifact_files(request.match_info["id"]))

    async def get_artifact_file(self, request: web.Request) -> web.StreamResponse:
        # The bytes need no signature: a signed answer named the artifact, and its id covers them.
        path = self._trainer.store.artifact_file(request.match_info["id"], request.match_info["file"])
        return await send_file(request, path)

    async def put_artifact_file(self, request: web.Request) -> web.Response:
        artifact, name = request.match_info["id"], request.match_info["file"]
        chunks = body_chunks(request, MAX_MANIFEST if name == MANIFEST else LARGEST_FILE)
        await self._trainer.store.receive_artifact_file(artifact, name, chunks)
        return web.Response(status=204)


def _json(message: Any) -> web.Response:
    return web.Response(body=to_json(message).encode(), content_type="application/json")


def _number(request: web.Request, name: str) -> float:
    """A query parameter: a number from 0 on; `wait` is cut at what is allowed."""
    text = request.query.get(name, "0")
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 2**53:
        raise InvalidInput(f"{name} must be a number that is not negative, not {text[:20]!r}.")
    return min(value, LONGEST_WAIT) if name == "wait" else value
