"""The model card of a version: README.md beside its weights, for people. Counts, label names and ids, never texts.

The version's number is not known here, nor whether it goes live: a version is numbered where it is registered.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from storage.records import EvaluationReport
from storage.report_figures import (
    Figures,
    LabelChange,
    calibration_words,
    chance_words,
    coverage_words,
    figures,
    flip_words,
    interval_words,
    origin_words,
    other_words,
    percent,
    scope_words,
    surer_words,
    weight_words,
)
from trainer.protocol import JobSpec

MOST_IDS = 10
MOST_MISTAKES = 5
MOST_CHANGES = 8
HASH_SHOWN = 12
"""Characters of a sha256: enough to find it by."""

FILES = """Files: `model.safetensors` with `config.json` and the tokenizer (to train on from here), `encoder.onnx` with
`encoder.json` and `head.safetensors` (what serves), `canary.json` (vectors that a loader compares), `evidence.json`
(example ids it was trained on, their labels, its twin's answers), `report.json` (every outcome), `manifest.json`
(sha256 of all).

It knows only the labels above. For other texts, and for languages other than the base encoder's, its answers mean
little."""


def write_card(directory: Path, *, classifier: str, spec: JobSpec, report: EvaluationReport) -> None:
    """Write README.md into an artifact's directory."""
    (directory / "README.md").write_text(card(classifier, spec, report), encoding="utf-8")


def card(classifier: str, spec: JobSpec, report: EvaluationReport) -> str:
    """The whole page, in Markdown; the verdict of the measurement first."""
    found = figures(report)
    sections = [
        f"# {_cell(classifier)}",
        _verdict(report, found),
        *(_measured(report, found) if found.rows else []),
        *(_changes(report, found) if found.rows else []),
        f"## Where it comes from\n\n{_lineage(spec, report)}",
        f"## Labels\n\n{_labels(report)}",
        _mistakes(found),
        FILES,
    ]
    return "\n\n".join(filter(None, sections)) + "\n"


def _verdict(report: EvaluationReport, found: Figures) -> str:
    what = f"A text classifier with {_counted(len(report.labels), 'label')}, trained by Pupil on "
    what += f"{_counted(report.train_rows, 'text')}."
    if not found.rows:
        return f"{what} There was no text to measure it on."
    chance, sure = chance_words(found.chance_better), surer_words(found.surer)
    return (
        f"{what} On {_counted(found.rows, 'text')} that it was not trained on, {percent(report.candidate_accuracy)} of "
        f"its answers are right; with {report.champion}, which served before it, {percent(report.champion_accuracy)}. "
        f"{_begun(flip_words(*_sizes(found)))}{f'; it is {chance}' if chance else ''}{f'; {sure}' if sure else ''}."
    )


def _measured(report: EvaluationReport, found: Figures) -> Iterable[str]:
    """Candidate beside champion, then what its confidence is worth and what it costs. All as served."""
    yield "## Measured, as served"
    yield "\n".join(
        [
            f"| | this version | {report.champion} |",
            "|---|---|---|",
            f"| accuracy | {percent(report.candidate_accuracy)} | {percent(report.champion_accuracy)} |",
            f"| 95 % interval | {interval_words(found.accuracy)} | {interval_words(found.champion_accuracy)} |",
            f"| macro-F1 | {report.candidate_macro_f1:.2f} | {report.champion_macro_f1:.2f} |",
        ]
    )
    certainty = report.certainty
    before = None if certainty is None else certainty.calibration_error_before
    weight = weight_words(report.encoder_bytes, report.milliseconds)
    lines = [calibration_words(report.calibration_error, before)]
    if certainty is not None:
        lines += [coverage_words(certainty), scope_words(certainty)]
    lines.append(other_words(found.other))
    lines.append(f"{weight}, on one thread of the trainer's machine." if report.milliseconds else weight)
    yield _list(lines)


def _changes(report: EvaluationReport, found: Figures) -> Iterable[str]:
    """What became right and wrong against the champion: labels by name, examples by their id."""
    differ = found.flips
    rows = (("Fixed", differ.fixed), ("Broken", differ.broken), ("Wrong in another way", differ.still_wrong))
    lines = [f"{name}: {_ids(ids)}" for name, ids in rows if ids]
    gained = [change for change in found.changes if change.net > 0]
    forgotten = [change for change in found.changes if change.net < 0]
    lines += [f"{name}: {_nets(labels)}" for name, labels in (("Gained", gained), ("Forgotten", forgotten)) if labels]
    if lines:
        yield f"## What changed against {report.champion}"
        yield _list(lines)


def _labels(report: EvaluationReport) -> str:
    rows = [
        f"| {_cell(row.label)} | {row.rows} | {row.precision:.2f} | {row.recall:.2f} | {row.champion_recall:.2f} |"
        if row.rows
        else f"| {_cell(row.label)} | 0 | | | |"
        for row in report.labels
    ]
    return "\n".join(
        ["| label | texts measured | precision | recall | recall before |", "|---|---|---|---|---|", *rows]
    )


def _mistakes(found: Figures) -> str:
    shown = found.mistakes[:MOST_MISTAKES]
    rows = [f"| {_cell(mistake.label)} | {_cell(mistake.answer)} | {mistake.rows} |" for mistake in shown]
    head = ["## Most confused", "", "| label | answered | texts |", "|---|---|---|"]
    return "\n".join([*head, *rows]) if rows else ""


def _lineage(spec: JobSpec, report: EvaluationReport) -> str:
    champion = f", artifact `{spec.champion[:HASH_SHOWN]}`" if spec.champion else ""
    lines = [
        f"Kind: {_cell(origin_words(report.kind, report.started_from))}",
        f"Base encoder: `{_code(spec.base)}`",
        f"Snapshot `{spec.snapshot[:HASH_SHOWN]}`: {_counted(report.train_rows, 'text')} to learn from, "
        f"{report.golden_rows:,} kept aside to measure",
        f"Compared with {report.champion}{champion}",
        f"Seed {spec.seed}{_recipe(spec)}",
        _time(report),
    ]
    return _list(lines)


def _recipe(spec: JobSpec) -> str:
    changed = ", ".join(f"{name} {value}" for name, value in sorted(spec.recipe.items()))
    return f"; recipe changed: {_cell(changed)}" if changed else ""


def _time(report: EvaluationReport) -> str:
    if not report.seconds:
        return ""
    phases = ", ".join(f"{phase} {seconds:.0f}" for phase, seconds in report.seconds.items())
    return f"It took {sum(report.seconds.values()):.0f} seconds: {phases}"


def _sizes(found: Figures) -> tuple[int, int, int]:
    differ = found.flips
    return len(differ.fixed), len(differ.broken), len(differ.still_wrong)


def _ids(ids: Sequence[int]) -> str:
    return f"{_counted(len(ids), 'text')} ({_some([f'#{number}' for number in ids], MOST_IDS)})"


def _nets(changes: Sequence[LabelChange]) -> str:
    return _some([f"{_cell(change.label)} {change.net:+d} of {change.rows}" for change in changes], MOST_CHANGES)


def _some(items: Sequence[str], most: int) -> str:
    left = len(items) - most
    return ", ".join(items[:most]) + (f" and {left} more" if left > 0 else "")


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _begun(words: str) -> str:
    return words[:1].upper() + words[1:]


def _list(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines if line)


def _cell(text: str) -> str:
    """A name inside a Markdown table, list or heading."""
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ")


def _code(text: str) -> str:
    return " ".join(text.replace("`", "'").split())
