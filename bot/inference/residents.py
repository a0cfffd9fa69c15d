"""Which models stay in memory: base encoders always, fine-tuned ones within a budget, the least recently used go first.

Letting a classifier go is `Engine.drop`: questions that have begun end on what they took, the next one loads again.
This module does not know how a model is loaded, nor which version of it is champion.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from weakref import WeakSet

import numpy as np

from bot.inference.engine import Engine
from bot.inference.memory import available_memory
from trainer.model.encoder import Encoder
from trainer.model.head import Head

log = logging.getLogger(__name__)

MEMORY_PER_BYTE = 1.4
"""Memory that an encoder takes, by the bytes of its files: 33 MB for an int8 MiniLM of 24 MB, 62 for one of 59 MB."""


class Residents:
    """The fine-tuned encoders in memory. Belongs to the engine's event loop.

    Args:
        budget: bytes of memory that they may take together. One that is asked is let in even where it does not fit
            beside those in use.
        memory: tells the bytes that this process may still take, or None if unknown.
    """

    def __init__(self, engine: Engine, budget: int, memory: Callable[[], int | None] = available_memory) -> None:
        self._engine = engine
        self._budget = budget
        self._memory = memory
        # Weak, so that they tell what is in memory, whoever holds it: also a version that is not live yet, or any more.
        self._bases: WeakSet[Encoder] = WeakSet()
        self._tuned: WeakSet[Encoder] = WeakSet()
        self._last_used: dict[int, None] = {}
        """Classifiers that are answered by a fine-tuned encoder, least recently used first."""
        self._in_use: Counter[int] = Counter()
        self._overdrawn = False
        """Too much was let in: the next classifier that is not used any more may have to go."""

    @property
    def bytes(self) -> int:
        """Of the files of the fine-tuned encoders in memory; one that is a base in memory, too, does not count."""
        return sum(encoder.bytes for encoder in self._tuned if encoder not in self._bases)

    def add(self, encoder: Encoder, *, base: bool) -> None:
        """This encoder was loaded."""
        (self._bases if base else self._tuned).add(encoder)
        self._overdrawn = not self.fits(0)

    def fits(self, size: int) -> bool:
        """Whether a fine-tuned encoder with files of `size` bytes has room beside all others."""
        return MEMORY_PER_BYTE * (self.bytes + size) <= self._budget

    @contextmanager
    def using(self, classifier_id: int) -> Iterator[None]:
        """While this lasts, the classifier is not let go."""
        self._in_use[classifier_id] += 1
        try:
            yield
        finally:
            self._in_use[classifier_id] -= 1
            if not self._in_use[classifier_id]:
                del self._in_use[classifier_id]
            self._note_use(classifier_id)
            if self._overdrawn and not self._is_alone():
                self.make_room(0, 0)

    def make_room(self, size: int, loading: int) -> None:
        """Let idle classifiers go until an encoder can be loaded, or none is left to go.

        Args:
            size: bytes of its files if it is a fine-tuned one; 0 for a base.
            loading: bytes that must be free in this process while it is loaded.
        """
        for classifier_id in self._idle():
            if self.fits(size) and self._is_free(loading):
                break
            self._let_go(classifier_id)
            if not loading and self._is_alone():
                break
        self._overdrawn = not self.fits(0)

    def _is_alone(self) -> bool:
        """Whether a fine-tuned encoder has the budget to itself: a larger one stays, else it were loaded each time."""
        return len(self._tuned.difference(self._bases)) <= 1

    def _let_go(self, classifier_id: int) -> None:
        encoder = self._encoder(classifier_id)
        self._engine.drop(classifier_id)
        del self._last_used[classifier_id]
        if encoder is not None and not any(self._encoder(each) is encoder for each in self._last_used):
            self._tuned.discard(encoder)  # whoever still computes with it is done in a moment
        log.info("classifier.evicted", extra={"classifier": classifier_id})

    def _note_use(self, classifier_id: int) -> None:
        self._last_used.pop(classifier_id, None)
        if self._is_tuned(classifier_id):
            self._last_used[classifier_id] = None

    def _idle(self) -> list[int]:
        """Classifiers that may go, least recently used first."""
        return [each for each in self._last_used if each not in self._in_use and self._is_tuned(each)]

    def _is_tuned(self, classifier_id: int) -> bool:
        encoder = self._encoder(classifier_id)
        return encoder is not None and encoder in self._tuned and encoder not in self._bases

    def _encoder(self, classifier_id: int) -> Encoder | None:
        served = self._engine.current(classifier_id)
        return None if served is None else served.encoder

    def _is_free(self, loading: int) -> bool:
        available = self._memory()
        return available is None or available >= loading


def halved(head: Head) -> Head:
    """The same head in half precision: 10,000 idle classifiers of 20 labels take 350 MB instead of 650.

    Confidences and scopes are computed in float32 from it. On 20,845 questions of BANKING77 and CLINC150 it gave the
    same answer each time and moved no logit by more than 0.0008 (LOG.md).
    """
    scope = head.scope and replace(head.scope, prototypes=head.scope.prototypes.astype(np.float16))
    return replace(head, weight=head.weight.astype(np.float16), scope=scope)
