"""What the measured cells say: the table of accuracies, and the figures that have targets."""

from __future__ import annotations

import statistics
from collections.abc import Iterator

from bot.services.promotion import decide
from storage.records import PromotionPolicy
from tests.benchmarks.learning.pairs import replay
from tests.benchmarks.learning.records import Records
from tests.benchmarks.learning.samples import FULL, SETS
from tests.benchmarks.report import Figure, compared

SERVED = "served"
SETFIT_ITERATIONS = 5
"""SetFit's R: pairs made of each text."""
SCOPE_TARGETS: dict[str, float | None] = {"auroc": 97.0, "recall_at_95": 50.0, "caught": None, "turned_away": None}
SHOTS = (1, 5, 8, 16, 64, FULL)
TABLE, CALIBRATION, GROWTH = "table", "calibration", "growth"
SMALL = ((8, 4), (15, 10))
"""(labels, shots) of the calibration cells: 32 and 150 labelled texts in all."""

COLUMNS = (
    ("TF-IDF + LR", "words", "accuracy"),
    ("SetFit", "setfit", "accuracy"),
    ("plain fine-tune", "plain", "accuracy"),
    ("random weights", "scratch", "accuracy"),
    ("instant", "instant", "accuracy"),
    ("instant, pool", "instant with pool", "accuracy"),
    ("deep", "whole", "accuracy"),
    ("gate's choice", "whole", SERVED),
)


def table(records: Records) -> str:
    """Accuracy in percent by set and shots: mean and standard deviation over the seeds that were measured."""
    lines = [" | ".join(["set", "shots", *(title for title, _, _ in COLUMNS)])]
    for name in SETS:
        for shots in SHOTS:
            row = [name, str(shots) if shots else "all"]
            row += [_spread(_values(records, name, shots, method, field)) for _, method, field in COLUMNS]
            lines.append(" | ".join(row))
    return "\n".join(lines)


def certainty(records: Records) -> Iterator[Figure]:
    """Calibration with few labels, and whether texts without any label are known."""
    for labels, shots in SMALL:
        for method, field in (("instant", "calibration_error"), ("whole", "calibration_error")):
            found = [
                100 * float(values[field])
                for key, values in records.all(CALIBRATION)
                if key[1].endswith(f", {labels} labels") and key[2] == shots and key[4] == method
            ]
            if found:
                title = f"calibration error, {labels * shots} labelled texts, {'deep' if method == 'whole' else method}"
                target = 8.0 if labels * shots < 150 else 2.5
                yield Figure(title, statistics.mean(found), "%", target=target, better="lower")
    for method in ("instant", "whole"):
        for field, wanted in SCOPE_TARGETS.items():
            if values := _values(records, "clinc150", 8, method, field):
                title = f"clinc150, 8 shots, out of scope, {'deep' if method == 'whole' else method}: {field}"
                yield Figure(title, 100 * statistics.mean(values), "%", target=wanted)


def growth(records: Records) -> Iterator[Figure]:
    """New labels: accuracy on old and new ones after each way of taking them in, and the time of the quick way."""
    rows = [values for _, values in records.all(GROWTH)]
    if not rows:
        return
    for way in ("before", "retrained", "continued", "corrected", "instant"):
        for part in ("old", "new", "all"):
            if values := [100 * row[f"{way}_{part}"] for row in rows if f"{way}_{part}" in row]:
                yield Figure(f"new labels, {way}: accuracy on {part} ones", statistics.mean(values), "%")
    lost = statistics.mean(100 * (row["retrained_old"] - row["continued_old"]) for row in rows)
    title = "new labels, continued: lost on old ones against training anew"
    yield Figure(title, lost, "points", target=1.0, better="lower")
    # Where the head alone was the better kind, nothing was trained: no time to compare with.
    tuned = [row for row in rows if row["retraining"]["training"] > 0]
    for title, phases in (("training alone", ("training",)), ("whole job", None)) if tuned else ():
        quick, anew = (
            statistics.mean(sum(row[way][phase] for phase in phases or row[way]) for row in tuned)
            for way in ("continuing", "retraining")
        )
        yield compared(f"new labels, continued: {title}", quick, "s", "training anew", anew, target=0.4, better="lower")


def _values(
    records: Records, name: str, shots: int, method: str, field: str, machine: str | None = None
) -> list[float]:
    """A field of every seed that was measured; SERVED is what answers after the gate's decision."""
    found: list[float] = []
    for seed in range(3):
        values = records.get((TABLE, name, shots, seed, method), machine)
        if values is not None and field == SERVED:
            promoted = decide(replay(values["tally"]), PromotionPolicy(), "v0").promote
            values = values if promoted else records.get((TABLE, name, shots, seed, "instant"))
            field_here = "accuracy"
        else:
            field_here = field
        if values is not None and field_here in values:
            found.append(float(values[field_here]))
    return found


def _spread(values: list[float]) -> str:
    if not values:
        return "-"
    mean = f"{100 * statistics.mean(values):.1f}"
    return f"{mean} ± {100 * statistics.stdev(values):.1f} ({len(values)})" if len(values) > 1 else f"{mean} (1)"


def figures(records: Records) -> list[Figure]:
    """What the table promises: accuracy against SetFit, time against SetFit, and what the gate gives away."""
    found: list[Figure] = []
    gains: list[float] = []
    for name in SETS:
        served, setfit = (
            _values(records, name, 8, method, field) for method, field in (("whole", SERVED), ("setfit", "accuracy"))
        )
        if not served or not setfit:
            continue
        count = min(len(served), len(setfit))
        gains += [100 * (a - b) for a, b in zip(served[:count], setfit[:count], strict=True)]
        found.append(
            compared(
                f"{name}, 8 shots, the gate's choice",
                100 * statistics.mean(served),
                "%",
                "SetFit",
                100 * statistics.mean(setfit),
            )
        )
        found += _times(records, name)
    if gains:
        found.append(Figure("gain over SetFit, 8 shots, mean", statistics.mean(gains), "points", target=2.0))
        found.append(Figure("gain over SetFit, 8 shots, least of the samples", min(gains), "points", target=0.0))
    lost = list(_given_away(records))
    if lost:
        found.append(
            Figure(
                f"the gate's choice below the better kind, worst of {len(lost)} means",
                max(lost),
                "points",
                target=1.0,
                better="lower",
            )
        )
    return found


def _times(records: Records, name: str) -> Iterator[Figure]:
    """Times beside the peer's of the same machine."""
    machine = records.machine((TABLE, name, 8, 0, "setfit"))
    peer = _values(records, name, 8, "setfit", "seconds", machine)
    for title, method, field, target in (
        ("instant", "instant", "seconds", 1 / 100),
        ("deep", "whole", "seconds", 1 / 8),
        ("deep with its evidence", "whole", "seconds_with_evidence", 1 / 4),
    ):
        if values := _values(records, name, 8, method, field, machine):
            yield compared(
                f"{name}, 8 shots, {title}",
                statistics.mean(values),
                "s",
                f"SetFit R={SETFIT_ITERATIONS}",
                statistics.mean(peer),
                target=target,
                better="lower",
            )


def _given_away(records: Records) -> Iterator[float]:
    """Points by which the mean of the gate's choice is below the better mean of the two kinds, by set and shots."""
    for name in SETS:
        for shots in SHOTS:
            instant, deep, served = (
                _values(records, name, shots, method, field)
                for method, field in (("instant", "accuracy"), ("whole", "accuracy"), ("whole", SERVED))
            )
            if instant and deep:
                yield 100 * (max(statistics.mean(instant), statistics.mean(deep)) - statistics.mean(served))
