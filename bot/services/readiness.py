"""Whether a training makes sense now, and of which kind, in words. Pure functions of counts and time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from storage.records import CandidateKind, LabelCount, Schedule

ENOUGH_PER_LABEL = 5
"""Train rows a label needs to count as taught: with fewer, out-of-fold evidence for it is a coin toss."""

ENOUGH_LABELS = 2

WORTH_TUNING = 3.0
"""Train rows per taught label from which the clock fine-tunes. Below it little can be held out: with one text a label
a fine-tuned model was 2-3 points better and the gate could not see it (trainer/LOG.md). A guess between 1 and 5."""
LEAST_NEW, SHARE_NEW = 10, 0.02
"""New labels for which the clock starts another fine-tuning: so many, and this share of all."""
PATIENCE = 7 * 24.0
"""Hours after which fewer will do."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """What to try now. The head alone needs no trying: it has learned every label within a second."""

    kind: CandidateKind
    reason: str


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


def what_to_try(
    counts: Sequence[LabelCount], new_since: int, newest: str, hours_since: float | None, *, asked: bool
) -> Attempt:
    """Fine-tune now, or leave it at the head alone.

    `newest` and `hours_since` belong to the newest version ("" and None: there is none). Somebody who asks gets a
    training whenever there is something to learn; the clock has to have a reason.
    """
    if refusal := why_not(counts, new_since, newest):
        return Attempt(CandidateKind.INSTANT, refusal)
    if asked:
        return Attempt(CandidateKind.DEEP, "Somebody asked for it.")
    rows = sum(count.train for count in counts)
    taught = sum(count.train > 0 for count in counts)
    if rows < WORTH_TUNING * taught:
        return Attempt(
            CandidateKind.INSTANT,
            f"{rows} texts for {taught} labels: fewer than {WORTH_TUNING:g} a label measure a fine-tune too badly.",
        )
    enough = max(LEAST_NEW, round(SHARE_NEW * rows))
    # A version of the future was made by a clock that was wrong: nobody knows how old it is.
    if newest and new_since < enough and (hours_since is None or 0 <= hours_since < PATIENCE):
        return Attempt(
            CandidateKind.INSTANT,
            f"Only {new_since} of {rows} labels are new since {newest}, and the head has learned them already; "
            f"fine-tuning waits for {enough}, or for a week to pass.",
        )
    return Attempt(CandidateKind.DEEP, f"{new_since} new labels." if newest else f"{rows} labels and no version yet.")


def until_training(counts: Sequence[LabelCount], untried: int, schedule: Schedule | None) -> int | None:
    """Labels until the next training: until the first is possible at all, then until the schedule's count is reached.

    `untried`: labels since the last training that was asked for. None: no count is being waited for.
    """
    if missing := missing_to_train(counts):
        return missing
    if schedule is None or not schedule.enabled or schedule.after_labels is None:
        return None
    return max(0, schedule.after_labels - untried)
