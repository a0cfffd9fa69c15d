"""Whether a candidate goes live, and the swap.

`decide` is a pure function of the report and the policy. The rule's numbers were chosen on simulated pairs of real
models with golden sets of 50-100 (`make bench-gate`, trainer/LOG.md): it promotes 1.6 % of those that are at least one
point worse, and keeps out a fifth of those that are at least one point better. A candidate that is kept is tried
again with the next labels.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import Counter
from collections.abc import Iterable

from bot.services.people import Actor, Role
from bot.services.serving import Prepared, Serving
from bot.services.trials import TrialService, TriedPin
from storage.errors import ArtifactError, Conflict, NotFound
from storage.records import (
    FALLBACK,
    Classifier,
    EvaluationReport,
    ModelVersion,
    PairedOutcome,
    Promotion,
    PromotionDecision,
    PromotionPolicy,
    Split,
    Trial,
    VersionState,
    version_name,
)
from storage.registry import Registry, gone_words, way_back
from storage.report_figures import flips, surer, surer_words

log = logging.getLogger(__name__)


BETTER = "Better than"
"""How the reason of a decision to promote begins, and no other."""


def decide(report: EvaluationReport, policy: PromotionPolicy, champion: str) -> PromotionDecision:
    """Promote iff the candidate is better on the paired rows and no label, nor the golden set, pays for it.

    With b rows that only the candidate has right and c that only the champion has, the gain is b - c over train rows
    plus golden_weight times the probability that golden rows' right labels gained. It takes gain >= max(minimum_gain,
    sigma * its standard deviation) and b >= c over all rows; no label may lose class_loss rows net that are also
    class_loss_share of its evaluated rows; on golden rows alone c - b <= golden_loss.
    """
    better, worse = paired(report.outcomes)
    golden_better, golden_worse = paired(row for row in report.outcomes if row.split is Split.GOLDEN)
    worth = [_worth(row, policy) for row in report.outcomes]
    gain, needed = sum(worth), max(policy.minimum_gain, policy.sigma * math.hypot(*worth))
    numbers, words = _numbers(report), surer_words(surer(report.outcomes))
    sure = f", {words}" if words else ""
    lost = _label_that_pays(report.outcomes, policy)
    if not report.outcomes:
        reason = f"Kept {champion}: there was no text to compare on that the candidate had not been trained on."
    elif lost:
        label, count, rows = lost
        reason = f"Kept {champion}: the candidate loses {count} of {rows} texts of `{label}` ({numbers})."
    elif golden_worse - golden_better > policy.golden_loss:
        reason = (
            f"Kept {champion}: on the golden set the candidate gets {golden_worse} texts wrong that were right, "
            f"and {golden_better} right that were wrong ({numbers})."
        )
    elif worse > better:
        reason = f"Kept {champion}: {numbers}; {better} better and {worse} worse{sure}."
    elif gain >= needed:
        reason = f"{BETTER} {champion}: {numbers}; {better} answers became right and {worse} wrong{sure}."
        return PromotionDecision(True, reason, better, worse)
    else:
        reason = (
            f"Kept {champion}: {numbers}; {better} better and {worse} worse{sure}: not clearly an improvement "
            f"(a gain of {gain:.1f} where it takes {needed:.1f})."
        )
    return PromotionDecision(False, reason, better, worse)


def has_passed(reason: str) -> bool:
    """Whether a decision that was stored by its reason let the version in; today's rule may see it otherwise."""
    return reason.startswith(BETTER)


def _worth(row: PairedOutcome, policy: PromotionPolicy) -> float:
    """What a row says for the candidate, or against it, in train rows."""
    right = (row.candidate == row.label) - (row.champion == row.label)
    if row.split is Split.TRAIN:
        return right
    return policy.golden_weight * (right if row.surer is None else row.surer)


def paired(outcomes: Iterable[PairedOutcome]) -> tuple[int, int]:
    """(b, c): rows that only the candidate has right, rows that only the champion has right."""
    changed = flips(outcomes)
    return len(changed.fixed), len(changed.broken)


def _label_that_pays(outcomes: tuple[PairedOutcome, ...], policy: PromotionPolicy) -> tuple[str, int, int] | None:
    """(label, net loss, its rows) of the label that loses most, if any loses more than the policy allows."""
    rows = Counter(row.label for row in outcomes)
    losses: Counter[str] = Counter()
    for row in outcomes:
        losses[row.label] += (row.champion == row.label) - (row.candidate == row.label)
    least = policy.class_loss + (len(rows) > policy.many_classes)
    for label, loss in losses.most_common():
        if loss >= least and loss >= policy.class_loss_share * rows[label]:
            return label, loss, rows[label]
    return None


def _numbers(report: EvaluationReport) -> str:
    rows = f"{len(report.outcomes)} held-out texts" if len(report.outcomes) != 1 else "1 held-out text"
    return f"{report.champion_accuracy:.2f} → {report.candidate_accuracy:.2f} on {rows}"


def kept_for_pins(trial: Trial, report: EvaluationReport) -> str:
    """Why a candidate that is better stays out all the same. Who pinned what is told where the texts can be shown."""
    return f"Kept {report.champion}: {_numbers(report)}, but {version_name(trial.number)} breaks {_pins(trial)}."


def _pins(trial: Trial) -> str:
    return f"{trial.broken} pinned test{'s' if trial.broken != 1 else ''}"


