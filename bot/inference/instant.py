"""Labels that count at once: the head that serves is corrected in closed form, then refitted in the background.

A correction takes milliseconds and begins with the touch. It is always made from the last fitted head and all labels
that are newer than that, and whatever goes live, a refit or another version, is corrected by what is newer still.
Fits run one at a time, in a thread; touches that come meanwhile share the next refit; a refit of a version that no
longer serves is dropped. On an error the head that serves goes on serving; after a failed correction the refit still
comes, after a failed refit the next touch tries again. This module does not know files, promotion or who labels.
"""

from __future__ import annotations

import asyncio
import logging
import time
from types import TracebackType
from typing import Self
from weakref import WeakValueDictionary

from bot.inference.engine import Engine, Origin, Served
from bot.inference.heads import Corrected, Heads
from storage.classifiers import Classifiers
from storage.errors import Busy
from storage.examples import Examples
from storage.records import Classifier, ModelVersion
from trainer.model.encoder import Encoder
from trainer.model.head import Head

log = logging.getLogger(__name__)

DEBOUNCE = 0.1
"""Seconds between a touch and its refit: an import or a busy minute is one refit; corrections do not wait."""

LONGEST_REST = 5.0
"""Seconds of rest at most: the first refit of an import encodes every text and takes longer than any later one."""


