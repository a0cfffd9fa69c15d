"""What the bot uses to speak to a trainer, whether that is its own child process or a GPU host.

Every request is signed anew and may be repeated: a broken connection is tried again a few times, a silent one is given
up after a time-out. Answers count only with the trainer's signature. Imports no torch, and knows nothing of
classifiers: it moves snapshots, jobs and artifacts.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from urllib.parse import quote

from storage.artifacts import MANIFEST, read_manifest
from storage.errors import NotFound, TrainerUnavailable
from storage.files import sha256_of
from storage.processes import PYTHON
from trainer.children import child_environment
from trainer.download import fetch_artifact
from trainer.protocol import ArtifactFiles, BaseStatus, Health, JobSpec, JobStatus, from_json, to_json
from trainer.tls import client_context
from trainer.transport import Transport

TIMEOUT = 30.0
"""Seconds without an answer, or without a byte of one, after which a trainer counts as unreachable."""
LOCAL_KEEPS = ("--keep-days", "7", "--keep-gb", "2")
"""Of a trainer beside its bot, which has a copy of every model itself."""
EXPORT_WAIT = 20.0
"""Seconds of one long poll for a base encoder."""


def local_trainer_command(data: Path, key_file: Path, device: str = "auto") -> tuple[list[str], dict[str, str]]:
    """Command line and environment that start a trainer on this host as a child of this process.

    It listens on a free loopback port, prints `{"ready": true, "port": N}`, and ends when its stdin ends. The key is
    in a file, so that neither arguments nor environment tell it to other users.
    """
    command = [*PYTHON, "-m", "trainer", "serve", "--port", "0", "--data", str(data)]
    command += ["--key-file", str(key_file), "--device", device, "--parent", str(os.getpid()), *LOCAL_KEEPS]
    return command, child_environment()


class TrainerClient:
    """`async with TrainerClient(url, key) as trainer`. Methods may run at the same time in one event loop.

    All of them raise TrainerUnavailable when the trainer cannot be reached, refuses the key or has trouble of its own
    (worth trying again later), and InvalidInput when it finds the request malformed (a fault of ours).
    """

    def __init__(self, url: str | None, key: str, *, timeout: float = TIMEOUT, ca_file: Path | None = None) -> None:
        """Args:
        url: "http://127.0.0.1:8740"; a path before /v1 is allowed. None: not known yet, set `url` later.
        key: as in the trainer's key file; of two keys the first is used.
        ca_file: for https, the only certificates to trust. None: whatever this host trusts.

        Raises:
            ConfigurationError: the file cannot be used.
        """
        tls = None if ca_file is None else client_context(ca_file)
        self._transport = Transport(url, (key.split() or [""])[0], timeout, tls)
        self._downloading = asyncio.Lock()
        self._giving = asyncio.Lock()

    @property
    def url(self) -> str | None:
        """Where the trainer is now. A local one moves to another port when it is started again."""
        return self._transport.url

    @url.setter
    def url(self, url: str | None) -> None:
        self._transport.url = url

    async def __aenter__(self) -> TrainerClient:
        self._transport.begin()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._transport.close()

    async def health(self) -> Health:
        return from_json(Health, await self._transport.call("GET", "/v1/health"))

    async def warm(self) -> None:
        """Say that a job is to be expected soon, so that it starts quicker. It may do nothing.

        Raises:
            NotFound: this trainer is of a version that cannot.
        """
        await self._transport.call("POST", "/v1/warm")

    async def put_snapshot(self, path: Path) -> None:
        """Send the snapshot file; sending it again is harmless."""
        digest = await asyncio.to_thread(sha256_of, path)
        await self._transport.call("PUT", f"/v1/snapshots/{digest}", file=path, digest=digest)

    async def submit(self, spec: JobSpec) -> JobStatus:
        """Give the trainer a job whose snapshot and champion it has. The same spec again is the same job.

        Raises:
            Conflict: a later attempt has begun, or the snapshot or the champion is not there.
        """
        answer = await self._transport.call("PUT", f"/v1/jobs/{spec.job_id}", body=to_json(spec).encode())
        return from_json(JobStatus, answer)

    async def poll(self, job_id: str, after: int = 0, wait: float = 25.0) -> JobStatus:
        """State and the events after `after`: at once if there is news, else at the next, or after `wait` seconds.

        Raises:
            NotFound: the trainer has lost the job (its data is gone): submit it again, as the next attempt.
        """
        path = f"/v1/jobs/{job_id}?after={after}&wait={wait:g}"
        return from_json(JobStatus, await self._transport.call("GET", path, extra_time=wait))

    async def cancel(self, job_id: str) -> None:
        """End a job; returns when nothing of it runs any more. One that is over or not known is no error."""
        with suppress(NotFound):
            await self._transport.call("DELETE", f"/v1/jobs/{job_id}")

    async def base_artifact(self, base: str, root: Path, precision: str = "int8", patience: float = 600.0) -> Path:
        """Directory of the base encoder in "int8" or "fp32" under `root`; the trainer exports it on first use.

        Raises:
            TrainingFailed: it cannot be exported (unknown, damaged, of an unsupported kind).
            ArtifactError, DiskFull
        """
        path = f"/v1/bases/{quote(base, safe='')}?wait={EXPORT_WAIT:g}&precision={precision}"
        deadline = asyncio.get_running_loop().time() + patience
        while True:
            answer = await self._transport.call("GET", path, extra_time=EXPORT_WAIT)
            if (artifact := from_json(BaseStatus, answer).artifact) is not None:
                return await self.fetch_artifact(artifact, root)
            if asyncio.get_running_loop().time() > deadline:
                raise TrainerUnavailable(f"The trainer has not exported {base} within {patience:.0f} s.")

    async def fetch_artifact(self, artifact_id: str, root: Path) -> Path:
        """Directory `root/<artifact_id>`, verified. A download that broke before goes on where it was.

        Raises:
            ArtifactError: what the trainer has is damaged.
            NotFound: the trainer does not have it.
            DiskFull
        """
        async with self._downloading:  # two of the same would write into one file
            return await fetch_artifact(self._transport, artifact_id, root)

    async def give_artifact(self, directory: Path) -> None:
        """See to it that the trainer has the artifact in `directory`; only files it lacks are sent.

        Raises:
            ArtifactError: the directory has no manifest.
            InvalidInput: its files are not those of its manifest.
        """
        async with self._giving:  # two trainings may need the same one; the trainer takes it once at a time
            await self._give(directory)

    async def _give(self, directory: Path) -> None:
        where = f"/v1/artifacts/{directory.name}"
        there = from_json(ArtifactFiles, await self._transport.call("GET", where))
        if there.complete:
            return
        entries = read_manifest(directory).files
        for name in sorted(entries.keys() - set(there.files)):
            await self._transport.call("PUT", f"{where}/{name}", file=directory / name, digest=entries[name].sha256)
        await self._transport.call("PUT", f"{where}/{MANIFEST}", file=directory / MANIFEST, digest=directory.name)
