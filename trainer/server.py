"""The trainer as an HTTP service: the routes of `trainer.protocol`, each a few lines over the queue and the files.

This process never imports torch: trainings and exports run in processes of their own. So it starts in a fraction of a
second, needs 50 MB, and goes on answering whatever a training does to its memory.
"""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from storage.artifacts import MANIFEST, MAX_MANIFEST
from storage.errors import ConfigurationError, InvalidInput
from trainer.executors.base import Executor
from trainer.exports import Exports
from trainer.gate import body, body_chunks, make_gate
from trainer.host import describe_device
from trainer.jobs import Jobs
from trainer.protocol import VERSION, BaseStatus, Health, JobSpec, from_json, to_json
from trainer.retention import Limits, Retention
from trainer.signing import DIGEST, Verifier
from trainer.store import Store

MAX_SPEC = 64 * 1024
MAX_SNAPSHOT = 1 << 30
"""Bytes; 200,000 texts of the greatest length would fit."""
MAX_ARTIFACT_FILE = 8 << 30
"""Bytes; an encoder of two billion float32 parameters."""
LONGEST_WAIT = 60.0
"""Seconds a long poll may ask for; proxies give up soon after."""


@dataclass(frozen=True)
class Trainer:
    """What the routes work on."""

    store: Store
    jobs: Jobs
    exports: Exports
    device: str = "auto"


@asynccontextmanager
async def serving(
    store: Store,
    executor: Executor,
    keys: Sequence[str],
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    device: str = "auto",
    limits: Limits | None = None,
    jobs_options: dict[str, Any] | None = None,
) -> AsyncIterator[int]:
    """Serve until the block ends; yields the port. On the way out running jobs are ended and recorded as interrupted.

    Args:
        keys: requests signed with any of them are accepted.
        port: 0 chooses a free one.
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
            lingering_time=1.0,  # seconds a refused body is read and dropped, so that the refusal gets through
            shutdown_timeout=2.0,
        )
        await runner.setup()
        try:
            # Jobs end first: that answers everybody who waits for one, so that no connection holds up the rest.
            async with retention, jobs:
                yield await _bind(runner, host, port)
        finally:
            await trainer.exports.close()
            await runner.cleanup()


def make_app(trainer: Trainer, verifier: Verifier) -> web.Application:
    routes = _Routes(trainer)
    app = web.Application(middlewares=[make_gate(verifier)])
    app.add_routes(
        [
            web.get("/v1/health", routes.health),
            web.put("/v1/snapshots/{sha256}", routes.put_snapshot),
            web.put("/v1/jobs/{id}", routes.put_job),
            web.get("/v1/jobs/{id}", routes.get_job, allow_head=False),
            web.delete("/v1/jobs/{id}", routes.cancel_job),
            web.get("/v1/bases/{name:.+}", routes.get_base, allow_head=False),
            web.get("/v1/artifacts/{id}", routes.list_artifact, allow_head=False),
            web.get("/v1/artifacts/{id}/{file}", routes.get_artifact_file),
            web.put("/v1/artifacts/{id}/{file}", routes.put_artifact_file),
        ]
    )
    return app


def require_key(host: str, key_given: bool) -> None:
    """Refuse to be reachable from other machines with a key that nobody there can know.

    Raises:
        ConfigurationError
    """
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = host == "localhost"
    if not loopback and not key_given:
        raise ConfigurationError(
            f"host is {host}, which other machines can reach, but there is no key. Write one of 32 or more random "
            "characters into a file with mode 0600 and name it with --key-file, here and in the bot's settings."
        )


def _quiet_log() -> logging.Logger:
    """For aiohttp's parser, whose errors quote what a stranger sent. The gate logs what goes wrong in the routes."""
    quiet = logging.getLogger(f"{__name__}.http")
    quiet.setLevel(logging.CRITICAL)
    return quiet


async def _bind(runner: web.AppRunner, host: str, port: int) -> int:
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError as error:
        raise ConfigurationError(
            f"The trainer cannot listen on {host} port {port}: {error.strerror}. Choose another with --port."
        ) from error
    return int(runner.addresses[0][1])


class _Routes:
    def __init__(self, trainer: Trainer) -> None:
        self._trainer = trainer

    async def health(self, request: web.Request) -> web.Response:
        device, free = await describe_device(self._trainer.device)
        jobs = self._trainer.jobs
        return _json(Health(VERSION, device, free, jobs.waiting, jobs.running))

    async def put_snapshot(self, request: web.Request) -> web.Response:
        sha256 = request.match_info["sha256"]
        if request.headers[DIGEST] != sha256:
            raise InvalidInput("A snapshot's address is the sha256 of its bytes.")
        await self._trainer.store.receive_snapshot(sha256, body_chunks(request, MAX_SNAPSHOT))
        return web.Response(status=204)

    async def put_job(self, request: web.Request) -> web.Response:
        spec = from_json(JobSpec, await body(request, MAX_SPEC))
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
        return _json(self._trainer.store.artifact_files(request.match_info["id"]))

    async def get_artifact_file(self, request: web.Request) -> web.StreamResponse:
        # The bytes need no signature: a signed answer named the artifact, and its id covers them.
        return web.FileResponse(self._trainer.store.artifact_file(request.match_info["id"], request.match_info["file"]))

    async def put_artifact_file(self, request: web.Request) -> web.Response:
        artifact, name = request.match_info["id"], request.match_info["file"]
        chunks = body_chunks(request, MAX_MANIFEST if name == MANIFEST else MAX_ARTIFACT_FILE)
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
