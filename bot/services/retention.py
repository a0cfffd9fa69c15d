"""Keeps the bot's disk from filling up: files of old versions and training files go once nobody needs them, and so do
the cached vectors of encoders that are no longer here, and old answers that nobody can ask about any more.

First the row says that a version's files are gone, then they are deleted: a crash in between is made good at the next
start. Every version's row, report and decision stay. A daily look is enough: nothing here is urgent.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

from storage.artifacts import delete, is_artifact_id, read_manifest
from storage.errors import ArtifactError
from storage.snapshots import snapshot_path, snapshots_in
from storage.stores import Stores
from trainer.model.encoder import ENCODER_FILES, digest_of
from trainer.protocol import BASE_EXPORT, learned

log = logging.getLogger(__name__)

EVERY = timedelta(days=1)


class RetentionService:
    def __init__(
        self,
        stores: Stores,
        *,
        models: Path,
        snapshots: Path,
        versions: int,
        days: int,
        freezing: asyncio.Lock,
    ) -> None:
        """Args:
        versions: the newest ones of each classifier, which keep their files.
        days: for which every version, every training file and every answer stays.
        freezing: held by whoever writes a training file until its job is stored.
        """
        self._keeping = stores.keeping
        self._predictions = stores.predictions
        self._models = models
        self._snapshots = snapshots
        self._versions = versions
        self._days = days
        self._freezing = freezing
        self._next: datetime | None = None

    async def tick(self, now: datetime) -> None:
        """Called by a clock; does something once a day."""
        if self._next is None or now >= self._next:
            self._next = now + EVERY
            await self.sweep()

    async def sweep(self) -> None:
        """Deletes what has become old and is not needed."""
        before = time.time() - self._days * 86_400
        for guild, classifier_id in await self._keeping.classifiers():
            numbers = await self._keeping.let_go(guild, classifier_id, self._versions, before, time.time())
            if numbers:
                log.info("versions.let_go", extra={"classifier": classifier_id, "numbers": numbers})
        await self.finish()
        await self._delete(await self._keeping.unused(before))
        await self._sweep_snapshots(before)
        await self._sweep_vectors()
        if answers := await self._predictions.let_go(before):
            log.info("answers.let_go", extra={"answers": answers})

    async def finish(self) -> None:
        """Deletes the files that no version has any more; also those that a crash has left."""
        await self._delete(await self._keeping.gone())

    async def _delete(self, artifacts: Sequence[str]) -> None:
        for artifact in artifacts:
            if (self._models / artifact).is_dir():
                await asyncio.to_thread(delete, self._models / artifact)
                log.info("version.files_deleted", extra={"artifact": artifact[:12]})

    async def _sweep_snapshots(self, before: float) -> None:
        async with self._freezing:
            unneeded = set(await self._keeping.unneeded_snapshots(before))
            # A crash came before the job was stored: nobody will ever ask for these.
            unneeded |= await asyncio.to_thread(snapshots_in, self._snapshots) - await self._keeping.named_snapshots()
            began_with = await asyncio.to_thread(_learned, self._models, await self._keeping.kept())
            for snapshot in unneeded - began_with:
                path = snapshot_path(self._snapshots, snapshot)
                if path.exists():
                    path.unlink(missing_ok=True)
                    log.info("snapshot.deleted", extra={"snapshot": snapshot[:12]})

    async def _sweep_vectors(self) -> None:
        # Read before the encoders are: what comes here meanwhile is not among them.
        cached = await self._keeping.vector_encoders()
        try:
            in_use = await asyncio.to_thread(_encoders, self._models, await self._keeping.bases(BASE_EXPORT))
        except ArtifactError as error:  # it may be in use all the same
            log.warning("vectors.not_swept", extra={"why": str(error)})
            return
        for guild, encoder in cached:
            if encoder not in in_use:
                count = await self._keeping.drop_vectors(guild, encoder)
                log.info("vectors.deleted", extra={"encoder": encoder[:12], "vectors": count})


def _encoders(models: Path, bases: Sequence[str]) -> set[str]:
    """Digests of the encoders of these bases and of all versions here, also of those that are still on trial.

    Raises:
        ArtifactError: one of them cannot be told.
    """
    found: set[str] = set()
    for directory in models.iterdir():
        if not is_artifact_id(directory.name):
            continue
        manifest = read_manifest(directory)
        if (manifest.kind == "version" or directory.name in bases) and manifest.files.keys() >= set(ENCODER_FILES):
            found.add(digest_of([manifest.files[name].sha256 for name in ENCODER_FILES]))
    return found


def _learned(models: Path, artifacts: Sequence[str]) -> set[str]:
    """Training files that the encoders of these versions have learned: a trainer that starts from one needs them."""
    found: set[str] = set()
    for artifact in artifacts:
        try:
            found.update(learned(read_manifest(models / artifact).lineage))
        except ArtifactError:  # no training can start there
            continue
    return found
