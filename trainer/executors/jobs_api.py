"""Ray's Jobs API, as far as an executor needs it: plain HTTP to the head of a cluster.

Speaking it directly instead of through `ray.job_submission` keeps Ray, and the 2 GB that come with it, off the
trainer's host. The token is read from its file for each request, so that it can be changed, and goes into a header
only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from storage.errors import ConfigurationError, PupilError, TrainerUnavailable
from storage.settings import read_secret

TIMEOUT = 30.0
START_TIMEOUT = "JOB_SUPERVISOR_ACTOR_START_TIMEOUT"
NODE_LOST = "JOB_SUPERVISOR_ACTOR_DIED"
_OVER = frozenset({"STOPPED", "SUCCEEDED", "FAILED"})
_REFUSED = (401, 403)
_EXISTS = "already exists"


@dataclass(frozen=True, slots=True)
class ClusterJob:
    status: str
    message: str
    trouble: str
    """Ray's kind of error, or ""."""
    exit_code: int | None

    @property
    def over(self) -> bool:
        return self.status in _OVER

    @property
    def host_lost(self) -> bool:
        return self.trouble == NODE_LOST

    @property
    def how(self) -> str:
        """Completes "The training process ..."."""
        if self.host_lost:
            return "was lost with its host"
        if self.exit_code is not None:
            return f"ended with exit code {self.exit_code} on the cluster"
        return f"was ended by the cluster ({(self.message.splitlines() or [self.status])[0][:200]})"


class JobsApi:
    """All methods raise TrainerUnavailable where the head cannot be reached or refuses the token."""

    def __init__(self, url: str, token_file: Path) -> None:
        """Args:
        url: of the head's dashboard, "http://head:8265".
        """
        self.url = url.rstrip("/")
        self._token_file = token_file
        self._session: aiohttp.ClientSession | None = None

    @property
    def token(self) -> str:
        """Raises:
        ConfigurationError: the file is missing, empty or readable by others.
        """
        return read_secret(self._token_file)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def require_token(self) -> None:
        """Make sure that nobody can run anything there without the token, and that ours is good.

        Raises:
            ConfigurationError: neither would be true.
        """
        for method in ("GET", "POST"):
            # An empty job is none: to a cluster that takes it, it is a malformed request.
            status, _ = await self._ask(method, "/api/jobs/", {} if method == "POST" else None, token="")
            if status not in _REFUSED:
                raise ConfigurationError(
                    f"The Ray cluster at {self.url} answers without a token, so whoever reaches it can run programs "
                    "there. Nothing was sent to it. Start every node with RAY_AUTH_MODE=token."
                )
        status, answer = await self._ask("GET", "/api/version")
        if status in _REFUSED:
            raise ConfigurationError(f"The Ray cluster at {self.url} refuses the token in {self._token_file}.")
        self._expect(status, answer)

    async def submit(self, submission: str, entrypoint: str, resources: Mapping[str, float]) -> bool:
        """Whether it was taken; False: there is a job of that name."""
        body = {"submission_id": submission, "entrypoint": entrypoint, **resources}
        status, answer = await self._ask("POST", "/api/jobs/", body)
        if status >= 400 and _EXISTS in str(answer):
            return False
        self._expect(status, answer)
        return True

    async def job(self, submission: str) -> ClusterJob | None:
        status, answer = await self._ask("GET", f"/api/jobs/{submission}")
        if status == 404:
            return None
        found = self._expect(status, answer)
        code = found.get("driver_exit_code")
        return ClusterJob(
            str(found.get("status")),
            str(found.get("message") or ""),
            str(found.get("error_type") or ""),
            code if isinstance(code, int) else None,
        )

    async def stop(self, submission: str) -> None:
        """Ask the cluster to end a job: SIGTERM, three seconds later SIGKILL. One that is over is no error."""
        status, answer = await self._ask("POST", f"/api/jobs/{submission}/stop", {})
        if status != 404:
            self._expect(status, answer)

    async def output(self, submission: str) -> str:
        """What the job has printed, "" where that is lost."""
        status, answer = await self._ask("GET", f"/api/jobs/{submission}/logs")
        return str(answer.get("logs", "")) if status == 200 and isinstance(answer, dict) else ""

    async def gpus(self) -> float:
        """How many the nodes have that are there now."""
        status, answer = await self._ask("GET", "/api/v0/nodes?detail=1&limit=1000")
        nodes = self._expect(status, answer).get("data", {}).get("result", {}).get("result", [])
        return sum(float(node.get("resources_total", {}).get("GPU", 0)) for node in nodes if node["state"] == "ALIVE")

    async def _ask(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, token: str | None = None
    ) -> tuple[int, Any]:
        """Status, and the answer: what its JSON says, or its text."""
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT))
        token = self.token if token is None else token
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        try:
            async with self._session.request(
                method, self.url + path, json=body, headers=headers, allow_redirects=False
            ) as response:
                is_json = response.content_type == "application/json"
                return response.status, await (response.json() if is_json else response.text())
        except TimeoutError:
            raise TrainerUnavailable(f"The Ray cluster at {self.url} did not answer in time.") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise TrainerUnavailable(f"The Ray cluster at {self.url} cannot be reached: {error}.") from error

    def _expect(self, status: int, answer: Any) -> dict[str, Any]:
        if status == 200 and isinstance(answer, dict):
            return answer
        last = (str(answer).strip().splitlines() or [""])[-1][:200]
        raise _refusal(status)(f"The Ray cluster at {self.url} answered with status {status}: {last}")


def _refusal(status: int) -> type[PupilError]:
    return ConfigurationError if status in _REFUSED else TrainerUnavailable
