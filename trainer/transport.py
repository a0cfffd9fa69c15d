"""Signed HTTP to one trainer: requests that may be repeated, answers that are genuine, errors that are ours.

A broken connection is tried again a few times, a silent one is given up after a time-out. Knows no message's shape.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
    nullcontext,
)
from pathlib import Path
from typing import IO, Any

import aiohttp
from yarl import URL

from storage.errors import Conflict, InvalidInput, NotFound, PupilError, TrainerUnavailable, TrainingFailed
from trainer.download import ConnectionBroke
from trainer.signing import EMPTY, ID, SIGNATURE, is_answer, sign_request

CONNECT_TIMEOUT = 10.0
PAUSES = (0.1, 0.3, 0.9)
"""Seconds before a request whose connection broke is repeated; a restarted trainer is back within these."""
SLOWEST_UPLOAD = 128 * 1024
"""Bytes per second below which an upload is given up."""
MAX_ANSWER = 16 << 20
"""Bytes; only a job's list of events comes anywhere near."""

_ERRORS: dict[int, type[PupilError]] = {404: NotFound, 409: Conflict, 422: TrainingFailed}


class Transport:
    def __init__(self, url: str | None, key: str, timeout: float, tls: ssl.SSLContext | None = None) -> None:
        """`tls`: for https; None: whatever certificates this host trusts."""
        self.url = url
        self._tls = tls
        self._key = key
        self._timeout = timeout
        self._session: aiohttp.ClientSession | None = None

    def begin(self) -> None:
        """Call in the event loop that will make the requests."""
        connector = aiohttp.TCPConnector(ssl=self._tls or True)
        self._session = aiohttp.ClientSession(headers={"Accept-Encoding": "identity"}, connector=connector)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def call(
        self,
        method: str,
        path: str,
        *,
        body: bytes = b"",
        file: Path | None = None,
        digest: str | None = None,
        extra_time: float = 0.0,
    ) -> bytes:
        """One request with its repetitions; the body of the answer.

        Args:
            path: from "/v1" on, percent-encoded, with its query.
            body, file: what to send, at most one of them; `digest` spares hashing a file that was hashed before.
            extra_time: seconds the trainer may take on purpose (a long poll).

        Raises:
            TrainerUnavailable, NotFound, Conflict, TrainingFailed, InvalidInput
        """
        digest = digest or hashlib.sha256(body).hexdigest()
        size = file.stat().st_size if file else len(body)
        seconds = self._timeout + extra_time + size / SLOWEST_UPLOAD
        limits = aiohttp.ClientTimeout(total=seconds, sock_connect=CONNECT_TIMEOUT)
        for pause in PAUSES:
            try:
                return await self._once(method, path, digest, limits, body, file)
            except ConnectionBroke:
                await asyncio.sleep(pause)
        return await self._once(method, path, digest, limits, body, file)

    def open(
        self, artifact: str, name: str, start: int, sha256: str
    ) -> AbstractAsyncContextManager[tuple[int, AsyncIterator[bytes]]]:
        """A file of an artifact from an offset on (see `trainer.download.Source`)."""
        return self.stream(f"/v1/artifacts/{artifact}/{name}", start, sha256)

    @asynccontextmanager
    async def stream(self, path: str, start: int, sha256: str) -> AsyncIterator[tuple[int, AsyncIterator[bytes]]]:
        """The bytes at a path from an offset on; they are not signed, so their digest must be known."""
        limits = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT, sock_read=self._timeout)
        extra = {"Range": f"bytes={start}-", "If-Range": f'"{sha256}"'} if start else {}
        with _translated(self.url):
            async with self._request("GET", path, EMPTY, limits, extra=extra) as response:
                if response.status == 416:  # there is nothing from there on
                    yield start, _nothing()
                    return
                if response.status not in (200, 206):
                    self._checked(response, await _read(response))
                if response.status == 206 and not response.headers.get("Content-Range", "").startswith(
                    f"bytes {start}-"
                ):
                    raise TrainerUnavailable(
                        f"What answers at {self.url} sent another part of {path} than was asked for."
                    )
                yield (start if response.status == 206 else 0), response.content.iter_any()

    async def _once(
        self, method: str, path: str, digest: str, limits: aiohttp.ClientTimeout, body: bytes, file: Path | None
    ) -> bytes:
        with _translated(self.url), _opened(file) as stream:
            async with self._request(method, path, digest, limits, data=stream or body or None) as response:
                return self._checked(response, await _read(response))

    def _request(
        self,
        method: str,
        path: str,
        digest: str,
        limits: aiohttp.ClientTimeout,
        *,
        data: Any = None,
        extra: dict[str, str] | None = None,
    ) -> Any:
        if self.url is None or self._session is None:
            raise TrainerUnavailable("The trainer has not started yet. Try again in a moment.")
        return self._session.request(
            method,
            URL(self.url.rstrip("/") + path, encoded=True),
            data=data,
            headers=sign_request(self._key, method, path, digest) | (extra or {}),
            timeout=limits,
            allow_redirects=False,
        )

    def _checked(self, response: aiohttp.ClientResponse, body: bytes) -> bytes:
        """The body of a genuine answer that reports success; every other answer as an error of ours."""
        status = response.status
        request = response.request_info.headers[ID]
        if status == 401:
            raise TrainerUnavailable(f"The trainer at {self.url} refused our key: {_sentence(body)}")
        if not is_answer(self._key, request, status, body, response.headers.get(SIGNATURE, "")):
            raise TrainerUnavailable(
                f"What answers at {self.url} (status {status}) does not sign like our trainer. Check address and key."
            )
        if status < 300:
            return body
        kind = _ERRORS.get(status, InvalidInput if status < 500 else TrainerUnavailable)
        raise kind(_sentence(body))


@contextmanager
def _translated(url: str | None) -> Iterator[None]:
    """aiohttp's exceptions as ours. A time-out is one too, and is not repeated: it has cost enough already."""
    try:
        yield
    except TimeoutError:
        raise TrainerUnavailable(f"The trainer at {url} did not answer in time. It is tried again later.") from None
    except aiohttp.ClientSSLError as error:
        raise TrainerUnavailable(
            f"The trainer at {url} cannot be spoken to safely: {error}. Check that the address begins with what it "
            "speaks (http or https), that its certificate is for this name and still valid, and that the setting "
            "trainer_ca_file names it if it is self-signed."
        ) from error
    except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, ConnectionError) as error:
        raise ConnectionBroke(f"The trainer at {url} cannot be reached: {error or type(error).__name__}.") from error
    except (aiohttp.ClientError, ValueError) as error:
        raise TrainerUnavailable(f"What answers at {url} does not speak like a trainer: {error}.") from error


async def _read(response: aiohttp.ClientResponse) -> bytes:
    parts, size = [], 0
    async for chunk in response.content.iter_any():
        parts.append(chunk)
        if (size := size + len(chunk)) > MAX_ANSWER:
            raise TrainerUnavailable(f"An answer of more than {MAX_ANSWER:,} bytes came; it was not read to its end.")
    return b"".join(parts)


async def _nothing() -> AsyncIterator[bytes]:
    return
    yield b""


def _opened(file: Path | None) -> AbstractContextManager[IO[bytes] | None]:
    return nullcontext() if file is None else file.open("rb")


def _sentence(body: bytes) -> str:
    try:
        return str(json.loads(body)["error"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return "It gave no reason."
