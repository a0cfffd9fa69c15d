"""Keeps every classifier answerable: loads on first use, falls back when files are damaged, swaps, hears of labels.

It owns which version is in memory for which classifier; `Residents` knows which may stay there. Loading happens aside
(`prepare`), so that a failure leaves the champion answering; `swap` rebinds one reference.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from weakref import WeakValueDictionary

from bot.inference.engine import Answer, Engine, Served
from bot.inference.instant import InstantMemory
from bot.inference.loader import load, memory_to_load, size_of
from bot.inference.residents import Residents
from bot.services.flights import Flights
from storage.artifacts import read_manifest
from storage.errors import ArtifactError, Conflict, InvalidInput, PupilError, TrainerError, TrainerUnavailable
from storage.records import FALLBACK, Classifier, ModelVersion, VersionState, version_name
from storage.registry import way_back
from storage.stores import Stores
from trainer.model.encoder import Encoder
from trainer.model.head import Head
from trainer.protocol import BASE_EXPORT

log = logging.getLogger(__name__)

WARMED = 100
"""Classifiers at most that are brought into memory before anybody asks; any other takes a moment at its first question
(about 0.05 s on the base encoder, 0.5 s with one of its own)."""

MANY_ROWS = 3000
"""With more labelled texts it takes seconds to take newer labels in (0.8 s with 3,000, 2.9 s with 10,000, LOG.md): then
a version answers with its own head until that is done."""


_WAS_LIVE = {VersionState.CHAMPION, VersionState.RETIRED}


class BaseSource(Protocol):
    """Where a base encoder comes from when this host has none: the trainer exports it once."""

    async def base_artifact(self, base: str, root: Path, precision: str) -> Path: ...


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
        residents: Residents,
        bases: BaseSource,
        models: Path,
        precision: str = "int8",
    ) -> None:
        """`precision` of the base encoders: "int8" or "fp32"."""
        self._precision = precision
        self._database = stores.database
        self._classifiers = stores.classifiers
        self._registry = stores.registry
        self._engine = engine
        self._memory = memory
        self._residents = residents
        self._bases = bases
        self._models = models
        self._loading = Flights[None]()
        """By classifier. Where the trainer is away, all who wait hear it at once, not one after the other."""
        self._room = asyncio.Lock()
        """One model is let in at a time, so that each finds the room that was made for it."""
        self._bases_loading = Flights[Encoder]()
        self._base_encoders: WeakValueDictionary[str, Encoder] = WeakValueDictionary()
        """Those in memory, by name: the next classifier on one need not verify its files again (0.2 s)."""
        self._fallen: dict[int, tuple[int, int]] = {}
        """By classifier: the version that answers instead of which damaged one."""
        self.latencies = Latencies()

    # Answering

    async def answer(self, classifier: Classifier, text: str, *, deadline: float | None = None) -> Answer:
        """One answer from one version; the classifier is loaded first where it is not in memory.

        `deadline` is the engine's part of the time in seconds; None: the one that is set.

        Raises:
            InvalidInput: the classifier has no labels to choose from.
            Busy: too many questions wait, or memory is short; says when to try again.
            TrainerUnavailable: the base encoder is not here yet and the trainer cannot be reached.
        """
        with self._residents.using(classifier.id):
            if self._engine.current(classifier.id) is None:
                await self.ensure(classifier)
            guild, precision = classifier.guild, classifier.settings.precision
            answer = await self._engine.answer(classifier.id, text, guild=guild, precision=precision, deadline=deadline)
        self.latencies.note(answer.milliseconds)
        return answer

    async def answer_as(self, prepared: Prepared, text: str) -> Answer:
        """What people would get to this text if the prepared version were live. Raises Busy, ArtifactError."""
        classifier = prepared.classifier
        return await self._engine.answer_as(
            prepared.served, text, guild=classifier.guild, precision=classifier.settings.precision
        )

    def warning(self, classifier_id: int) -> str:
        """What people should know about who answers; "" as a rule."""
        served = self._engine.current(classifier_id)
        number, damaged = self._fallen.get(classifier_id, (0, 0))
        if served is None or not damaged or served.number != number:
            return ""
        return (
            f"The files of {version_name(damaged)} are damaged, so {version_name(number)} answers. "
            f"A new training makes a version that is whole; or put the files back and promote {version_name(damaged)}."
        )

    async def version_of(self, classifier: Classifier) -> str:
        """Version and revision that answer now; the champion's name alone while it is not in memory."""
        if (served := self._engine.current(classifier.id)) is not None:
            return served.version
        return version_name(await self._registry.champion(classifier.guild, classifier.id))

    @property
    def waiting(self) -> int:
        return self._engine.waiting

    # Labels

    def touch(self, classifier: Classifier) -> None:
        """Labels of this classifier have changed: the next answers follow. Returns at once.

        Also while it is only being brought in: what goes live may have been made just before.
        """
        self._memory.touch(classifier.id)

    async def settle(self, classifier: Classifier) -> None:
        """Returns when every label acknowledged before this call takes part in the answers."""
        with self._residents.using(classifier.id):
            await self.ensure(classifier)
            await self._memory.settle(classifier.id)

    async def relearn(self, classifier: Classifier) -> None:
        """Returns when nothing that was deleted takes part in the answers, but for what a version was trained on.

        Nor will it in those of a version that is being loaded, or that waits for its trial.

        Raises:
            StorageError, Busy, ArtifactError: what served before goes on serving.
        """
        with self._residents.using(classifier.id):
            await self._memory.relearn(classifier.id)

    # Loading and swapping

    async def ensure(self, classifier: Classifier) -> None:
        """Brings the champion into memory, or the version before it when its files are damaged.

        Raises:
            InvalidInput: there are no labels. Busy, TrainerUnavailable: see `prepare`.
        """
        if self._engine.current(classifier.id) is None:
            await self._loading.join(classifier.id, lambda: self._bring_in(classifier))

    async def _bring_in(self, classifier: Classifier) -> None:
        if not await self._classifiers.labels(classifier.guild, classifier.id):
            raise InvalidInput(
                f"`{classifier.name}` has no labels to choose from yet. A lead adds one with /labels create."
            )
        prepared = await self._prepare_best(classifier)
        with self._residents.using(classifier.id):
            await self._memory.go_live(prepared.served, unless_served=True)

    async def prepare(self, classifier: Classifier, version: ModelVersion | None) -> Prepared:
        """Loads a version aside (None: the base encoder), with the newer labels taken in; nothing changes yet.

        Raises:
            ArtifactError: the files do not verify.
            Busy: memory is short.
            TrainerUnavailable: the base encoder is not here yet and the trainer cannot be reached.
        """
        with self._residents.using(classifier.id):  # what answers now stays
            loaded = await (self._load_base(classifier.base) if version is None else self._load(version))
            return Prepared(classifier, await self._memory.refit(classifier, version, *loaded))

    async def swap(self, prepared: Prepared) -> None:
        """The one reference. Labels that came while it was being prepared take part when it goes live."""
        with self._residents.using(prepared.classifier.id):
            await self._memory.go_live(prepared.served)
        self._fallen.pop(prepared.classifier.id, None)

    async def base_encoder(self, classifier: Classifier) -> Encoder:
        """The pretrained encoder that the classifier's versions began with; in memory for as long as somebody holds it.

        Raises:
            Busy, TrainerUnavailable: see `prepare`.
        """
        encoder, _ = await self._load_base(classifier.base)
        return encoder

    async def fetch_base(self, base: str) -> None:
        """Has the files of a base encoder here before anybody asks: exporting it takes the trainer ten seconds, once.

        Where that cannot be done now, the first question tells why. It holds up nobody, as it takes no lock.
        """
        with suppress(PupilError):
            await self._base(base)

    async def warm(self, classifiers: Sequence[Classifier]) -> None:
        """Brings the first of these into memory before anybody asks; fine-tuned encoders only where there is room."""
        for classifier in classifiers[:WARMED]:
            with suppress(PupilError):  # says so when somebody asks
                number = await self._registry.champion(classifier.guild, classifier.id)
                if number and not await self._fits(await self._registry.get(classifier.guild, classifier.id, number)):
                    continue
                await self.ensure(classifier)

    async def _fits(self, version: ModelVersion) -> bool:
        try:
            return self._residents.fits(await asyncio.to_thread(size_of, self._models / version.artifact))
        except ArtifactError:
            return True  # whatever answers instead

    async def _prepare_best(self, classifier: Classifier) -> Prepared:
        """The champion, else the first version on the way back from it that verifies, else the base encoder."""
        guild = classifier.guild
        champion = await self._registry.champion(guild, classifier.id)
        versions = {version.number: version for version in await self._registry.list(guild, classifier.id)}
        for number in [champion, *way_back(await self._registry.promotions(guild, classifier.id), champion)]:
            version = versions.get(number)
            if version is None or version.state not in _WAS_LIVE or version.files_deleted_at is not None:
                continue
            try:
                prepared = await self._prepare_soon(classifier, version)
            except ArtifactError as error:
                log.error("version.damaged", extra={"classifier": classifier.id, "number": number, "why": str(error)})
                await self._registry.mark_damaged(guild, classifier.id, number)
                continue
            if number != champion:
                await self._point_to(classifier, number, champion)
            return prepared
        prepared = await self.prepare(classifier, None)
        if champion != 0:
            await self._point_to(classifier, 0, champion)
        return prepared

    async def _prepare_soon(self, classifier: Classifier, version: ModelVersion) -> Prepared:
        """As `prepare`; but where newer labels take long, people wait for the version alone, and `swap` sees to them.

        Raises:
            As `prepare`.
        """
        counts = await self._classifiers.label_counts(classifier.guild, classifier.id)
        if sum(count.total for count in counts) <= MANY_ROWS:
            return await self.prepare(classifier, version)
        return Prepared(classifier, await self._memory.as_trained(classifier, version, *await self._load(version)))

    async def _point_to(self, classifier: Classifier, number: int, champion: int) -> None:
        """The pointer follows what answers: reports and the next training must compare with that."""
        reason = f"the files of {version_name(champion)} are damaged"
        self._fallen[classifier.id] = (number, champion)
        try:
            await self._registry.promote(
                classifier.guild, classifier.id, number, champion, FALLBACK, reason, time.time()
            )
        except Conflict:
            log.info("version.superseded", extra={"classifier": classifier.id, "number": number})

    async def _load(self, version: ModelVersion) -> tuple[Encoder, Head, tuple[int, ...]]:
        """The encoder, the head, and the ids of its labels: their names may have changed since."""
        directory = self._models / version.artifact
        encoder, head = await self._let_in(directory, base=False)
        if head is None:
            raise ArtifactError(f"The artifact of v{version.number} has no head; it cannot answer.")
        return encoder, head, tuple(label["id"] for label in read_manifest(directory).labels)

    async def _let_in(self, directory: Path, *, base: bool) -> tuple[Encoder, Head | None]:
        """Loads an artifact; what was not used for longest makes room for it first."""
        async with self._room:
            size = await asyncio.to_thread(size_of, directory)
            self._residents.make_room(0 if base else size, memory_to_load(size))
            encoder, head = await load(directory)
            self._residents.add(encoder, base=base)
            return encoder, head

    async def _load_base(self, base: str) -> tuple[Encoder, None]:
        """The base encoder, loaded and verified once; one whose files are damaged is fetched once more."""
        encoder = self._base_encoders.get(base)
        if encoder is None:
            encoder = await self._bases_loading.join(base, lambda: self._open_base(base))
        return encoder, None

    async def _open_base(self, base: str) -> Encoder:
        directory = await self._base(base)
        try:
            encoder, _ = await self._let_in(directory, base=True)
        except ArtifactError as error:
            log.error("base.damaged", extra={"artifact": directory.name[:12], "why": str(error)})
            await asyncio.to_thread(shutil.rmtree, directory, ignore_errors=True)
            encoder, _ = await self._let_in(await self._base(base), base=True)
        self._base_encoders[base] = encoder
        return encoder

    async def _base(self, base: str) -> Path:
        """Directory of the exported base encoder; fetched from the trainer once, then kept."""
        key = f"base:{BASE_EXPORT}:{self._precision}:{base}"
        known = await self._database.get_state(key)
        if known is not None and (self._models / known).is_dir():
            return self._models / known
        try:
            directory = await self._bases.base_artifact(base, self._models, self._precision)
        except TrainerError as error:
            raise TrainerUnavailable(
                f"The model is not ready yet: it comes from the trainer. {error} Try again once the trainer answers."
            ) from error
        await self._database.set_state(key, directory.name)
        return directory
