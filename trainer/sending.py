"""Sends a file of an artifact: whole, or from an offset on if it is still the one that the asker has a part of.

The ETag is the file's sha256 as its manifest has it, so it is a strong one: the same ETag means the same bytes, on
every trainer and after every restart. Ranges as in RFC 9110, one per request.
"""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import IO

from aiohttp import web

from storage.artifacts import MANIFEST, read_manifest
from storage.errors import NotFound
from trainer.protocol import Refusal, to_json

PATIENCE = 60.0
"""Seconds a reader may take for one piece before it is taken for gone."""
_PIECE = 1 << 18
_RANGE = re.compile(r"bytes=(\d*)-(\d*)", re.ASCII)


class NothingThere(Exception):
    """The range begins behind the end of the file."""


def etag(folder: Path, name: str) -> str:
    """Raises NotFound: the artifact has no such file."""
    if name == MANIFEST:
        return f'"{folder.name}"'
    entry = read_manifest(folder).files.get(name)
    if entry is None:
        raise NotFound(f"The model {folder.name[:12]} has no file {name}.")
    return f'"{entry.sha256}"'


def part(wanted: str | None, size: int) -> tuple[int, int] | None:
    """(first byte, first byte no more) of a Range header; None: the whole file, also where it makes no sense.

    Raises:
        NothingThere
    """
    match = _RANGE.fullmatch(wanted or "")
    if match is None or match.group(0) == "bytes=-" or any(len(each) > 15 for each in match.groups()):
        return None
    first, last = match.groups()
    if not first:
        begin, end = max(0, size - int(last)), size
    else:
        begin, end = int(first), min(size, int(last) + 1 if last else size)
        if last and int(last) < begin:
            return None
    if begin >= size:
        raise NothingThere
    return begin, end


async def send_file(request: web.Request, path: Path) -> web.StreamResponse:
    """Answers with the file, or with the part that was asked for.

    Raises:
        NotFound
        ConnectionResetError: its reader has stopped reading, or it was cut short under our hands.
    """
    tag, size = etag(path.parent, path.name), path.stat().st_size
    # A part of another file is of no use to whoever has a part of this one.
    is_same = request.headers.get("If-Range", tag) == tag
    try:
        wanted = part(request.headers.get("Range"), size) if is_same else None
    except NothingThere:
        sentence = f"The file {path.name} has {size:,} bytes; nothing is there from where you asked."
        return web.Response(
            status=416,
            body=to_json(Refusal(sentence)).encode(),
            content_type="application/json",
            headers={"Content-Range": f"bytes */{size}"},
        )
    begin, end = wanted or (0, size)
    response = web.StreamResponse(status=206 if wanted else 200, headers={"ETag": tag, "Accept-Ranges": "bytes"})
    response.content_type = "application/octet-stream"
    response.content_length = end - begin
    if wanted:
        response.headers["Content-Range"] = f"bytes {begin}-{end - 1}/{size}"
    with path.open("rb") as file:
        await response.prepare(request)
        try:
            await _send(response, file, begin, end)
        except (OSError, TimeoutError) as error:  # too late for any other answer: the connection has to break
            raise ConnectionResetError(str(error)) from error
    return response


async def _send(response: web.StreamResponse, file: IO[bytes], begin: int, end: int) -> None:
    file.seek(begin)
    while begin < end:
        piece = await asyncio.to_thread(file.read, min(_PIECE, end - begin))
        if not piece:
            raise OSError("the file has become shorter")
        begin += len(piece)
        async with asyncio.timeout(PATIENCE):
            await response.write(piece)
