"""Named moments at which a process of the tests stands still until the test gives it leave, and kills itself then.

The product has no such hooks: the entry modules of this package put a function around some methods, in their own
process. The order lies in a file, so that the test can give it while the process runs; it is used up before it is
carried out, so that the next life of the process gets past the same point.

    <control>/bot.json, <control>/trainer.json   the order for one of the two
    <control>/reached                            the point that was reached
    <control>/leave                              written by the test: go on
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import json
import os
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Order:
    point: str
    pause: float = 0.0
    """Seconds between the test's leave and what happens."""
    kill: bool = True
    """Else it goes on."""
    hits: int = 1
    """At which time of being reached."""


@dataclass(frozen=True)
class Point:
    owner: type
    method: str
    after: bool = False
    """Whether the moment is when the method has returned."""


def give(file: Path, order: Order) -> None:
    aside = file.with_suffix(".new")
    aside.write_text(json.dumps(asdict(order)))
    aside.replace(file)


def plant(points: Mapping[str, Point], file: Path) -> None:
    for name, point in points.items():
        setattr(point.owner, point.method, _around(getattr(point.owner, point.method), name, point.after, file))


def _around(method: Callable[..., Any], name: str, after: bool, file: Path) -> Callable[..., Any]:
    @functools.wraps(method)
    async def awaited(*arguments: Any, **named: Any) -> Any:
        if not after:
            await meanwhile(take(file, name))
        answer = await method(*arguments, **named)
        if after:
            await meanwhile(take(file, name))
        return answer

    @functools.wraps(method)
    def called(*arguments: Any, **named: Any) -> Any:
        if not after:
            now(take(file, name))
        answer = method(*arguments, **named)
        if after:
            now(take(file, name))
        return answer

    return awaited if inspect.iscoroutinefunction(method) else called


def take(file: Path, name: str) -> Order | None:
    """The order for this point, if its time has come; it is gone then."""
    try:
        order = Order(**json.loads(file.read_text()))
    except (FileNotFoundError, ValueError):
        return None
    if order.point != name:
        return None
    if order.hits > 1:
        give(file, Order(order.point, order.pause, order.kill, order.hits - 1))
        return None
    file.unlink(missing_ok=True)
    return order


async def meanwhile(order: Order | None) -> None:
    """The process stands at the point, says so, and goes on when it may; its questions and timers go on before that."""
    if order is None:
        return
    _reached(order)
    while not _may_go_on():
        await asyncio.sleep(0.005)
    await asyncio.sleep(order.pause)
    _die(order)


def now(order: Order | None) -> None:
    """The same where nobody can wait: everything in the process stands still."""
    if order is None:
        return
    _reached(order)
    while not _may_go_on():
        time.sleep(0.005)
    time.sleep(order.pause)
    _die(order)


def _reached(order: Order) -> None:
    aside = _control() / "reached.new"
    aside.write_text(order.point)
    aside.replace(_control() / "reached")


def _may_go_on() -> bool:
    return (_control() / "leave").exists()


def _control() -> Path:
    return Path(os.environ["FAULTS_CONTROL"])


def _die(order: Order) -> None:
    if order.kill:
        os.kill(os.getpid(), signal.SIGKILL)
