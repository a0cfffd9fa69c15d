"""Run folders lent to workers that have other disks: the trainer's half of it. `trainer.executors.borrowing` is theirs.

A run is known by its ticket, which is drawn anew at each start and worth nothing once the run is over, so nothing late
gets into a folder. Requests and answers are signed like the trainer's own (`trainer.signing`); a file's sha256 goes
before it in both directions.

    GET /v1/runs/{ticket}?version={v}           Lent: the files that the run begins with
    GET /v1/runs/{ticket}/files/{path}          one of them, with Range
    PUT /v1/runs/{ticket}/files/{path}          a file that is done: it appears whole
    PUT /v1/runs/{ticket}/files/{path}?at={n}   the next bytes of a file that grows, such as events.jsonl
    PUT /v1/runs/{ticket}/checkpoint            Kept: names in checkpoint/ that are of use; the others are removed
    GET /v1/runs/{ticket}/stop?wait={s}         Stop: answers when the run is to end, or after `wait` seconds
    PUT /v1/runs/{ticket}/exit                  Exit: nothing of the run is alive any more

Knows nothing of how a worker is found and started.
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib.metadata
import secrets
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from aiohttp import web

from storage.errors import ConfigurationError, Conflict, InvalidInput, NotFound
from storage.files import PART, file_errors, sha256_of
from trainer.executors.base import Exit
from trainer.gate import body, body_chunks, make_gate
from trainer.protocol import from_json, to_json
from trainer.signing import Verifier
from trainer.store import receive_file

GIVEN = ("job.json", "base.json", "inputs")
"""What a run reads and never writes."""
CHECKPOINT = "checkpoint"
UNFINISHED = "staging"
MAX_PIECE = 1 << 20
MAX_FILE = 8 << 30
_MAX_MESSAGE = 64 * 1024
_DEEPEST = 3
_LONGEST_WAIT = 60.0


@dataclass(frozen=True, slots=True)
class LentFile:
    path: str
    """Below the run folder, with slashes."""
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Lent:
    files: tuple[LentFile, ...]


@dataclass(frozen=True, slots=True)
class Kept:
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Stop:
    grace: float | None
    """Seconds the run has to end by itself; None: nobody asks it to."""


@cache
def version() -> str:
    """Of the code that both halves run: the package's version, and a digest of what its files say."""
    packages = Path(__file__).parents[1], Path(__file__).parents[2] / "storage"
    digest = hashlib.sha256()
    for path in sorted(path for package in packages for path in package.rglob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    try:
        return f"{importlib.metadata.version('pupil')}+{digest.hexdigest()[:12]}"
    except importlib.metadata.PackageNotFoundError:
        return f"0+{digest.hexdigest()[:12]}"


class Loan:
    """One run folder in a worker's hands. For one event loop."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ticket = secrets.token_hex(16)
        self.refused: str | None = None
        """Why a worker could not take it, in one sentence."""
        self.heard: float | None = None
        """When the worker was last heard of, by the loop's clock; None: it has not begun."""
        self.stop = asyncio.Event()
        self.grace = 0.0
        self.ended: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()

    @property
    def begun(self) -> bool:
        return self.heard is not None

    def ask_to_stop(self, grace: float) -> None:
        self.grace = grace
        self.stop.set()

    def end(self, ending: Exit) -> None:
        """The first one stands. From here on the worker is refused."""
        if not self.ended.done():
            self.ended.set_result(ending)
            self.stop.set()  # answers a worker that asks about it just now


class Lending:
    """The server that workers speak to."""

    def __init__(self, host: str, port: int, key: str) -> None:
        self.key = key
        self._host, self._port = host, port
        self._loans: dict[str, Loan] = {}
        self._runner: web.AppRunner | None = None

    async def open(self) -> int:
        """Begin to listen; the port.

        Raises:
            ConfigurationError: the address cannot be bound.
        """
        app = web.Application(middlewares=[make_gate(Verifier([self.key]))])
        app.add_routes(
            [
                web.get("/v1/runs/{ticket}", self._lent, allow_head=False),
                web.get("/v1/runs/{ticket}/files/{path:.+}", self._give, allow_head=False),
                web.put("/v1/runs/{ticket}/files/{path:.+}", self._take),
                web.put("/v1/runs/{ticket}/checkpoint", self._keep),
                web.get("/v1/runs/{ticket}/stop", self._stop, allow_head=False),
                web.put("/v1/runs/{ticket}/exit", self._exit),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None, auto_decompress=False, shutdown_timeout=2.0)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self._host, self._port).start()
        except OSError as error:
            raise ConfigurationError(
                f"The trainer cannot lend its files on {self._host} port {self._port}: {error.strerror}. "
                "Name another address of this host with --ray-files."
            ) from error
        return int(self._runner.addresses[0][1])

    async def close(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def lend(self, folder: Path) -> Loan:
        self._loans = {ticket: loan for ticket, loan in self._loans.items() if not loan.ended.done()}
        loan = Loan(folder)
        self._loans[loan.ticket] = loan
        return loan

    def _loan(self, request: web.Request) -> Loan:
        loan = self._loans.get(request.match_info["ticket"])
        if loan is None or loan.ended.done():
            raise NotFound("This run is over.")
        loan.heard = asyncio.get_running_loop().time()
        return loan

    async def _lent(self, request: web.Request) -> web.Response:
        loan, theirs = self._loan(request), request.query.get("version", "")
        if theirs != version():
            loan.refused = (
                f"The cluster's worker has Pupil {theirs[:40]} and this trainer {version()}. Install the same on both."
            )
            raise Conflict(loan.refused)
        return _json(Lent(tuple(await asyncio.to_thread(_described, loan.folder))))

    async def _give(self, request: web.Request) -> web.StreamResponse:
        # The bytes need no signature: the signed list names their sha256.
        path = self._loan(request).folder / _safe(request)
        if not path.is_file():
            raise NotFound("The run folder has no such file.")
        return web.FileResponse(path)

    async def _take(self, request: web.Request) -> web.Response:
        loan, name = self._loan(request), _safe(request)
        if name.split("/")[0] in (*GIVEN, UNFINISHED):
            raise InvalidInput("A run does not write there.")
        if (at := request.query.get("at")) is not None:
            if not at.isdecimal() or len(at) > 15:
                raise InvalidInput("at must be a number of bytes.")
            await _append(loan, loan.folder / name, int(at), await body(request, MAX_PIECE))
        else:
            await receive_file(_while_lent(loan, body_chunks(request, MAX_FILE)), loan.folder / name)
        return web.Response(status=204)

    async def _keep(self, request: web.Request) -> web.Response:
        loan = self._loan(request)
        kept = set(from_json(Kept, await body(request, _MAX_MESSAGE)).names)
        for path in list((loan.folder / CHECKPOINT).glob("*")):
            if path.name not in kept and not path.name.endswith(PART):
                path.unlink(missing_ok=True)
        return web.Response(status=204)

    async def _stop(self, request: web.Request) -> web.Response:
        loan, wait = self._loan(request), request.query.get("wait", "0")
        if not wait.isdecimal():
            raise InvalidInput("wait must be whole seconds.")
        with suppress(TimeoutError):
            async with asyncio.timeout(min(int(wait), _LONGEST_WAIT)):
                await loan.stop.wait()
        return _json(Stop(loan.grace if loan.stop.is_set() else None))

    async def _exit(self, request: web.Request) -> web.Response:
        loan = self._loan(request)
        loan.end(from_json(Exit, await body(request, _MAX_MESSAGE)))
        return web.Response(status=204)


def _described(folder: Path) -> list[LentFile]:
    """Every file that a run begins with, also what an attempt before it has kept."""
    paths = [path for name in (*GIVEN, CHECKPOINT) for path in _files(folder / name)]
    return [LentFile(path.relative_to(folder).as_posix(), path.stat().st_size, sha256_of(path)) for path in paths]


def _files(path: Path) -> list[Path]:
    return [path] if path.is_file() else sorted(each for each in path.rglob("*") if each.is_file())


async def _append(loan: Loan, path: Path, at: int, data: bytes) -> None:
    """Idempotent: the same bytes at the same place again change nothing."""
    if loan.ended.done():
        raise NotFound("This run is over.")
    with file_errors(f"receiving {path.name}"), path.open("ab") as file:
        if at > file.tell():
            raise Conflict(f"{path.name} has {file.tell()} bytes, not {at} yet.")
        file.write(data[file.tell() - at :])


async def _while_lent(loan: Loan, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    async for chunk in chunks:
        yield chunk
    if loan.ended.done():  # while it was on its way
        raise NotFound("This run is over.")


def _safe(request: web.Request) -> str:
    """The path in the address: a few plain names, so that it can lead nowhere else."""
    path = request.match_info["path"]
    names = path.split("/")
    plain = all(name not in ("", ".", "..") and name.isprintable() and len(name) < 200 for name in names)
    if len(names) > _DEEPEST or not plain:
        raise InvalidInput("That is no file of a run.")
    return path


def _json(message: Lent | Stop) -> web.Response:
    return web.Response(body=to_json(message).encode(), content_type="application/json")