class PromotionService:
    """The champion pointer of every classifier: the database first, by compare-and-set; then memory."""

    def __init__(self, registry: Registry, serving: Serving, trials: TrialService) -> None:
        self._registry = registry
        self._serving = serving
        self._trials = trials

    async def versions(self, classifier: Classifier) -> list[ModelVersion]:
        """Newest first."""
        return await self._registry.list(classifier.guild, classifier.id)

    async def pins(self, classifier: Classifier, number: int) -> tuple[TriedPin, ...]:
        """What a version said to the pinned tests before it might go live, the newly broken ones first."""
        return await self._trials.pins(classifier.guild, classifier.id, number)

    async def promotions(self, classifier: Classifier) -> list[Promotion]:
        """Newest first."""
        return await self._registry.promotions(classifier.guild, classifier.id)

    async def promote(self, actor: Actor, classifier: Classifier, number: int) -> Promotion:
        """Makes a version live because a lead says so. Number 0 is the base encoder with the instant head.

        Pinned tests do not hold it up; `pins` tells afterwards which it breaks, and the history how many.

        Raises:
            NotAllowed, NotFound, Conflict (it is live already, another swap came first, or its files are deleted or
            known to be damaged), ArtifactError.
        """
        actor.require(Role.LEAD, "decide which version is live")
        current = await self._registry.champion(classifier.guild, classifier.id)
        if number == current:
            raise Conflict(f"{version_name(number)} of `{classifier.name}` is live already.")
        prepared = await self._prepare(classifier, number)
        trial = await self._trials.hold(prepared)
        although = f", although it breaks {_pins(trial)}" if trial.broken else ""
        return await self._swap(prepared, current, actor.id, f"chosen by a lead{although}")

    async def pass_gate(self, classifier: Classifier, number: int, expected: int, reason: str) -> Trial:
        """The gate found it better: it goes live, unless it breaks a pinned test that holds now (`Trial.broken`).

        Raises:
            As `go_live`.
        """
        prepared = await self._prepare(classifier, number)
        trial = await self._trials.hold(prepared)
        if not trial.broken:
            await self._swap(prepared, expected, "gate", reason)
        return trial

    async def rollback(
        self, actor: Actor, classifier: Classifier, number: int | None = None, *, live: int | None = None
    ) -> Promotion:
        """Back to a version that was live before; None: the older one that was live last, so twice goes two back.

        `live`: the version from which to go back, so that a second press of a button does not go further; None:
        whichever is live.

        Raises:
            NotAllowed, NotFound (nothing to go back to), Conflict, ArtifactError.
        """
        actor.require(Role.LEAD, "roll back")
        current = await self._registry.champion(classifier.guild, classifier.id) if live is None else live
        if number is None:
            number = await self._before(classifier, current)
        if number == current:
            raise Conflict(f"{version_name(number)} of `{classifier.name}` is live already.")
        if number:
            await self._with_files(classifier, number)
            if number not in {swap.number for swap in await self.promotions(classifier)}:
                raise Conflict(f"{version_name(number)} was never live. A lead can make it live with /model promote.")
        return await self.go_live(classifier, number, current, actor.id, "rolled back by a lead")

    async def rests(self, classifier: Classifier) -> bool:
        """Whether the newest swap went back to an older version: then nothing goes live by itself until a lead
        promotes a newer one."""
        history = await self.promotions(classifier)
        # Stepping back from damaged files is nobody's judgement of a version.
        decided = next((swap for swap in history if swap.by != FALLBACK), None)
        return decided is not None and decided.number < decided.previous

    async def go_live(self, classifier: Classifier, number: int, expected: int, by: str, reason: str) -> Promotion:
        """Load aside, verify, warm up; then the pointer; then one reference. On any error the champion keeps answering.

        Raises:
            Conflict: the champion is not `expected` any more, or the version's files are damaged as they were before.
            ArtifactError: the version's files do not verify; it is marked damaged.
            Busy: memory is short.
        """
        return await self._swap(await self._prepare(classifier, number), expected, by, reason)

    async def _prepare(self, classifier: Classifier, number: int) -> Prepared:
        """Also one that is known to be damaged: somebody may have put its files back."""
        version = await self._with_files(classifier, number) if number else None
        known = version is not None and version.state is VersionState.DAMAGED
        try:
            prepared = await self._serving.prepare(classifier, version)
        except ArtifactError as error:
            if known:
                raise Conflict(
                    f"The files of v{number} are damaged; it cannot go live. Choose another version. "
                    "If a backup of `models/` has its files, put them back and try again."
                ) from error
            if version is not None:
                await self._with_files(classifier, number)  # they may have been deleted while they were read
                await self._registry.mark_damaged(classifier.guild, classifier.id, number)
            raise
        if known:
            await self._registry.mark_whole(classifier.guild, classifier.id, number)
        return prepared

    async def _with_files(self, classifier: Classifier, number: int) -> ModelVersion:
        """Raises NotFound; Conflict: its files are deleted."""
        version = await self._registry.get(classifier.guild, classifier.id, number)
        if version.files_deleted_at is not None:
            raise Conflict(gone_words(version, await self.versions(classifier)))
        return version

    async def _swap(self, prepared: Prepared, expected: int, by: str, reason: str) -> Promotion:
        # A cancelled training must not stop between the two: the pointer would name a version that does not answer.
        promotion = await asyncio.shield(self._point_and_swap(prepared, expected, by, reason))
        facts = {"classifier": promotion.classifier_id, "number": promotion.number, "previous": expected}
        log.info("version.promoted", extra=facts)
        return promotion

    async def _point_and_swap(self, prepared: Prepared, expected: int, by: str, reason: str) -> Promotion:
        classifier, number = prepared.classifier, prepared.served.number
        promotion = await self._registry.promote(
            classifier.guild, classifier.id, number, expected, by, reason, time.time()
        )
        await self._serving.swap(prepared)
        return promotion

    async def _before(self, classifier: Classifier, current: int) -> int:
        for number in way_back(await self.promotions(classifier), current):
            return number
        raise NotFound(f"`{classifier.name}` has no version before {version_name(current)} to go back to.")
