"""Many texts at once, in two steps: a preview that changes nothing, then Apply; and the undo of the whole.

What was uploaded waits in the database, under a token that only its owner's buttons carry, for an hour at most. So it
outlives a restart, is imported once however often Apply is pressed, and is compared anew when it is.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field

from bot.services.collection import BadLine, Row, read_table
from bot.services.consent import Consent
from bot.services.import_plan import Plan, plan_import
from bot.services.people import Actor, Role
from bot.services.serving import Serving
from bot.services.texts import check_text
from storage.errors import Conflict, InvalidInput, NotAllowed, NotFound, StorageError
from storage.events import Vote
from storage.imports import StoredImport, decode, encode
from storage.records import Classifier, Label, Source, normalise
from storage.stores import Stores

log = logging.getLogger(__name__)

KEPT = 3600.0
"""Seconds for which a preview can be applied."""
SWEEP_EVERY = 600.0
"""Seconds between two looks for previews that are older."""


@dataclass(frozen=True, slots=True)
class ImportPreview:
    """What an import would do. Nothing has been imported."""

    token: str
    """For `apply` and `cancel`; "": there is nothing to import."""
    classifier: Classifier
    name: str
    """Of the file; "" when the texts were pasted."""
    plan: Plan
    bad: list[BadLine]
    """Lines that would be left out, in the order of the file."""


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import did. Counts of texts."""

    new: int = 0
    changed: int = 0
    """Had another label."""
    gained: int = 0
    """Had no label."""
    pool: int = 0
    """Wait without a label."""
    left_out: int = 0
    """Lines that could not be used."""
    new_labels: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class AppliedImport:
    token: str
    classifier: Classifier
    name: str
    did: Imported
    again: bool
    """Whether it had been applied before: then nothing was done now."""
    undone: bool
    """Whether it was taken back since."""


@dataclass(frozen=True, slots=True)
class UndoneImport:
    """What went when an import was taken back."""

    classifier: Classifier
    labels: int
    pool: int
    kept: int
    """Texts that had come without a label and got one since: they stay."""
    new_labels: list[str]
    """Labels that came with it: they stay."""


