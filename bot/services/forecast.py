"""What more labels would bring to a classifier: computed in the background, told as soon as it is there.

The heads that are tried learn from the base encoder's vectors, as those of a classifier that was never trained: a
fine-tuned encoder has seen every label, so that nothing could be held out from it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass

from bot.inference.forecast import FEWEST_PER_LABEL, FEWEST_ROWS, Gain, gain, measure, wanting
from bot.inference.insight import Material, Studies
from bot.services.serving import Serving
from storage.errors import PupilError
from storage.records import Classifier
from storage.stores import Stores

log = logging.getLogger(__name__)

PATIENCE = 1.0
"""Seconds that whoever asks waits for a forecast that is being made."""
MORE = 100
"""Labels that it is about; with fewer rows, as many again."""
KEPT = 256
"""Forecasts in memory, of the classifiers that were looked at last."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """What further labels should bring."""

    rows: int
    """Labelled texts that it is made from, golden ones left out."""
    gain: Gain
    """In shares of all answers; of a head over the base encoder."""
    label: str
    """The one that should gain most."""
    label_rows: int
    label_right: float | None
    """Share of its texts that are answered right without having been learned; None: it has none."""
    made_at: tuple[int, int] = (0, 0)
    """The newest label event and the newest change of a label when it was made."""


@dataclass(frozen=True, slots=True)
class TooFew:
    """There can be no forecast yet."""

    rows: int
    needed: int


@dataclass(frozen=True, slots=True)
class InTheMaking:
    """It is being computed for the first time."""


@dataclass(frozen=True, slots=True)
class NotMade:
    """It could not be computed; whoever asks next has it tried again."""

    reason: str
    """One sentence or more."""


class ForecastService:
    def __init__(self, stores: Stores, serving: Serving, studies: Studies) -> None:
        self._classifiers = stores.classifiers
        self._examples = stores.examples
        self._serving = serving
        self._studies = studies
        self._known: dict[int, Forecast] = {}
        self._making: dict[int, asyncio.Task[None]] = {}
        self._failed: dict[int, NotMade] = {}
        """Of the last try, until it has been told or a try succeeds."""

    async def close(self) -> None:
        """Gives up what is being computed."""
        tasks = list(self._making.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def of(self, classifier: Classifier) -> Forecast | TooFew | InTheMaking | NotMade:
        """The newest forecast there is; never waits longer than about PATIENCE. A newer one is made meanwhile.

        A try that failed is told once; the next call begins another.
        """
        counts = await self._classifiers.label_counts(classifier.guild, classifier.id)
        rows, needed = sum(count.train for count in counts), max(FEWEST_ROWS, FEWEST_PER_LABEL * len(counts))
        if rows < needed or len(counts) < 2:
            return TooFew(rows, needed)
        at = (classifier.guild, classifier.id)
        newest = await self._examples.newest_event(*at), await self._classifiers.newest_change(*at)
        known, failed = self._known.get(classifier.id), self._failed.pop(classifier.id, None)
        if failed is None and (known is None or known.made_at != newest):
            await self._wait_for(classifier, newest)
            failed = self._failed.pop(classifier.id, None)
        return self._known.get(classifier.id) or failed or InTheMaking()

    async def _wait_for(self, classifier: Classifier, newest: tuple[int, int]) -> None:
        task = self._making.get(classifier.id)
        if task is None:
            task = asyncio.create_task(self._make(classifier, newest), name="forecast")
            self._making[classifier.id] = task
            task.add_done_callback(lambda done: self._making.pop(classifier.id, None))
        await asyncio.wait({task}, timeout=PATIENCE)

    async def _make(self, classifier: Classifier, newest: tuple[int, int]) -> None:
        began = time.perf_counter()
        try:
            encoder = await self._serving.base_encoder(classifier)
            made = await self._studies.study(classifier, encoder, lambda rows: _forecast(rows, newest), golden=False)
        except Exception as error:  # nobody may wait for it any more: whoever asks next is told
            log.exception("forecast.failed", extra={"classifier": classifier.id})
            reason = str(error) if isinstance(error, PupilError) else "Something on my side went wrong."
            self._failed[classifier.id] = NotMade(reason)
            return
        self._known.pop(classifier.id, None)
        self._known[classifier.id] = made
        while len(self._known) > KEPT:
            del self._known[next(iter(self._known))]
        facts = {"classifier": classifier.id, "rows": made.rows, "seconds": round(time.perf_counter() - began, 2)}
        log.info("forecast.made", extra=facts)


def _forecast(material: Material, newest: tuple[int, int]) -> Forecast:
    names = [label.name for label in material.labels]
    curve = measure(names, material.names, material.vectors, material.targets)
    lacking = wanting(curve)
    more = min(MORE, curve.rows)  # a curve says little about more than twice its rows
    return Forecast(curve.rows, gain(curve, more), names[lacking.label], lacking.rows, lacking.right, newest)
