"""One's own data: what is stored about me, a copy of it, forgetting it, and opting out. Only ever the actor's own.

Forgetting is a change that leaves no label event, so the classifiers concerned are fitted anew before the receipt is
given. Versions that were trained on what is forgotten keep what they learned; the receipt names them. Their training
files (snapshots) are deleted here, each as soon as no training under way needs it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from bot.services.consent import Consent
from bot.services.flights import Flights
from bot.services.people import Actor
from bot.services.serving import Serving
from storage.artifacts import read_manifest
from storage.errors import ArtifactError, DamagedFile, PupilError
from storage.records import Erasure, Holdings, version_name
from storage.snapshots import read_snapshot, snapshot_path, snapshots_in
from storage.stores import Stores
from trainer.protocol import learned

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class About:
    """What `/privacy show` shows."""

    holdings: Holdings
    opted_out: bool


@dataclass(frozen=True, slots=True)
class Receipt:
    """What forgetting has done."""

    erased: Erasure
    learned: tuple[str, ...]
    """Versions that were trained on something of it: "triage v3"."""
    carried: tuple[tuple[str, str], ...]
    """(classifier, the version of another one that its trainings start from) where that version has learned it, too."""
    unknown: tuple[str, ...]
    """Versions of which the training file is gone, so that this cannot be told."""
    waiting: int
    """Training files that a training under way still needs; they are deleted when it has ended."""
    relearned: bool
    """Whether the answers follow already; if not, they follow with the next label or start."""


class PrivacyService:
    def __init__(
        self,
        stores: Stores,
        consent: Consent,
        serving: Serving,
        snapshots: Path,
        models: Path,
        *,
        freezing: asyncio.Lock,
    ) -> None:
        """Args:
        snapshots: the folder of training files.
        models: the folder of artifacts.
        freezing: held by whoever writes a training file until its job is stored.
        """
        self._privacy = stores.privacy
        self._keeping = stores.keeping
        self._classifiers = stores.classifiers
        self._consent = consent
        self._serving = serving
        self._snapshots = snapshots
        self._models = models
        self._freezing = freezing
        self._forgetting = Flights[Receipt]()

    async def show(self, actor: Actor) -> About:
        return About(await self._privacy.holdings(actor.guild, actor.id), self._consent.is_out(actor))

    async def export(self, actor: Actor) -> bytes:
        """Everything of the actor as UTF-8 JSON."""
        holdings = await self._privacy.holdings(actor.guild, actor.id)
        everything: dict[str, Any] = {
            "server": actor.guild,
            "person": actor.id,
            "name": holdings.name,
            "opted_out": self._consent.is_out(actor),
            "exported_at": time.time(),
            "times": "Unix seconds, UTC",
            **await self._privacy.everything(actor.guild, actor.id),
        }
        return await asyncio.to_thread(lambda: json.dumps(everything, ensure_ascii=False, indent=1).encode())

    async def opt_out(self, actor: Actor, *, out: bool = True) -> None:
        """From now on nothing that the actor types is stored; `out` False: it is again. Again changes nothing."""
        if out:
            await self._privacy.opt_out(actor.guild, actor.id, time.time())
        else:
            await self._privacy.opt_in(actor.guild, actor.id)
        self._consent.note(actor, out=out)
        log.info("person.opted_out" if out else "person.opted_in", extra={"guild": actor.guild})

    async def preview(self, actor: Actor) -> Erasure:
        """What `forget` would delete now."""
        return await self._privacy.preview(actor.guild, actor.id)

    async def forget(self, actor: Actor) -> Receipt:
        """Deletes what the actor asked, labelled, judged and submitted. The next answers do not know it any more.

        Asked for twice at a time, it is done once, with one receipt: nobody is given it again.

        Raises:
            StorageError: nothing was deleted.
        """
        return await self._forgetting.join((actor.guild, actor.id), lambda: self._forget(actor))

    async def _forget(self, actor: Actor) -> Receipt:
        # A training file written meanwhile would hold the texts, and nobody would know that it has to go.
        async with self._freezing:
            snapshots = await self._privacy.snapshots(actor.guild)
            # One that a crash left without a job may hold the texts all the same.
            nobodys = await asyncio.to_thread(snapshots_in, self._snapshots) - await self._keeping.named_snapshots()
            held = await asyncio.to_thread(_held, self._snapshots, actor.guild, [*snapshots, *nobodys])
            erased = await self._privacy.forget(actor.guild, actor.id, held)
        relearned = await self._relearn(actor.guild, erased)
        try:
            # A fit that was under way may have cached a vector of a text that is gone.
            await self._privacy.drop_vectors(actor.guild, erased.hashes)
            await self.sweep()
        except (PupilError, OSError) as error:  # it is deleted, and they hear that; a clock sweeps the files again
            log.warning("forgetting.not_tidied", extra={"guild": actor.guild, "why": str(error)})
        knows, carried, unknown = await self._versions(actor.guild, erased, held)
        waiting = sum(snapshot_path(self._snapshots, each).exists() for each in erased.doomed)
        log.info("person.forgotten", extra={"guild": actor.guild, "texts": erased.texts, "events": erased.label_events})
        return Receipt(erased, knows, carried, unknown, waiting, relearned)

    async def tick(self, now: datetime) -> None:
        """Called by a clock; calling it twice does nothing more."""
        await self.sweep()

    async def sweep(self) -> None:
        """Deletes the training files with forgotten texts that no training needs any more."""
        for guild, snapshot in await self._privacy.doomed():
            await asyncio.to_thread(snapshot_path(self._snapshots, snapshot).unlink, missing_ok=True)
            await self._privacy.is_deleted(guild, snapshot)
            log.info("snapshot.deleted", extra={"snapshot": snapshot[:12]})

    async def _relearn(self, guild: str, erased: Erasure) -> bool:
        """Whether every classifier answers without it already; one that cannot now keeps no other from it."""
        done = True
        for number in erased.classifiers:
            try:
                await self._serving.relearn(await self._classifiers.by_id(guild, number))
            except PupilError as error:
                log.warning("person.remembered", extra={"guild": guild, "why": str(error)})
                done = False
        return done

    async def _versions(
        self, guild: str, erased: Erasure, held: dict[str, frozenset[int]]
    ) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...], tuple[str, ...]]:
        """(those that learned from it, see `Receipt.carried`, those of which that is not known)."""
        if not erased.classifiers:
            return (), (), ()
        versions = await self._privacy.versions(guild)
        every = [*await self._classifiers.list(guild), *await self._classifiers.archived(guild)]
        origins = [(one.name, one.based_on) for one in every if one.based_on is not None]
        taught = await asyncio.to_thread(_taught, self._models, [artifact for *_, artifact in versions])
        knows, carried, unknown = list[str](), list[tuple[str, str]](), list[str]()
        for classifier, number, snapshot, artifact in versions:
            of = {snapshot, *taught[artifact]}
            if of & erased.snapshots:
                knows.append(f"{classifier} {version_name(number)}")
                carried += [(name, origin.name) for name, origin in origins if origin.artifact == artifact]
            elif not of <= held.keys():
                unknown.append(f"{classifier} {version_name(number)}")
        return tuple(knows), tuple(carried), tuple(unknown)


def _taught(models: Path, artifacts: list[str]) -> dict[str, tuple[str, ...]]:
    """By artifact, the snapshots that its weights have learned, also before they were carried over; () of a damaged."""
    found = {}
    for artifact in artifacts:
        try:
            found[artifact] = learned(read_manifest(models / artifact).lineage)
        except ArtifactError:
            found[artifact] = ()
    return found


def _held(root: Path, guild: str, snapshots: list[str]) -> dict[str, frozenset[int]]:
    """The ids of the examples in each snapshot file of this guild that is there and whole."""
    held = {}
    for snapshot in snapshots:
        try:
            content = read_snapshot(snapshot_path(root, snapshot))
        except DamagedFile:
            continue
        if content.guild == guild:
            held[snapshot] = frozenset(row.id for row in content.rows)
    return held
