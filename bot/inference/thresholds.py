"""From which confidence on an answer is given, for the share of right answers that a lead wants. Pure functions.

Knows neither classifiers nor settings; where a head's checked answers come from, `trainer.model.calibration` says.
"""

from __future__ import annotations

import math

from storage.records import Sureness
from trainer.model.head import Head


def promised(head: Head, precision: float) -> float | None:
    """Confidence in [0, 1] from which `precision` of the answers are right; None where too few are checked to tell."""
    lowest = head.reliability.threshold(precision)[0] if head.reliability else math.inf
    return lowest if math.isfinite(lowest) else None


def threshold(head: Head, precision: float | None) -> float:
    """Confidence in [0, 1] under which an answer is "not sure": the promised one, else the head's own.

    Where nothing can be promised yet, refusing every answer would help nobody; the head's own is what holds without a
    choice. 0.4 ms with 1,200 checked answers.
    """
    lowest = None if precision is None else promised(head, precision)
    return head.abstain_below if lowest is None else lowest


def sureness(head: Head, precision: float | None) -> Sureness:
    """What follows from a choice, measured on the answers that this head's were checked with."""
    lowest, checked = threshold(head, precision), head.reliability
    given = None if checked is None else checked.confidences >= lowest
    return Sureness(
        precision=precision,
        threshold=lowest,
        promised=precision is not None and promised(head, precision) is not None,
        checked=0 if given is None else len(given),
        answered=0.0 if given is None or not len(given) else float(given.mean()),
        right=0.0 if checked is None or given is None or not given.any() else float(checked.right[given].mean()),
    )
