"""Pictures, drawn by a short-lived child process, so that the bot itself never holds a drawing library (41 MB).

One picture at a time; the newest are kept. A picture that cannot be drawn is None: whoever shows it has the numbers.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path

from bot.services.confusion import Confusion
from storage.processes import PYTHON

log = logging.getLogger(__name__)

SECONDS = 30.0
"""A picture takes about one second; the very first one ten, because the library looks for the host's fonts."""
KEPT = 16
"""Pictures in memory, about 50 kB each."""
INHERITED = ("PATH", "PYTHONPATH", "HOME", "LANG", "SYSTEMROOT")
"""What the child is told of our environment: no token, no key."""

COMMAND = (*PYTHON, "-m", "bot.plots.draw")


class Drawing:
    def __init__(self, cache: Path, *, command: tuple[str, ...] = COMMAND, seconds: float = SECONDS) -> None:
        """`cache`: folder for the drawing library's list of fonts; made when the first picture is drawn."""
        self._cache = cache
        self._command = command
        self._seconds = seconds
        self._turn = asyncio.Lock()
        self._kept: OrderedDict[str, bytes] = OrderedDict()

    async def confusion(self, confusion: Confusion) -> bytes | None:
        """A PNG about 1000 pixels wide; None where it could not be drawn in time, or at all."""
        if len(confusion.labels) < 2:
            return None
        request = json.dumps({"labels": confusion.labels, "counts": confusion.counts})
        async with self._turn:
            picture = self._kept.pop(request, None) or await self._draw(request.encode())
            if picture is not None:
                self._kept[request] = picture
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return picture

    async def _draw(self, request: bytes) -> bytes | None:
        self._cache.mkdir(parents=True, exist_ok=True, mode=0o700)
        environment = {name: os.environ[name] for name in INHERITED if name in os.environ}
        process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=environment | {"MPLCONFIGDIR": str(self._cache)},
            start_new_session=True,  # Ctrl-C in the terminal is for the bot, which ends it
        )
        try:
            async with asyncio.timeout(self._seconds):
                picture, complaint = await process.communicate(request)
        except TimeoutError:
            log.warning("picture.late", extra={"seconds": self._seconds})
            return None
        finally:
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        if process.returncode == 0 and picture.startswith(b"\x89PNG"):
            return picture
        last = complaint.decode(errors="replace").strip().rpartition("\n")[2]
        log.warning("picture.failed", extra={"code": process.returncode, "why": last.partition(":")[0]})
        return None
