"""Keeps every classifier answerable: loads on first use, falls back when files are damaged, swaps, hears of labels.

It owns which version is in memory for which classifier. Loading happens aside (`prepare`), so that a failure leaves
the champion answering; `swap` rebinds one reference.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bot.inference.engine import Answer, Engine, Served
from bot.inference.instant import InstantMemory
from bot.inference.loader import load
from storage.errors import ArtifactError, Conflict, InvalidInput, TrainerError, TrainerUnavailable
from storage.records import Classifier, ModelVersion, VersionState, version_name
from storage.stores import Stores
from trainer.model.encoder import Encoder
from trainer.model.head import Head

log = logging.getLogger(__name__)

FALLBACK = "bot"
"""Who moved the pointer when files were damaged: nobody decided it."""


class BaseSource(Protocol):
    """Where a base encoder comes from when this host has none: the trainer exports it once."""

    async def base_artifact(self, base: str, root: Path) -> Path: ...


@dataclass(frozen=True, slots=True)
class Prepared:
    """A version that is loaded, verified and warm, but not live yet."""

    classifier: Classifier
    served: Served


class Latencies:
    """The newest answers' milliseconds, and how many answers there have been."""

    def __init__(self, kept: int = 1000) -> None:
        self.answered = 0
        self._newest: deque[float] = deque(maxlen=kept)

    def note(self, milliseconds: float) -> None:
        self.answered += 1
        self._newest.append(milliseconds)

    def quantile(self, share: float) -> float:
        """Milliseconds that `share` of the newest answers took at most; 0 before any."""
        ordered = sorted(self._newest)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


class Serving:
    def __init__(
        self,
        stores: Stores,
        engine: Engine,
        memory: InstantMemory,
        bases: BaseSource,
        models: Path,
    ) -> None:
        self._database = stores.database
        self._classifiers = stores.classifiers
        self._registry = stores.registry
        self._engine = engine
        self._memory = memory
        self._bases = bases
        self._models = models
        self._loading: dict[int, asyncio.Lock] = {}
        self._base_lock = asyncio.Lock()
        self.latencies = Latencies()

    # Answering

    async def answer(self, classifier: Classifier, text: str) -> Answer:
        """One answer from one version; the classifier is loaded first where it is not in memory.

        Raises:
            InvalidInput: the classifier has no labels to choose from.
            Busy: too many questions wait, or memory is short; says when to try again.
            TrainerUnavailable: the base encoder is not here yet and the trainer cannot be reached.
        """
        if self._engine.current(classifier.id) is None:
            await self.ensure(classifier)
        answer = await self._engine.answer(classifier.id, text, abstain_below=classifier.settings.abstain_below)
        self.latencies.note(answer.milliseconds)
        return answer

    def version_of(self, classifier_id: int) -> str:
        """Version and revision that answer now; "v0" before anything is loaded."""
        served = self._engine.current(classifier_id)
        return version_name(0) if served is None else served.version

    @property
    def waiting(self) -> int:
        return self._engine.waiting

    # Labels

    def touch(self, classifier: Classifier) -> None:
        """Labels of this classifier have changed: the next answers follow. Returns at once."""
        if self._engine.current(classifier.id) is not None:
            self._memory.touch(classifier.id)

    async def settle(self, classifier: Classifier) -> None:
        """Returns when every label acknowledged before this call takes part in the answers."""
        await self.ensure(classifier)
        await self._memory.settle(classifier.id)

    # Loading and swapping

    async def ensure(self, classifier: Classifier) -> None:
        """Brings the champion into memory, or the version before it when its files are damaged.

        Raises:
            InvalidInput: there are no labels. Busy, TrainerUnavailable: see `prepare`.
        """
        async with self._loading.setdefault(classifier.id, asyncio.Lock()):
            if self._engine.current(classifier.id) is not None:
                return
            if not await self._classifiers.labels(classifier.guild, classifier.id):
                raise InvalidInput(
                    f"`{classifier.name}` has no labels to choose from yet. A lead adds one with /labels create."
                )
            await self.swap(await self._prepare_best(classifier))

    async def prepare(self, classifier: Classifier, version: ModelVersion | None) -> Prepared:
        """Loads a version aside (None: the base encoder), with the newer labels taken in; nothing changes yet.

        Raises:
            ArtifactError: the files do not verify.
            Busy: memory is short.
            TrainerUnavailable: the base encoder is not here yet and the trainer cannot be reached.
        """
        if version is None:
            encoder, head = await self._load_base(classifier.base)
        else:
            encoder, head = await load(self._models / version.artifact)
        if version is not None and head is None:
            raise ArtifactError(f"The artifact of v{version.number} has no head; it cannot answer.")
        served = await self._memory.refit(classifier, version, encoder, head)
        return Prepared(classifier, served)

    async def swap(self, prepared: Prepared) -> None:
        """The one reference. Labels that came while it was being prepared are taken in right after."""
        self._engine.serve(prepared.served)
        self._memory.touch(prepared.classifier.id)

    async def _prepare_best(self, classifier: Classifier) -> Prepared:
        """The champion, else the newest version that was live before it and verifies, else the base encoder."""
        champion = await self._registry.champion(classifier.guild, classifier.id)
        versions = await self._registry.list(classifier.guild, classifier.id)
        live = [version for version in versions if version.state in {VersionState.CHAMPION, VersionState.RETIRED}]
        for version in sorted(live, key=lambda version: (version.number != champion, -version.number)):
            if champion == 0:
                break
            try:
                prepared = await self.prepare(classifier, version)
            except ArtifactError as error:
                log.error(
                    "version.damaged", extra={"classifier": classifier.id, "number": version.number, "why": str(error)}
                )
                await self._registry.mark_damaged(classifier.guild, classifier.id, version.number)
                continue
            if version.number != champion:
                await self._point_to(classifier, version.number, champion)
            return prepared
        prepared = await self.prepare(classifier, None)
        if champion != 0:
            await self._point_to(classifier, 0, champion)
        return prepared

    async def _point_to(self, classifier: Classifier, number: int, champion: int) -> None:
        """The pointer follows what answers: reports and the next training must compare with that."""
        reason = f"the files of {version_name(champion)} are damaged"
        try:
            await self._registry.promote(
                classifier.guild, classifier.id, number, champion, FALLBACK, reason, time.time()
            )
        except Conflict:
            log.info("version.superseded", extra={"classifier": classifier.id, "number": number})

    async def _load_base(self, base: str) -> tuple[Encoder, Head | None]:
        """The base encoder; one whose files are damaged is fetched once more."""
        directory = await self._base(base)
        try:
            return await load(directory)
        except ArtifactError as error:
            log.error("base.damaged", extra={"artifact": directory.name[:12], "why": str(error)})
            await asyncio.to_thread(shutil.rmtree, directory, ignore_errors=True)
        return await load(await self._base(base))

    async def _base(self, base: str) -> Path:
        """Directory of the exported base encoder; fetched from the trainer once, then kept."""
        async with self._base_lock:
            key = f"base:{base}"
            known = await self._database.get_state(key)
            if known is not None and (self._models / known).is_dir():
                return self._models / known
            try:
                directory = await self._bases.base_artifact(base, self._models)
            except TrainerError as error:
                raise TrainerUnavailable(
                    f"The model is not ready yet: it comes from the trainer. {error} "
                    "Try again once the trainer answers."
                ) from error
            await self._database.set_state(key, directory.name)
            return directory
