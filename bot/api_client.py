"""What the command line uses to speak to a bot: one method per route of `bot.web.api`, errors as `storage.errors`.

Knows nothing of how answers are shown, and not whether the bot is another process or this one (see `bot.cli.connect`).
"""

from __future__ import annotations

import asyncio
import json
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import aiohttp

from bot.web.errors import STATUSES
from storage.errors import Busy, InvalidInput, NotFound, PupilError

NOTICE = "api.json"
"""In the data directory of a running bot: where it answers, {"url", "pid"}."""
BATCH = 256
"""Texts in one predict request: as many as the API takes."""
PATIENCE = 20
"""Times a busy bot is asked again before the caller hears of it."""
TIMEOUT = aiohttp.ClientTimeout(total=300, sock_connect=5)
"""Seconds. A batch of long texts on a slow machine, or a large import, may take minutes."""

Json = dict[str, Any]


class ApiClient:
    """`async with ApiClient(url, guild=None) as api`. Safe for concurrent calls.

    Every method raises the error that the bot told (NotFound, Conflict, Busy ...), or a PupilError when it cannot be
    reached or answers what is no answer.
    """

    def __init__(self, url: str, *, guild: str | None = None) -> None:
        self.url = url.rstrip("/")
        self._query = {} if guild is None else {"guild": guild}
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(timeout=TIMEOUT)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def alive_as(self, seconds: float = 2.0) -> int | None:
        """The process id of the bot that answers there within `seconds`; None: no bot does."""
        try:
            async with asyncio.timeout(seconds):
                pid = (await self._object("GET", "/healthz")).get("pid")
        except (PupilError, TimeoutError):
            return None
        return pid if isinstance(pid, int) else None

    async def status(self) -> Json:
        return await self._object("GET", "/api/v1/status")

    async def classifiers(self) -> list[Json]:
        return await self._list("GET", "/api/v1/classifiers")

    async def only_classifier(self) -> str:
        """The name of the only classifier there is.

        Raises:
            NotFound: there is none. InvalidInput: there are several; the message lists them.
        """
        names = [one["name"] for one in await self.classifiers()]
        if not names:
            raise NotFound("There is no classifier yet. Make one: pupil labels import FILE --classifier NAME")
        if len(names) > 1:
            raise InvalidInput(f"Which classifier? There are {', '.join(names)}. Choose one with --classifier NAME.")
        return str(names[0])

    async def labels(self, classifier: str) -> list[Json]:
        return await self._list("GET", f"{_path(classifier)}/labels")

    async def predict(self, classifier: str, texts: list[str]) -> list[Json]:
        """Answers in the order of `texts`, of which there may be any number. Waits while the bot is busy."""
        found: list[Json] = []
        for start in range(0, len(texts), BATCH):
            found += await self._predict_patiently(classifier, texts[start : start + BATCH])
        return found

    async def import_rows(self, classifier: str, rows: list[tuple[str, str]]) -> Json:
        body = [{"text": text, "label": label} for text, label in rows]
        return await self._object("POST", f"{_path(classifier)}/examples", body, source="file")

    async def export(self, classifier: str, format: str) -> bytes:
        """Every example as a file; `format` is "jsonl" or "csv"."""
        return await self._read("GET", f"{_path(classifier)}/examples", format=format)

    async def base_on(self, classifier: str, on: str) -> Json:
        return await self._object("POST", f"{_path(classifier)}/based-on", {"on": on})

    async def precision(self, classifier: str) -> Json:
        return await self._object("GET", f"{_path(classifier)}/precision")

    async def choose_precision(self, classifier: str, precision: float | None) -> Json:
        path = f"{_path(classifier)}/precision"
        if precision is None:
            return await self._object("DELETE", path)
        return await self._object("POST", path, {"precision": precision})

    async def train(self, classifier: str) -> Json:
        return await self._object("POST", f"{_path(classifier)}/train")

    async def job(self, job_id: str) -> Json:
        return await self._object("GET", f"/api/v1/jobs/{quote(job_id, safe='')}")

    async def cancel(self, job_id: str) -> Json:
        return await self._object("DELETE", f"/api/v1/jobs/{quote(job_id, safe='')}")

    async def versions(self, classifier: str) -> Json:
        return await self._object("GET", f"{_path(classifier)}/versions")

    async def promote(self, classifier: str, number: int) -> Json:
        return await self._object("POST", f"{_path(classifier)}/versions/{number}/promote")

    async def rollback(self, classifier: str, number: int | None = None) -> Json:
        body = {} if number is None else {"number": number}
        return await self._object("POST", f"{_path(classifier)}/rollback", body)

    async def lesson(self) -> Json:
        return await self._object("GET", "/api/v1/lesson")

    async def lesson_step(self, step: str) -> Json:
        return await self._object("POST", f"/api/v1/lesson/{quote(step, safe='')}")

    async def _predict_patiently(self, classifier: str, texts: list[str]) -> list[Json]:
        for _ in range(PATIENCE):
            try:
                return await self._predict(classifier, texts)
            except Busy as busy:
                await asyncio.sleep(busy.retry_after)
        return await self._predict(classifier, texts)

    async def _predict(self, classifier: str, texts: list[str]) -> list[Json]:
        path = f"{_path(classifier)}/predict"
        if len(texts) == 1:  # a refusal then speaks of the text, not of its place in a list
            return [await self._object("POST", path, {"text": texts[0]})]
        return await self._list("POST", path, {"texts": texts})

    async def _object(self, method: str, path: str, body: Any = None, **query: str) -> Json:
        answer = await self._call(method, path, body, **query)
        if not isinstance(answer, dict):
            raise self._strange()
        return answer

    async def _list(self, method: str, path: str, body: Any = None, **query: str) -> list[Json]:
        answer = await self._call(method, path, body, **query)
        if not isinstance(answer, list):
            raise self._strange()
        return answer

    async def _call(self, method: str, path: str, body: Any = None, **query: str) -> Any:
        return self._decode(await self._read(method, path, body, **query))

    async def _read(self, method: str, path: str, body: Any = None, **query: str) -> bytes:
        if self._session is None:
            raise RuntimeError("ApiClient is used outside of its `async with`.")
        try:
            async with self._session.request(
                method, self.url + path, params=self._query | query, data=_encode(body), allow_redirects=False
            ) as response:
                raw = await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            why = str(error) or type(error).__name__
            raise PupilError(f"The bot at {self.url} cannot be reached ({why}). Is it still running?") from None
        if response.status >= 400:
            raise _error(response.status, self._decode(raw), response.headers.get("Retry-After"))
        return raw

    def _decode(self, raw: bytes) -> Any:
        try:
            return json.loads(raw)
        except (ValueError, RecursionError):
            raise self._strange() from None

    def _strange(self) -> PupilError:
        return PupilError(f"What answers at {self.url} is no Pupil. Check the port, and {self.url}/healthz.")


def _path(classifier: str) -> str:
    return f"/api/v1/classifiers/{quote(classifier, safe='')}"


def _encode(body: Any) -> bytes | None:
    if body is None:
        return None
    try:
        return json.dumps(body, ensure_ascii=False).encode()
    except UnicodeEncodeError:  # a command-line argument that was not UTF-8
        raise InvalidInput("The text is not valid UTF-8.") from None


def _error(status: int, answer: Any, retry_after: str | None) -> PupilError:
    told = answer.get("error") if isinstance(answer, dict) else None
    sentence = told if isinstance(told, str) else f"The bot answered with status {status} and no reason."
    kind = next((kind for kind, known in STATUSES if known == status), PupilError)
    if kind is Busy:
        return Busy(sentence, float(retry_after) if retry_after and retry_after.isdecimal() else 1.0)
    return kind(sentence)
