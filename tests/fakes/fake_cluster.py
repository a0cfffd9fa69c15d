"""The head of a Ray cluster as `trainer.executors.jobs_api` sees it: the Jobs API of Ray 2.60 on a free loopback port.

Jobs are programs of this host, started by a shell as Ray does it. Tests of the real thing (`make test-ray`) show that
it answers like this.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import Process
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

TOKEN = "cluster-token-" + "0123456789abcdef" * 2


@dataclass
class FakeJob:
    entrypoint: str
    resources: dict[str, float]
    status: str = "PENDING"
    error_type: str | None = None
    process: Process | None = None
    watch: asyncio.Task[None] | None = None


@dataclass
class FakeCluster:
    """`async with FakeCluster(folder) as cluster`."""

    folder: Path
    is_open: bool = False
    """It answers whoever asks, as Ray does by default."""
    full: bool = False
    """Jobs wait; `make_room` lets them go."""
    gpus: float = 0.0
    path: str = str(Path(sys.executable).parent)
    """Where its nodes find "python"."""
    jobs: dict[str, FakeJob] = field(default_factory=dict)
    submitted: list[str] = field(default_factory=list)
    requests: list[tuple[str, str, str]] = field(default_factory=list)
    """Method, path and Authorization header."""

    async def __aenter__(self) -> FakeCluster:
        self.token_file = self.folder / "ray.token"
        self.token_file.touch(mode=0o600)
        self.token_file.write_text(TOKEN + "\n")
        app = web.Application(middlewares=[self._gate])
        app.add_routes(
            [
                web.get("/api/version", self._version),
                web.get("/api/jobs/", self._list),
                web.post("/api/jobs/", self._submit),
                web.get("/api/jobs/{id}", self._job),
                web.post("/api/jobs/{id}/stop", self._stop),
                web.get("/api/jobs/{id}/logs", self._logs),
                web.get("/api/v0/nodes", self._nodes),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        for job in self.jobs.values():
            self._kill(job)
        await asyncio.gather(*(job.watch for job in self.jobs.values() if job.watch))
        await self._runner.cleanup()

    def driver(self, name: str) -> int:
        """Pid of the shell in which the job's program runs; also that of its process group."""
        process = self.jobs[name].process
        assert process is not None
        return process.pid

    def lose_host(self, name: str) -> None:
        """The host that runs the job loses power."""
        job = self.jobs[name]
        job.error_type = "JOB_SUPERVISOR_ACTOR_DIED"
        self._kill(job)

    async def make_room(self) -> None:
        self.full = False
        for name, job in self.jobs.items():
            if job.status == "PENDING":
                await self._begin(name, job)

    def give_up(self, name: str) -> None:
        """What Ray does with a job for which it has found no host within a quarter of an hour."""
        self.jobs[name].status, self.jobs[name].error_type = "FAILED", "JOB_SUPERVISOR_ACTOR_START_TIMEOUT"

    @web.middleware
    async def _gate(self, request: web.Request, handler: Any) -> web.StreamResponse:
        given = request.headers.get("Authorization", "")
        self.requests.append((request.method, request.path, given))
        if not self.is_open and given != f"Bearer {TOKEN}":
            return web.Response(status=403 if given else 401, text="Unauthorized")
        return await handler(request)

    async def _version(self, request: web.Request) -> web.Response:
        return web.json_response({"version": "4", "ray_version": "2.60.0"})

    async def _list(self, request: web.Request) -> web.Response:
        return web.json_response([])

    async def _nodes(self, request: web.Request) -> web.Response:
        node = {"state": "ALIVE", "resources_total": {"CPU": 8.0, **({"GPU": self.gpus} if self.gpus else {})}}
        return web.json_response({"result": True, "data": {"result": {"result": [node]}}})

    async def _submit(self, request: web.Request) -> web.Response:
        body = await request.json()
        if "entrypoint" not in body:
            return web.Response(status=400, text="TypeError: entrypoint")
        name = body.pop("submission_id")
        if name in self.jobs:
            return web.Response(status=500, text=f"ValueError: Job with submission_id {name} already exists.")
        job = self.jobs[name] = FakeJob(body.pop("entrypoint"), body)
        self.submitted.append(name)
        if not self.full:
            await self._begin(name, job)
        return web.json_response({"submission_id": name})

    async def _begin(self, name: str, job: FakeJob) -> None:
        environment = {
            "PATH": f"{self.path}:{os.environ['PATH']}",
            "HOME": str(self.folder),
            "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
            "TMPDIR": str(self.folder),
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(self.token_file),
            "RAY_ADDRESS": "127.0.0.1:6379",
        }
        with (self.folder / f"{name}.log").open("ab") as output:
            job.process = await asyncio.create_subprocess_shell(
                job.entrypoint, stdout=output, stderr=output, env=environment, start_new_session=True
            )
        job.status, job.watch = "RUNNING", asyncio.create_task(self._watch(job, job.process))

    async def _watch(self, job: FakeJob, process: Process) -> None:
        code = await process.wait()
        if job.status == "RUNNING":
            job.status = "SUCCEEDED" if code == 0 else "FAILED"

    async def _job(self, request: web.Request) -> web.Response:
        job = self._named(request)
        code = job.process.returncode if job.process else None
        return web.json_response(
            {"status": job.status, "message": "m", "error_type": job.error_type, "driver_exit_code": code}
        )

    async def _stop(self, request: web.Request) -> web.Response:
        job = self._named(request)
        if job.status == "RUNNING":
            job.status = "STOPPED"
            self._kill(job)
        return web.json_response({"stopped": True})

    async def _logs(self, request: web.Request) -> web.Response:
        self._named(request)
        path = self.folder / f"{request.match_info['id']}.log"
        return web.json_response({"logs": path.read_text() if path.exists() else ""})

    def _named(self, request: web.Request) -> FakeJob:
        job = self.jobs.get(request.match_info["id"])
        if job is None:
            raise web.HTTPNotFound
        return job

    def _kill(self, job: FakeJob) -> None:
        if job.process is not None and job.process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(job.process.pid, signal.SIGKILL)
