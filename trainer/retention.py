"""What a trainer deletes, by age and by space, so that its disk needs no looking after. To bots all of it is a cache.

`what_goes` is the policy, a pure function. `look` says what is there. `Retention` brings both together at the start,
after each job and once a day. Whatever goes is renamed first, so that nobody ever meets half of it: a trainer that is
killed meanwhile leaves whole things and `*.part`, which the next start removes.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import shutil
import stat
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import TracebackType

from storage.artifacts import is_artifact_id
from storage.files import PART
from trainer.protocol import RunState
from trainer.run_folder import RunFolder
from trainer.store import Store

log = logging.getLogger(__name__)

DAY = 86_400.0
RECENT = 3_600.0
"""Seconds after its last use in which nothing goes, whatever the space: a bot gives a model and then submits the job,
and a download that broke is taken up again."""
FETCH = 3 * DAY
"""Seconds after a job's end in which its artifact waits for its bot, whatever the space, unless all was asked for."""
CHECKPOINT = 3 * DAY
"""Seconds for which a checkpoint waits for the next attempt. A bot that runs makes it within a minute."""
LEFTOVER = DAY
"""Seconds after which what was never finished is nobody's any more."""


@dataclass(frozen=True, slots=True)
class Limits:
    days: float = 30.0
    """Since its last use."""
    gigabytes: float = 20.0
    """10⁹ bytes, of everything in the trainer's folder. What may not go can take more."""


class Kind(StrEnum):
    ARTIFACT = "artifact"
    SNAPSHOT = "snapshot"
    CHECKPOINT = "checkpoint"
    FOLDER = "folder"
    """What is left of a run that is over: a few kilobytes that answer for it."""
    LEFTOVER = "leftover"


@dataclass(frozen=True, slots=True)
class Item:
    """Something that goes as a whole or stays."""

    path: Path
    kind: Kind
    used_at: float
    """Unix time."""
    bytes: int
    """What its deletion frees: hard links from elsewhere keep a file."""
    needed: bool = False
    """By a job that waits or runs."""
    awaited_since: float | None = None
    """When the job ended whose artifact it is, and which no bot has fetched yet."""


def what_goes(items: Iterable[Item], used: int, now: float, limits: Limits) -> list[Item]:
    """First what is too old; then, while more than the limit is used, what was not used for longest.

    Args:
        used: bytes of everything, each file counted once.
    """
    may_go = [item for item in items if _may_go(item, now)]
    going = [item for item in may_go if now - item.used_at > _longest(item.kind, limits)]
    used -= sum(item.bytes for item in going)
    too_old = {item.path for item in going}
    for item in sorted(may_go, key=lambda item: item.used_at):
        if used <= limits.gigabytes * 1e9:
            break
        if item.path not in too_old and item.bytes and item.kind is not Kind.FOLDER:
            going.append(item)
            used -= item.bytes
    return going


def _may_go(item: Item, now: float) -> bool:
    awaited = item.awaited_since is not None and now - item.awaited_since <= FETCH
    return not (item.needed or awaited or now - item.used_at <= RECENT)


def _longest(kind: Kind, limits: Limits) -> float:
    """Seconds without use after which something of this kind goes."""
    own = {Kind.CHECKPOINT: CHECKPOINT, Kind.LEFTOVER: LEFTOVER}
    return min(limits.days * DAY, own.get(kind, limits.days * DAY))


def look(store: Store, active: Collection[Path]) -> tuple[list[Item], int]:
    """Everything that may go one day, and the bytes of all there is. Reads the disk; for a thread of its own.

    Args:
        active: folders of runs that wait or run; nothing in them is listed, and what lies in their inputs is needed.
    """
    found = list(_listed(store, active))
    inodes = {path: _inodes(path) for path, _ in found}
    for path in inodes.keys() & {part.parent for part in inodes}:  # a folder of which a part goes by itself
        inodes[path] = _inodes(path, besides=inodes.keys())
    holders: Counter[tuple[int, int]] = Counter()
    for each in (*inodes.values(), *map(_inodes, active)):
        holders.update(each.keys())
    needed, awaited = needed_names(active), _awaited(store)
    items = [
        Item(
            path,
            kind,
            used_at(path, kind),
            sum(size for inode, size in inodes[path].items() if holders[inode] == 1),
            path.name in needed,
            awaited.get(path.name),
        )
        for path, kind in found
    ]
    return items, sum(_inodes(store.root).values())


def needed_names(active: Iterable[Path]) -> set[str]:
    """Names of the artifacts and snapshots that jobs which wait or run were given."""
    return {each.name for path in active for each in _children(path / "inputs")}


def used_at(path: Path, kind: Kind) -> float:
    """When it was last used: of artifacts and snapshots the store notes that, else it is the newest change inside."""
    if kind in {Kind.ARTIFACT, Kind.SNAPSHOT}:
        return _changed(path)
    return max((_changed(each) for each in (path, *_walk(path))), default=0.0)


