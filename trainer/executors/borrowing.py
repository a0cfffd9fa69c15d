"""Run folders lent to workers that have other disks: the worker's half of it, see `trainer.executors.lending`.

The folder is brought to this disk, the run works in it as it would at home, and what it leaves is brought back while
it runs: events and output as they grow, each new checkpoint, the artifact, and result.json last. Without the trainer
nobody wants the result, so the run ends with it. Knows nothing of how the worker was started.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import shutil
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

from storage.artifacts import FileEntry
from storage.errors import TrainerUnavailable
from storage.files import PART, sha256_of
from trainer.download import fetch_file
from trainer.executors.base import Executor, Exit
from trainer.executors.lending import CHECKPOINT, GIVEN, MAX_PIECE, UNFINISHED, Kept, Lent, Stop, version
from trainer.protocol import from_json, to_json
from trainer.run_folder import LOG
from trainer.transport import Transport

log = logging.getLogger(__name__)

LOST = 60.0
"""Seconds without the trainer after which it counts as gone; a restarted one does not know the run any more."""
INTERVAL = 0.3
"""Seconds between two looks for something new."""
TIMEOUT = 30.0
_STOP_WAIT = 20
_GROWING = ("events.jsonl", LOG)
_RESULT = "result.json"
_LOCK = "lock"
_SWEPT_AFTER = 60.0


class Link:
    """`async with Link(url, key, ticket) as link`: one run's way to its trainer. For one event loop."""

    def __init__(self, url: str, key: str, ticket: str) -> None:
        self._transport = Transport(url, key, TIMEOUT)
        self._home = f"/v1/runs/{ticket}"
        self._sent: dict[str, tuple[int, int]] = {}
        """Path to time of change and size, of files that are there."""
        self._offsets = dict.fromkeys(_GROWING, 0)
        self._kept: set[str] = set()

    async def __aenter__(self) -> Link:
        self._transport.begin()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._transport.close()

    async def greet(self) -> Lent:
        """Tell the trainer that the run begins here; what it lends.

        Raises:
            Conflict: it has another version.
            NotFound: the run is over.
        """
        path = f"{self._home}?version={quote(version(), safe='')}"
        return from_json(Lent, await self._patiently("GET", path))

    async def fetch(self, folder: Path) -> None:
        """Bring the run folder here, every file verified.

        Raises:
            Conflict, NotFound, ArtifactError, TrainerUnavailable, DiskFull, StorageError
        """
        for file in (await self.greet()).files:
            path = folder / file.path
            path.parent.mkdir(parents=True, exist_ok=True)
            source = _Lent(self._transport, self._address(file.path))
            entry = FileEntry(file.sha256, file.bytes)
            await fetch_file(source, "run", path.name, entry, path.parent, owner="the run")
            self._sent[file.path] = _state(path)
        self._kept = _names(folder)

    async def bring_back(self, folder: Path, *, output_only: bool = False, over: bool = False) -> None:
        """Send what is new in the folder.

        Args:
            output_only: what the process printed, and nothing else.
            over: nothing will change any more: result.json too.

        Raises:
            NotFound: the run is over for the trainer.
            TrainerUnavailable: not now.
        """
        for name in (LOG,) if output_only else _GROWING:
            await self._send_growth(folder, name)
        if output_only:
            return
        names = _names(folder)
        for path in _made(folder):
            await self._send(folder, path)
        # The older state goes when the newer one is there, which may itself have been replaced meanwhile.
        if names != self._kept and all(f"{CHECKPOINT}/{name}" in self._sent for name in names):
            await self._patiently("PUT", f"{self._home}/checkpoint", to_json(Kept(tuple(names))).encode())
            self._kept = names
        if over and (folder / _RESULT).is_file():
            await self._send(folder, folder / _RESULT)

    async def stop_asked(self) -> float:
        """Returns when the run is to end: the seconds it has for that.

        Raises:
            NotFound: the run is over for the trainer; or, after a while, TrainerUnavailable: the trainer is gone.
        """
        while True:
            answer = await self._patiently("GET", f"{self._home}/stop?wait={_STOP_WAIT}", extra_time=_STOP_WAIT)
            if (grace := from_json(Stop, answer).grace) is not None:
                return grace

    async def say_over(self, ending: Exit) -> None:
        await self._patiently("PUT", f"{self._home}/exit", to_json(ending).encode())

    async def _send_growth(self, folder: Path, name: str) -> None:
        with suppress(FileNotFoundError), (folder / name).open("rb") as file:
            file.seek(self._offsets[name])
            while piece := file.read(MAX_PIECE):
                await self._patiently("PUT", f"{self._address(name)}?at={self._offsets[name]}", piece)
                self._offsets[name] += len(piece)

    async def _send(self, folder: Path, path: Path) -> None:
        name = path.relative_to(folder).as_posix()
        with suppress(FileNotFoundError):  # a checkpoint that a newer one has replaced just now
            if self._sent.get(name) == (state := _state(path)):
                return
            digest = await asyncio.to_thread(sha256_of, path)
            await self._transport.call("PUT", self._address(name), file=path, digest=digest)
            self._sent[name] = state

    async def _patiently(self, method: str, path: str, body: bytes = b"", extra_time: float = 0.0) -> bytes:
        """A request that is repeated until the trainer counts as gone."""
        deadline = time.monotonic() + LOST
        while True:
            try:
                return await self._transport.call(method, path, body=body, extra_time=extra_time)
            except TrainerUnavailable:
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(1.0)

    def _address(self, name: str) -> str:
        return f"{self._home}/files/{quote(name)}"