class InstantMemory:
    """Corrects and refits heads: `async with InstantMemory(examples, classifiers, engine) as memory`.

    Belongs to the engine's event loop; the fits run in threads.
    """

    def __init__(
        self, examples: Examples, classifiers: Classifiers, engine: Engine, *, debounce: float = DEBOUNCE
    ) -> None:
        self._engine = engine
        self._heads = Heads(examples, classifiers, engine)
        self._debounce = debounce
        self._next: dict[int, asyncio.Future[None]] = {}
        """By classifier: the refit that has not begun yet, shared by all who asked for it."""
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._due: set[int] = set()
        """Classifiers with labels that no correction has looked for yet."""
        self._corrections: dict[int, asyncio.Task[None]] = {}
        self._landings: WeakValueDictionary[int, asyncio.Lock] = WeakValueDictionary()
        """By classifier: reading what is newer and serving it is one step, or a refit could hide a newer label."""
        self._rested_at: dict[int, float] = {}
        """By classifier: when the rest after its last refit ends (monotonic seconds)."""
        self._closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give up refits that are under way; the labels are in the database and take part after the next start."""
        self._closed = True
        tasks = [*self._tasks.values(), *self._corrections.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def refit(
        self,
        classifier: Classifier,
        version: ModelVersion | None,
        encoder: Encoder,
        version_head: Head | None,
        label_ids: tuple[int, ...] = (),
    ) -> Served:
        """What should serve for this version now (`Heads.fitted`); changes nothing that serves.

        To swap, give it to `go_live`: labels that came in between are caught up. `version` None is version 0, the base
        encoder. `label_ids` belong to the labels of `version_head`: it answers with the names that they have now.

        Raises:
            StorageError, Busy, ArtifactError: nothing was fitted; what serves goes on serving.
        """
        return await self._heads.fitted(Origin(classifier, version, version_head, label_ids), encoder)

    async def as_trained(
        self, classifier: Classifier, version: ModelVersion, encoder: Encoder, head: Head, label_ids: tuple[int, ...]
    ) -> Served:
        """A version with its own head under the labels' names of today, revision 0; `go_live` sees to what is newer."""
        return await self._heads.as_trained(classifier, version, encoder, head, label_ids)

    async def go_live(self, prepared: Served, *, unless_served: bool = False) -> None:
        """Swap: from now on this answers for its classifier, with the labels that are newer than its fit, and without
        those that were deleted since.

        Where those cannot be read or encoded, it goes live as it is, and a refit follows. `unless_served`: only if
        nothing answers yet by then; what went live meanwhile is newer.
        """
        async with self._landing(prepared.classifier_id):
            served = await self._as_of_now(prepared)
            if not unless_served or self._engine.current(prepared.classifier_id) is None:
                self._put(served)

    def touch(self, classifier_id: int) -> None:
        """A label, or the list of labels, has changed: correct what serves at once, refit it soon; returns at once."""
        self._ask(classifier_id)
        if self._closed:
            return
        self._due.add(classifier_id)
        if classifier_id not in self._corrections:
            follow = self._follow(classifier_id)
            self._corrections[classifier_id] = asyncio.create_task(follow, name="instant correction")

    async def settle(self, classifier_id: int) -> None:
        """Return when every label that was acknowledged before this call takes part in what serves.

        Mostly a correction is enough; where it cannot hold them all, the refit is waited for.

        Raises:
            StorageError, Busy, ArtifactError: the refit that was waited for failed.
        """
        if not await self._catch_up(classifier_id):
            await asyncio.shield(self._ask(classifier_id))

    async def relearn(self, classifier_id: int) -> None:
        """Return when what serves was fitted on the labels as they are now, and so will be whatever goes live.

        For labels that were deleted: those leave no event, so a correction sees nothing to do, and `settle` would
        return while the head still knows them.

        Raises:
            StorageError, Busy, ArtifactError: the refit failed.
        """
        self._heads.note_deletion(classifier_id)
        await asyncio.shield(self._ask(classifier_id))

    async def _follow(self, classifier_id: int) -> None:
        """Correct until nobody has touched meanwhile."""
        try:
            while classifier_id in self._due:
                self._due.discard(classifier_id)
                await self._catch_up(classifier_id)
        finally:
            del self._corrections[classifier_id]

    async def _catch_up(self, classifier_id: int) -> bool:
        """Correct what serves by what is newer than its fit; whether every label takes part now."""
        try:
            async with self._landing(classifier_id):
                while (before := self._engine.current(classifier_id)) is not None:
                    after = await self._heads.corrected(before.fitted if isinstance(before, Corrected) else before)
                    if self._engine.current(classifier_id) is before:
                        if after is not before:
                            self._put(after)
                        return not isinstance(after, Corrected) or after.complete
                return True
        except Exception:
            log.exception("instant.uncorrected", extra={"classifier": classifier_id})
            return False

    def _landing(self, classifier_id: int) -> asyncio.Lock:
        return self._landings.setdefault(classifier_id, asyncio.Lock())

    def _put(self, served: Served) -> None:
        """Serve it; a corrected head is only there until a fitted one follows."""
        self._engine.serve(served)
        if isinstance(served, Corrected):
            self._ask(served.classifier_id)

    async def _as_of_now(self, fitted: Served) -> Served:
        """It with the newer labels on top; fitted anew where it may know deleted ones; as it is where that fails."""
        try:
            while True:
                live = await self._heads.corrected(fitted)
                if fitted.origin is None or not self._heads.may_know_deleted(fitted):
                    return live
                fitted = await self._heads.fitted(fitted.origin, fitted.encoder)
        except Exception:
            log.exception("instant.uncorrected", extra={"classifier": fitted.classifier_id})
            self._ask(fitted.classifier_id)
            return fitted

    def _ask(self, classifier_id: int) -> asyncio.Future[None]:
        """The next refit of this classifier that has not begun."""
        if (waiting := self._next.get(classifier_id)) is not None:
            return waiting
        waiting = asyncio.get_running_loop().create_future()
        if self._closed:
            _refuse(waiting, _stopping())
            return waiting
        self._next[classifier_id] = waiting
        if classifier_id not in self._tasks:
            self._tasks[classifier_id] = asyncio.create_task(self._keep_up(classifier_id), name="instant memory")
        return waiting

    async def _keep_up(self, classifier_id: int) -> None:
        """Refit until nobody asks, resting between refits as long as the last one took: half a core at most."""
        try:
            while classifier_id in self._next:
                rested_at = self._rested_at.get(classifier_id, 0.0)
                await asyncio.sleep(max(self._debounce, rested_at - time.monotonic()))
                began = time.monotonic()
                await self._run(classifier_id, self._next.pop(classifier_id))
                ended = time.monotonic()
                self._rested_at[classifier_id] = ended + min(ended - began, LONGEST_REST)
        finally:
            del self._tasks[classifier_id]
            if (left := self._next.pop(classifier_id, None)) is not None:
                _refuse(left, _stopping())

    async def _run(self, classifier_id: int, waiting: asyncio.Future[None]) -> None:
        try:
            await self._refresh(classifier_id)
        except asyncio.CancelledError:
            _refuse(waiting, _stopping())
            raise
        except Exception as error:
            log.exception("instant.failed", extra={"classifier": classifier_id})
            _refuse(waiting, error)
        else:
            waiting.set_result(None)

    async def _refresh(self, classifier_id: int) -> None:
        """Refit what serves and serve that; again, if another version was swapped in meanwhile."""
        while (before := self._engine.current(classifier_id)) is not None and before.origin is not None:
            async with self._landing(classifier_id):
                pass  # a correction under way encodes texts that the refit needs, too: not twice at a time
            after = await self._heads.fitted(before.origin, before.encoder)
            async with self._landing(classifier_id):
                live = await self._as_of_now(after)
                current = self._engine.current(classifier_id)
                if current is not None and current.origin is before.origin:
                    self._put(live)
                    return
            log.info("instant.dropped", extra={"classifier": classifier_id, "version": after.version})


def _refuse(waiting: asyncio.Future[None], error: Exception) -> None:
    waiting.set_exception(error)
    waiting.exception()  # counts as heard: it was logged where it matters, and often nobody waits


def _stopping() -> Busy:
    return Busy("Pupil is shutting down; labels that were stored take part after the next start.", retry_after=10.0)