def _listed(store: Store, active: Collection[Path]) -> Iterator[tuple[Path, Kind]]:
    for path in _children(store.artifacts):
        yield path, Kind.ARTIFACT if is_artifact_id(path.name) else Kind.LEFTOVER
    for path in _children(store.snapshots):
        yield path, Kind.SNAPSHOT if path.suffix == ".jsonl" else Kind.LEFTOVER
    for home in _children(store.root / "jobs"):
        if not any(path.parent == home for path in active):  # an earlier attempt's folder fences that one off
            for path in _children(home):
                yield from _in_run(path)
    for path in _children(store.root / "bases"):
        if path not in active:
            yield path, Kind.FOLDER


def _in_run(path: Path) -> Iterator[tuple[Path, Kind]]:
    """The parts of a run folder that go before it: a run that was killed with its trainer has cleared nothing away."""
    if not path.name.isdecimal():
        yield path, Kind.LEFTOVER
        return
    folder = RunFolder(path)
    yield path, Kind.FOLDER
    for part, kind in (
        (folder.checkpoint, Kind.CHECKPOINT),
        (folder.inputs, Kind.LEFTOVER),
        (folder.staging, Kind.LEFTOVER),
    ):
        if part.is_dir():
            yield part, kind


def _awaited(store: Store) -> dict[str, float]:
    """By artifact that no bot has fetched: when its job ended."""
    found = {}
    for home in _children(store.root / "jobs"):
        for path in _children(home):
            result = RunFolder(path).result()
            if result is None or result.artifact is None or result.state is not RunState.SUCCEEDED:
                continue
            if not store.was_fetched(result.artifact):
                found[result.artifact] = _changed(path / "result.json")
    return found


def _children(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def _walk(path: Path, besides: Collection[Path] = ()) -> Iterator[Path]:
    """Everything below a directory; what goes away meanwhile is left out."""
    for each in _children(path):
        if each not in besides:
            yield each
            if not each.is_symlink():
                yield from _walk(each, besides)


def _inodes(path: Path, besides: Collection[Path] = ()) -> dict[tuple[int, int], int]:
    """Bytes of each file in it, by what the file is rather than by its name: hard links are one file."""
    found = {}
    for each in (path, *_walk(path, besides)):
        with suppress(FileNotFoundError):
            status = each.lstat()
            if not stat.S_ISDIR(status.st_mode):
                found[status.st_dev, status.st_ino] = status.st_size
    return found


def _changed(path: Path) -> float:
    try:
        return path.lstat().st_mtime
    except FileNotFoundError:
        return 0.0


class Retention:
    """`async with` sweeps at once, whenever it is woken, and once a day. For the event loop that uses the store."""

    def __init__(
        self,
        store: Store,
        limits: Limits,
        active: Callable[[], Collection[Path]],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`active`: the folders of the runs that wait or run at this moment."""
        self._store = store
        self._limits = limits
        self._active = active
        self._clock = clock
        self._woken = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Retention:
        self._task = asyncio.create_task(self._run(), name="retention")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def wake(self) -> None:
        """A job has ended."""
        self._woken.set()

    async def sweep(self) -> list[Item]:
        """Delete what is to go; returns it."""
        items, used = await asyncio.to_thread(look, self._store, list(self._active()))
        gone = []
        for item in what_goes(items, used, self._clock(), self._limits):
            # Looked at again, and renamed, without a break: what was asked for meanwhile stays.
            if self._came_into_use(item):
                continue
            aside = _set_aside(item.path)
            await asyncio.to_thread(_delete, aside)
            if item.kind is Kind.FOLDER:
                with suppress(OSError):  # other attempts of the job are there
                    item.path.parent.rmdir()
            log.info("retention.deleted", extra={"kind": item.kind.value, "what": item.path.name, "bytes": item.bytes})
            gone.append(item)
        return gone

    def _came_into_use(self, item: Item) -> bool:
        active = self._active()
        if any(item.path.is_relative_to(path.parent) for path in active):
            return True
        return item.path.name in needed_names(active) or used_at(item.path, item.kind) != item.used_at

    async def _run(self) -> None:
        while True:
            self._woken.clear()
            try:
                await self.sweep()
            except OSError as error:
                log.warning("retention.failed", extra={"why": str(error)})
            with suppress(TimeoutError):  # not by `wait_for`: before Python 3.12 it can lose a cancellation
                async with asyncio.timeout(DAY):
                    await self._woken.wait()


def _set_aside(path: Path) -> Path:
    """Out of sight in one step. A single file needs no name of its own to go at once."""
    if not path.is_dir() or path.name.endswith(PART):
        return path
    return path.rename(path.with_name(f"{path.name}.{secrets.token_hex(4)}{PART}"))


def _delete(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
