"""Whether a training makes sense now, in words. Pure functions of counts."""

from __future__ import annotations

from collections.abc import Sequence

from storage.records import LabelCount, Schedule

ENOUGH_PER_LABEL = 5
"""Train rows a label needs to count as taught: with fewer, out-of-fold evidence for it is a coin toss."""

ENOUGH_LABELS = 2


def missing_to_train(counts: Sequence[LabelCount]) -> int:
    """How many more labelled texts, well placed, make the first training possible; 0: enough."""
    best = sorted((min(count.train, ENOUGH_PER_LABEL) for count in counts), reverse=True)[:ENOUGH_LABELS]
    return ENOUGH_LABELS * ENOUGH_PER_LABEL - sum(best)


def why_not(counts: Sequence[LabelCount], new_since: int, newest: str) -> str | None:
    """The reason not to train now, or None. `newest` names the newest version ("v3"), "" when there is none."""
    if len(counts) < ENOUGH_LABELS:
        return "There are fewer than two labels. Add one with /labels create, then teach it with /label."
    if missing_to_train(counts):
        poor = sorted(counts, key=lambda count: -count.train)[:ENOUGH_LABELS]
        lacking = [count for count in poor if count.train < ENOUGH_PER_LABEL]
        listed = " and ".join(f"`{count.label.name}` has {count.train}" for count in lacking)
        return (
            f"Not enough labels to train on: {listed}; at least {ENOUGH_LABELS} labels need {ENOUGH_PER_LABEL} each "
            "(texts kept aside for measuring do not count)."
        )
    if newest and not new_since:
        return f"Nothing is new since {newest} was trained. Label a few more texts first."
    return None


def until_training(counts: Sequence[LabelCount], new_since: int, schedule: Schedule | None) -> int | None:
    """Labels until the next training: until the first is possible at all, then until the schedule's count is reached.

    None: no count is being waited for.
    """
    if missing := missing_to_train(counts):
        return missing
    if schedule is None or not schedule.enabled or schedule.after_labels is None:
        return None
    return max(0, schedule.after_labels - new_since)
