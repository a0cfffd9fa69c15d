"""Reads multipart bodies within bounds. Knows only HTTP."""

from __future__ import annotations

import json
import mimetypes
import re
from dataclasses import dataclass
from typing import Any

from aiohttp import BodyPartReader, MultipartReader, web

from bot.playground.wire import ATTACHMENT_LIMIT, ApiError

_UNSAFE = re.compile(r"[^\w.\-]+")
_JSON_LIMIT = 1024 * 1024
_PARTS = 12


@dataclass(frozen=True)
class Upload:
    """A file as it came."""

    name: str
    content_type: str
    data: bytes


async def read_form(request: web.Request) -> tuple[Any, list[Upload]]:
    """The JSON of the part "payload_json" (None without one) and all files, in the order of their part names.

    Raises:
        ApiError: 40005 (413) a file over 10 MiB, 50109 (400) something that is no JSON, 50035 too many parts.
    """
    payload: Any = None
    files: list[tuple[str, Upload]] = []
    async for part in _parts(await request.multipart()):
        if part.name == "payload_json":
            payload = parse_json(await _read(part, _JSON_LIMIT))
        elif part.filename is not None:
            files.append((part.name or "", await _read_file(part)))
        if len(files) > _PARTS:
            raise ApiError(400, 50035, "Invalid Form Body")
    # "files[10]" comes after "files[9]"
    files.sort(key=lambda named: (len(named[0]), named[0]))
    return payload, [upload for _, upload in files]


def parse_json(data: bytes) -> Any:
    """Raises ApiError 50109 when it is none; an empty body is None."""
    try:
        return json.loads(data) if data else None
    except (ValueError, RecursionError):
        raise ApiError(400, 50109, "The request body contains invalid JSON.") from None


def upload(name: str, data: bytes, declared: str = "") -> Upload:
    """A file with a safe name and the content type that its name says; `declared` when the name says nothing."""
    name = safe_name(name)
    return Upload(name, mimetypes.guess_type(name)[0] or declared or "application/octet-stream", data)


def safe_name(name: str) -> str:
    """A file name without anything a path or a link could trip over, as Discord keeps it."""
    return _UNSAFE.sub("_", name.rpartition("/")[2]).strip("._")[-100:] or "file"


async def _parts(reader: MultipartReader) -> Any:
    while (part := await reader.next()) is not None:
        if isinstance(part, BodyPartReader):
            yield part


async def _read_file(part: BodyPartReader) -> Upload:
    declared = part.headers.get("Content-Type", "").partition(";")[0]
    return upload(part.filename or "file", await _read(part, ATTACHMENT_LIMIT), declared)


async def _read(part: BodyPartReader, limit: int) -> bytes:
    data = bytearray()
    while chunk := await part.read_chunk(64 * 1024):
        data += chunk
        if len(data) > limit:
            raise ApiError(413, 40005, "Request entity too large")
    return bytes(data)
