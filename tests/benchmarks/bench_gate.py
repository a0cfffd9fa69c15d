"""The gate's error rates on simulated pairs of a champion and a candidate, all of them real models.

Each pair is measured as the trainer measures, decided by the bot's own rule, and judged by the rest of the training
file. What a decision depends on is kept in learning/gate.jsonl, so a run can be stopped and goes on, and a change of
the rule needs no new models. `python -m tests.benchmarks.bench_gate heads|new-label|deep` only measures one kind;
`python -m tests.benchmarks.bench_gate` only counts what is there.
"""

from __future__ import annotations

import ast
import hashlib
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bot.services.promotion import decide
from storage.records import EvaluationReport, PromotionPolicy
from tests.benchmarks.learning import pair_models, pairs
from tests.benchmarks.learning.pair_models import FILES, Base, View, deep_pairs, head_pairs, new_label_pairs, pool
from tests.benchmarks.learning.pairs import Draw, Rate, Verdict, draw_classifier, false_promotion, false_rejection
from tests.benchmarks.learning.records import TRAINER, Records, bare
from tests.benchmarks.report import Figure, table

FILE = Path(pairs.__file__).with_name("gate.jsonl")
DRAWS = {"heads": range(200), "new-label": range(200), "deep": range(1000, 1050)}
"""Ten pairs of heads a draw, one with a new label, six or seven with fine-tuned bodies."""
PAIRS: dict[str, Callable[[Draw, View, int], Iterator[dict[str, Any]]]] = {
    "heads": head_pairs,
    "new-label": new_label_pairs,
    "deep": deep_pairs,
}
HEADS = ("model/head", "model/logistic", "model/calibration", "model/scope", "measured", "champion", "dataset")
DEEP = (*HEADS, "model/quieter", "bases", "export", "finetune", "graph", "learn", "network")
CODE = {"heads": HEADS, "new-label": HEADS, "deep": DEEP}
"""Modules of the trainer that decide what such models answer."""
PROMOTED, REJECTED = 0.02, 0.22


def run() -> list[Figure]:
    for kind in DRAWS:
        measure(kind)
    return figures(recorded())


def measure(kind: str) -> None:
    """Every draw of a kind that is not recorded yet. Raises Skipped."""
    records, base = Records(FILE, code(kind)), Base()
    for seed in DRAWS[kind]:
        name = tuple(FILES)[seed % len(FILES)]
        draw = draw_classifier(pool(name), seed)
        key = ("gate", name, draw.shots, seed, kind)
        if records.get(key) is not None:
            continue
        began = time.process_time()
        found = list(PAIRS[kind](draw, base.view(name, draw), seed))
        sizes = {part: len(getattr(draw, part)) for part in ("labels", "old", "newer", "golden", "truth")}
        records.add(key, {**sizes, "seconds": time.process_time() - began, "pairs": found}, ours=True)
        print(f"gate: {kind}, draw {seed} of {DRAWS[kind].stop - 1}: {len(found)} pairs", flush=True)


def recorded() -> list[Verdict]:
    """Every recorded pair through the rule as it is today."""
    found: list[Verdict] = []
    for kind in DRAWS:
        for key, values in Records(FILE, code(kind)).all("gate"):
            if key[4] == kind:
                found += pairs.verdicts(key[3], values["pairs"], promotes)
    return found


def promotes(report: EvaluationReport) -> bool:
    return decide(report, PromotionPolicy(), "v0").promote


def code(kind: str) -> str:
    """Changes when the code behind a kind's pairs does; the gate's rule is not part of it."""
    paths = [TRAINER / f"{name}.py" for name in CODE[kind]] + [Path(pairs.__file__), Path(pair_models.__file__)]
    dumps = (ast.dump(bare(ast.parse(path.read_text(encoding="utf-8")))) for path in paths)
    return hashlib.sha256("\n".join(dumps).encode()).hexdigest()[:12]


def figures(found: Sequence[Verdict]) -> list[Figure]:
    groups: dict[str, list[Verdict]] = {
        "all": list(found),
        "heads only": [pair for pair in found if not pair.deep],
        "fine-tuned": [pair for pair in found if pair.deep],
        "fine-tuned, as the trainer chooses": [pair for pair in found if pair.deep and pair.stands],
    }
    modes = {mode: [pair for pair in found if pair.mode == mode] for mode in sorted({pair.mode for pair in found})}
    return [
        *(figure for name, group in groups.items() if group for figure in _group(name, group)),
        *(figure for name, group in modes.items() for figure in _rates(name, group, targets=False)),
    ]


def _group(name: str, group: Sequence[Verdict]) -> Iterator[Figure]:
    yield Figure(f"{name}: pairs", len(group), "pairs")
    yield Figure(f"{name}: classifiers", len({pair.task for pair in group}), "classifiers")
    yield from _rates(name, group, targets=True)
    for sign, rate in ((-1, false_promotion(group)), (1, false_rejection(group))):
        wrong = 0 if rate is None else round(rate.share * rate.cases)
        word = "promoted and >= 1 point worse" if sign < 0 else "kept out and >= 1 point better"
        yield Figure(f"{name}: {word}, of all pairs", 100 * wrong / len(group), "%", better="lower")


def _rates(name: str, group: Sequence[Verdict], *, targets: bool) -> Iterator[Figure]:
    rates: Mapping[str, tuple[Rate | None, float | None]] = {
        "promoted, of those >= 1 point worse": (false_promotion(group), PROMOTED),
        "promoted, of those >= 3 points worse": (false_promotion(group, 3.0), None),
        "kept out, of those >= 1 point better": (false_rejection(group), REJECTED),
    }
    for words, (rate, target) in rates.items():
        if rate is None:
            continue
        wanted = 100 * target if targets and target is not None else None
        yield Figure(f"{name}: {words} ({rate.cases})", 100 * rate.share, "%", target=wanted, better="lower")
        if wanted is not None:
            yield Figure(f"{name}: {words}, 95 % interval from", 100 * rate.low, "%", better="lower")
            yield Figure(f"{name}: {words}, 95 % interval to", 100 * rate.high, "%", better="lower")


def main(arguments: list[str]) -> int:
    match arguments:
        case []:
            print(table(figures(recorded())))
        case [kind] if kind in DRAWS:
            measure(kind)
        case _:
            print(f"usage: python -m tests.benchmarks.bench_gate [{' | '.join(DRAWS)}]", file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