class ImportService:
    def __init__(self, stores: Stores, serving: Serving, consent: Consent) -> None:
        self._consent = consent
        self._classifiers = stores.classifiers
        self._examples = stores.examples
        self._writes = stores.writes
        self._listing = stores.listing
        self._imports = stores.imports
        self._serving = serving

    async def preview_file(self, actor: Actor, classifier: Classifier, data: bytes, filename: str) -> ImportPreview:
        """Reads a CSV, TSV or JSONL file; lines that cannot be used are told and left out.

        Raises:
            NotAllowed, InvalidInput (the file as a whole cannot be used; see `collection.read_table`).
        """
        actor.require(Role.LEAD, "import a file")
        table = await asyncio.to_thread(read_table, data, filename)
        return await self._preview(actor, classifier, table.rows, table.bad, Source.FILE, table.name)

    async def preview_paste(self, actor: Actor, classifier: Classifier, text: str, label: str) -> ImportPreview:
        """One text per line, all with one label that exists.

        Raises:
            NotFound (no such label), InvalidInput (no text).
        """
        known = {normalise(each.name): each.name for each in await self._labels(classifier)}
        if (name := known.get(normalise(label))) is None:
            raise NotFound(_no_such_label(classifier, label, list(known.values())))
        rows, bad = _lines(text, name)
        return await self._preview(actor, classifier, rows, bad, Source.MODAL, "")

    async def apply(self, actor: Actor, token: str) -> AppliedImport:
        """Imports what was previewed, as things are now. A second call changes nothing and tells the same.

        Raises:
            NotAllowed (somebody else's), NotFound (cancelled, or older than an hour; or a pasted label is gone).
        """
        stored = await self._own(actor, token)
        if stored.source is Source.FILE:
            actor.require(Role.LEAD, "import a file")
        classifier = await self._classifiers.by_id(actor.guild, stored.classifier_id)
        self._consent.require(actor, Role.MEMBER, "label texts", classifier)
        content = await self._imports.content(actor.guild, token)
        if content is None:
            return await self._applied(actor, classifier, token, again=True)
        if time.time() - stored.created_at > KEPT:
            await self._imports.drop(actor.guild, token)
            raise NotFound("This preview is more than an hour old. Import the texts again to see how things are now.")
        again = not await self._apply(actor, classifier, stored, content)
        self._serving.touch(classifier)
        return await self._applied(actor, classifier, token, again=again)

    async def cancel(self, actor: Actor, token: str) -> bool:
        """Forgets a preview; False: there was none that waits (applied, cancelled or too old). Raises NotAllowed."""
        with suppress(NotFound):
            await self._own(actor, token)
        return await self._imports.drop(actor.guild, token)

    async def undo(self, actor: Actor, token: str) -> UndoneImport | None:
        """Takes a whole import back: its labels, and its texts that nobody has labelled. None: done before.

        Raises:
            NotAllowed (somebody else's), NotFound.
        """
        actor.require(Role.MEMBER, "take labels back")
        stored = await self._own(actor, token)
        classifier = await self._classifiers.by_id(actor.guild, stored.classifier_id)
        taken = await self._imports.undo(actor.guild, token, time.time())
        if taken is None:
            return None
        self._serving.touch(classifier)
        log.info("batch.retracted", extra={"classifier": classifier.id, "labels": taken.labels, "pool": taken.pool})
        did = Imported(**(stored.result or {}))
        return UndoneImport(classifier, taken.labels, taken.pool, did.pool - taken.pool, did.new_labels)

    async def done_last(self, actor: Actor, classifier: Classifier | None = None) -> AppliedImport | None:
        """The actor's import, where the label that they gave or took back last was one of its many; else None."""
        event = await self._writes.last_write(actor.guild, actor.id, classifier.id if classifier else None)
        if event is None:
            return None
        given = event if event.undoes is None else await self._examples.event(actor.guild, event.undoes)
        try:
            stored = await self._own(actor, given.batch or "")
        except (NotFound, NotAllowed):
            return None
        if stored.undone_at != (None if event is given else event.created_at):
            return None  # one of its labels was taken back by itself
        where = await self._classifiers.by_id(actor.guild, stored.classifier_id)
        return await self._applied(actor, where, stored.token, again=False)

    async def keep_clean(self) -> None:
        """Forgets previews that are too old, now and every few minutes; ends when it is cancelled."""
        while True:
            try:
                if swept := await self._imports.sweep(time.time() - KEPT):
                    log.info("imports.swept", extra={"count": swept})
            except StorageError:
                log.exception("imports.unswept")
            await asyncio.sleep(SWEEP_EVERY)

    async def _preview(
        self,
        actor: Actor,
        classifier: Classifier,
        rows: Sequence[Row],
        bad: Sequence[BadLine],
        source: Source,
        name: str,
    ) -> ImportPreview:
        self._consent.require(actor, Role.MEMBER, "label texts", classifier)
        known = await self._listing.known(classifier.guild, classifier.id)
        plan = await asyncio.to_thread(plan_import, rows, known)
        bad = sorted([*bad, *plan.refused], key=lambda each: each.line)
        if plan.is_empty:
            return ImportPreview("", classifier, name, plan, bad)
        refused = {each.line for each in plan.refused}
        content = await asyncio.to_thread(
            lambda: encode([(row.text, row.label) for row in rows if row.line not in refused])
        )
        token = secrets.token_hex(8)
        waiting = StoredImport(
            classifier.guild, token, classifier.id, actor.id, source, name, len(bad), created_at=time.time()
        )
        await self._imports.keep(waiting, content)
        return ImportPreview(token, classifier, name, plan, bad)

    async def _apply(self, actor: Actor, classifier: Classifier, stored: StoredImport, content: str) -> bool:
        rows = await asyncio.to_thread(_rows, content)
        plan = await asyncio.to_thread(plan_import, rows, await self._listing.known(classifier.guild, classifier.id))
        if stored.source is Source.MODAL and (plan.new_labels or plan.refused):
            raise NotFound("The label of these texts is gone. Paste them again with another one.")
        for name in plan.new_labels:
            with suppress(Conflict):  # somebody else has created it in this moment
                await self._classifiers.add_label(classifier.guild, classifier.id, name)
        ids = {each.name: each.id for each in await self._labels(classifier)}
        did = Imported(
            new=len(plan.new),
            changed=len(plan.conflicts),
            gained=len(plan.gaining),
            pool=len(plan.pool),
            left_out=stored.left_out + len(plan.refused),
            new_labels=plan.new_labels,
        )
        await self._examples.remember_annotator(actor.guild, actor.id, actor.name)
        by_lead = actor.role >= Role.LEAD
        votes = await asyncio.to_thread(lambda: _votes(stored, plan, ids, by_lead=by_lead))
        pool = [(each.text, each.hash) for each in plan.pool]
        applied = await self._imports.apply(actor.guild, stored.token, votes, pool, asdict(did), time.time())
        log.info("batch.imported", extra={"classifier": classifier.id, "labels": len(votes), "pool": len(pool)})
        return applied

    async def _applied(self, actor: Actor, classifier: Classifier, token: str, *, again: bool) -> AppliedImport:
        stored = await self._imports.get(actor.guild, token)
        did = Imported(**(stored.result or {}))
        return AppliedImport(token, classifier, stored.name, did, again, stored.undone_at is not None)

    async def _own(self, actor: Actor, token: str) -> StoredImport:
        stored = await self._imports.get(actor.guild, token)
        if stored.by != actor.id:
            raise NotAllowed("Only the person who brought these texts may decide about them.")
        return stored

    async def _labels(self, classifier: Classifier) -> list[Label]:
        return await self._classifiers.labels(classifier.guild, classifier.id)


def _lines(text: str, label: str) -> tuple[list[Row], list[BadLine]]:
    """Raises InvalidInput: there is no text at all."""
    rows: list[Row] = []
    bad: list[BadLine] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            try:
                rows.append(Row(number, check_text(line), label))
            except InvalidInput as error:
                bad.append(BadLine(number, str(error)))
    if not rows and not bad:
        raise InvalidInput("There is no text. Paste one text per line.")
    return rows, bad


def _rows(content: str) -> list[Row]:
    return [Row(number, text, label) for number, (text, label) in enumerate(decode(content), start=1)]


def _votes(stored: StoredImport, plan: Plan, ids: dict[str, int], *, by_lead: bool) -> list[Vote]:
    """Raises Conflict: a label went away after the plan was made."""
    now = time.time()
    try:
        return [
            Vote(
                *(stored.guild, stored.classifier_id, each.text, each.hash, ids[each.label or ""]),
                *(stored.by, stored.source, now),
                batch=stored.token,
                by_lead=by_lead,
            )
            for each in plan.labelled
        ]
    except KeyError:
        raise Conflict("A label was changed in this very moment. Press Apply again.") from None


def _no_such_label(classifier: Classifier, label: str, names: Sequence[str]) -> str:
    if not names:
        return f"`{classifier.name}` has no labels yet. A lead creates one with /labels create."
    shown = " ".join(label.replace("`", "'").split())[:60]
    some = ", ".join(f"`{name}`" for name in names[:5])
    more = f" and {len(names) - 5} more; see /labels list" if len(names) > 5 else ""
    return f"`{classifier.name}` has no label `{shown}`. It has {some}{more}."