class _Lent:
    """One file of a lent folder (see `trainer.download.Source`)."""

    def __init__(self, transport: Transport, address: str) -> None:
        self._transport, self._address = transport, address

    def open(
        self, artifact: str, name: str, start: int, sha256: str
    ) -> AbstractAsyncContextManager[tuple[int, AsyncIterator[bytes]]]:
        return self._transport.stream(self._address, start, sha256)


async def work_off(link: Link, executor: Executor, run_id: str, folder: Path, *, output_only: bool = False) -> None:
    """Have the work in `folder` done here, the trainer kept up to date; ends when it is over or nobody wants it.

    Args:
        output_only: others bring the rest back.

    Raises:
        NotFound: it was over for the trainer before.
        TrainerUnavailable: the trainer is gone. In both cases nothing of the work is alive any more.
    """
    try:
        run = await executor.start(run_id, folder)
        end, stop = asyncio.create_task(run.wait()), asyncio.create_task(link.stop_asked())
        while not end.done():
            await asyncio.wait({end, stop}, timeout=INTERVAL, return_when=asyncio.FIRST_COMPLETED)
            if stop.done():
                await run.stop(stop.result())
            await _bring(link, folder, output_only, over=end.done())
        stop.cancel()
        await asyncio.gather(stop, return_exceptions=True)
        await _bring(link, folder, output_only, over=True)
        await link.say_over(end.result())
    finally:
        await executor.close()


async def _bring(link: Link, folder: Path, output_only: bool, over: bool) -> None:
    """`bring_back`, with the patience for a trainer that is away for a moment."""
    deadline = time.monotonic() + LOST
    while True:
        try:
            return await link.bring_back(folder, output_only=output_only, over=over)
        except TrainerUnavailable:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(1.0)


@contextmanager
def kept_up(url: str, key: str, ticket: str, folder: Path) -> Iterator[None]:
    """Fetch the run folder; while the block lasts a thread brings back what is new, and at its end all the rest.

    For work that must be done in this very process, and whose output and end somebody else reports.

    Raises:
        NotFound, TrainerUnavailable, Conflict, ArtifactError, StorageError
    """
    fetched, done, trouble = threading.Event(), threading.Event(), []

    async def keep_up() -> None:
        async with Link(url, key, ticket) as link:
            await link.fetch(folder)
            fetched.set()
            while not done.is_set():
                await _bring(link, folder, output_only=False, over=False)
                await asyncio.to_thread(done.wait, INTERVAL)
            await _bring(link, folder, output_only=False, over=True)

    def in_thread() -> None:
        try:
            asyncio.run(keep_up())
        except BaseException as error:
            trouble.append(error)
            log.error("run.cut_off", extra={"reason": str(error)})
        fetched.set()

    thread = threading.Thread(target=in_thread, name="kept-up")
    thread.start()
    try:
        fetched.wait()
        if not trouble:
            yield
    finally:
        done.set()
        thread.join()
    if trouble:
        raise trouble[0]


@contextmanager
def place(run_id: str) -> Iterator[Path]:
    """A folder of this host for one run, gone afterwards; what killed runs have left is removed."""
    root = Path(tempfile.gettempdir()) / f"pupil-runs-{os.getuid()}"
    root.mkdir(mode=0o700, exist_ok=True)
    if root.stat().st_uid != os.getuid():
        raise PermissionError(f"{root} belongs to another user.")
    for old in root.iterdir():
        with suppress(FileNotFoundError):  # its run has ended meanwhile, or another one sweeps
            if time.time() - old.stat().st_mtime > _SWEPT_AFTER and _is_left(old):
                shutil.rmtree(old, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{run_id}.", dir=root))
    with open(folder / _LOCK, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _is_left(folder: Path) -> bool:
    try:
        with open(folder / _LOCK) as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except FileNotFoundError:
        return True
    return True


def _made(folder: Path) -> list[Path]:
    """Whole files that the run has made: outside of what it was given, of what is in the making, and result.json."""
    apart = {*GIVEN, *_GROWING, UNFINISHED, _LOCK, _RESULT}
    found: list[Path] = []
    for top in sorted(folder.iterdir()):
        if top.name not in apart:
            found += [top] if top.is_file() else sorted(path for path in top.rglob("*") if path.is_file())
    return [path for path in found if not any(part.endswith(PART) for part in path.relative_to(folder).parts)]


def _names(folder: Path) -> set[str]:
    checkpoint = folder / CHECKPOINT
    return {path.name for path in checkpoint.glob("*") if not path.name.endswith(PART)}


def _state(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_mtime_ns, found.st_size
