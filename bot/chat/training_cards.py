"""Cards of a training: its progress while it runs, and the verdict first once it has ended. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from bot.chat.cards import Button, Card, Style, Tone
from bot.chat.decision_cards import newly_broken, tried_words
from bot.chat.text import bar, block, code, column, counted, cut, duration, escaped, sentence, when
from bot.services.slots import next_slots
from bot.services.updates import JobUpdate
from storage.records import (
    EvaluationReport,
    JobState,
    LabelReport,
    ModelVersion,
    Schedule,
    TrainingJob,
    VersionState,
    version_name,
)
from storage.report_figures import (
    Figures,
    calibration_words,
    chance_words,
    coverage_words,
    figures,
    flip_words,
    knows_its_origin,
    origin_words,
    other_words,
    scope_words,
    surer_words,
    weight_words,
)
from trainer.protocol import Phase, Progress

LABEL_ROWS = 8
LABEL_WIDTH = 22

PHASES = {
    Phase.QUEUED: "waiting for its turn",
    Phase.PREPARING: "reading the labels",
    Phase.MEASURING: "rehearsing: learns from a part, is asked the rest",
    Phase.TRAINING: "learning from every text",
    Phase.EXPORTING: "packing the new version",
    Phase.EVALUATING: "exam: new against old, on the same texts",
}


def job_card(update: JobUpdate) -> Card:
    """Where a training stands, whatever state it is in."""
    return result_card(update) if update.job.state.is_final else progress_card(update)


def progress_card(update: JobUpdate) -> Card:
    """A bar, the phase, epoch, loss and the time left, with Cancel."""
    job, progress = update.job, update.progress
    waits = job.state is JobState.QUEUED or update.ahead is not None
    fraction = progress.fraction if progress is not None and not waits else 0.0
    lines = [f"{bar(fraction)} {100 * fraction:.0f} %", _doing(job, progress, update.ahead), _occasion(job)]
    return Card(
        title=f"Training {update.classifier.name}",
        body="\n".join(lines),
        footer=f"{update.serving} keeps answering",
        rows=((Button("Cancel", f"cancel:{job.id}"),),),
    )


def _occasion(job: TrainingJob) -> str:
    """Why it trains: "asked for by @Maria", "50 new labels", and which attempt it is if it is not the first."""
    asked = f"{job.reason} by <@{job.requested_by}>" if job.requested_by.isdigit() else job.reason
    return f"{asked} · attempt {job.attempt}" if job.attempt > 1 and job.state is not JobState.QUEUED else asked


def _doing(job: TrainingJob, progress: Progress | None, ahead: int | None) -> str:
    if job.state is JobState.UPLOADING and job.error:
        return f"the new version is not here yet: {cut(sentence(job.error), 300)}"
    if job.state is JobState.UPLOADING:
        return "fetching and checking the new version"
    if job.state is JobState.QUEUED and job.attempt:
        return f"attempt {job.attempt} did not work out; the next one follows"
    if job.state is JobState.LEASED and job.error:  # the trainer is away, which may last
        return f"not begun yet: {cut(sentence(job.error), 300)}"
    if ahead:
        return f"waiting, {ahead} ahead"
    if job.state is JobState.QUEUED or progress is None or ahead is not None:
        return PHASES[Phase.QUEUED]
    words = [PHASES[progress.phase]]
    if progress.epochs:
        words.append(f"epoch {min(progress.epoch, progress.epochs)} of {progress.epochs}")
    if progress.loss is not None:
        words.append(f"loss {progress.loss:.2f}")
    if progress.eta_seconds is not None:
        words.append(f"about {duration(progress.eta_seconds)} left")
    return " · ".join(words)


def result_card(update: JobUpdate) -> Card:
    """The verdict first, then why, then the numbers and what changed for each label."""
    job = update.job
    match job.state:
        case JobState.SUCCEEDED if update.version is not None:
            return _verdict_card(update, update.version)
        case JobState.CANCELLED:
            return _no_version(update, "Training cancelled", "Nothing changed.", Tone.NEUTRAL)
        case JobState.ABANDONED:
            return _no_version(update, "Training given up", job.error or "The trainer did not answer.", Tone.BAD)
        case JobState.FAILED:
            return _no_version(update, "Training failed", job.error or "The trainer did not say why.", Tone.BAD)
    return Card(title="Training ended", body=f"{update.serving} answers for {update.classifier.name}.")


def _no_version(update: JobUpdate, title: str, why: str, tone: Tone) -> Card:
    name = update.classifier.name
    return Card(
        title=f"{title}: {name}",
        body=f"{cut(sentence(why), 1500)} {update.serving} keeps answering.",
        tone=tone,
        rows=((Button("Train again", f"train:{name}", Style.BLUE),),),
    )


def morning_card(update: JobUpdate) -> Card:
    """In the morning, or later, for a training that failed in the night: one plain sentence or two."""
    job, name = update.job, update.classifier.name
    why = cut(sentence(job.error or "The trainer did not say why."), 1000)
    return Card(
        f"The training of {code(name)} in the night ({when(job.updated_at)}) did not work out: {why} "
        f"{update.serving} keeps answering; no label is lost.",
        rows=((Button("Train again", f"train:{name}", Style.BLUE),),),
    )


def _verdict_card(update: JobUpdate, version: ModelVersion) -> Card:
    live = is_live(update, version)
    name, number = update.classifier.name, version.number
    report = update.report
    decide: tuple[Button, ...] = ()  # whose files are damaged cannot go live
    if live:
        decide = (Button("Roll back", f"rollback:{name}:{number}"),)
    elif version.state is not VersionState.DAMAGED:
        decide = (Button("Promote" if update.passed else "Promote anyway", f"promote:{name}:{number}", Style.BLUE),)
    fields = [("Pinned tests", tried_words(update.pins))] if update.pins else []
    return Card(
        title=verdict_words(update, version),
        body=_why(update, version, live=live),
        fields=(*fields, *(() if report is None else report_fields(report))),
        footer=name,
        tone=Tone.GOOD if live else Tone.CAREFUL,
        rows=((*_looks(update, version), *decide),),
    )


def _looks(update: JobUpdate, version: ModelVersion) -> tuple[Button, ...]:
    """Buttons that show more of what was measured, where anything was."""
    if update.report is None or not update.report.outcomes:
        return ()
    which = f"{update.classifier.name}:{version.number}"
    return Button("What changed", f"flips:{which}"), Button("Confusion", f"confusion:{which}")


def is_live(update: JobUpdate, version: ModelVersion) -> bool:
    """Whether this version answers now."""
    return version.state is VersionState.CHAMPION or update.serving.partition("+")[0] == version_name(version.number)


def verdict_words(update: JobUpdate, version: ModelVersion) -> str:
    """ "v1 is live: 0.84 → 0.87 on 118 held-out texts, 94 % likely better"; "Kept v1: …", "v1 was live: …", …"""
    name = version_name(version.number)
    if is_live(update, version):
        return f"{name} is live{gain_words(update.report)}"
    if version.state is VersionState.RETIRED:
        return f"{name} was live{gain_words(update.report)}"
    if version.state is VersionState.DAMAGED:
        return f"The files of {name} are damaged{gain_words(update.report)}"
    kept = update.report.champion if update.report is not None else update.serving
    if broken := newly_broken(update.pins):
        return f"Kept {kept}: {name} breaks {counted(len(broken), 'pinned test')}"
    if update.passed:
        return f"{name} is ready{gain_words(update.report)}"
    return f"Kept {kept}{gain_words(update.report, candidate=name)}"


def gain_words(report: EvaluationReport | None, candidate: str = "") -> str:
    """ ": 0.84 → 0.87 on 118 held-out texts, 94 % likely better"; with `candidate` ": v2 got 0.83 instead of …"."""
    if report is None or not report.outcomes:
        return ""
    before, after = f"{report.champion_accuracy:.2f}", f"{report.candidate_accuracy:.2f}"
    rows = len(report.outcomes)
    on = f"on {rows:,} held-out text{'s' if rows != 1 else ''}"
    if candidate:
        return f": {candidate} got {after} instead of {before} {on}"
    chance = chance_words(figures(report).chance_better)
    return f": {before} → {after} {on}{f', {chance}' if chance else ''}"


def _why(update: JobUpdate, version: ModelVersion, *, live: bool) -> str:
    reason = update.decision.reason if update.decision is not None else version.decision
    if live and update.passed and update.report is not None:
        better = f"Better than {escaped(update.report.champion)}."  # its figures stand in the title and in the fields
        return " ".join(filter(None, [better, price_words(update.report)]))
    words = [cut(sentence(reason), 1500)] if reason else []
    if live:
        words.append("A lead made it live all the same.")
    elif version.state is VersionState.RETIRED:
        words.append("It answers again when a lead promotes it.")
    return " ".join(words)


FELL_BY, FELL_TEXTS = 0.1, 2
"""Recall and texts that a label has to lose to be named: less is chance as a rule."""


def price_words(report: EvaluationReport) -> str:
    """The label that pays most for what the others gain: "But `bug` fell from 0.85 to 0.70 (3 of 20 texts)." """
    label = max(report.labels, key=lambda each: each.champion_recall - each.recall, default=None)
    fell = 0.0 if label is None else label.champion_recall - label.recall
    if label is None or fell < FELL_BY or round(fell * label.rows) < FELL_TEXTS:
        return ""
    texts = f"{round(fell * label.rows)} of {counted(label.rows, 'text')}"
    return f"But {code(label.label)} fell from {label.champion_recall:.2f} to {label.recall:.2f} ({texts})."


def report_fields(report: EvaluationReport) -> tuple[tuple[str, str], ...]:
    """What changed, what was measured and how far the confidence can be trusted, as fields of a card."""
    found = figures(report)
    fields = [("In numbers", _numbers(report, found))]
    if found.rows:
        fields = [("What changed, by label", changes(report, found)), *fields, ("How far to trust it", _trust(report))]
    return tuple(fields)


def _numbers(report: EvaluationReport, found: Figures) -> str:
    lines = []
    if found.rows:
        low, high = found.accuracy
        words = [
            f"accuracy {low:.2f} to {high:.2f} with 95 % certainty",
            f"macro-F1 {report.champion_macro_f1:.2f} → {report.candidate_macro_f1:.2f}",
        ]
        lines.append(_line(words))
    if knows_its_origin(report):
        lines.append(_line([escaped(origin_words(report.kind, report.started_from)), other_words(found.other)], ". "))
    learned = f"{counted(report.train_rows, 'text')} to learn from, {report.golden_rows:,} kept aside"
    took = f"took {duration(sum(report.seconds.values()))}" if report.seconds else ""
    lines.append(_line([learned, took, weight_words(report.encoder_bytes, report.milliseconds)]))
    return "\n".join(lines)


def _line(parts: Sequence[str], separator: str = " · ") -> str:
    """What there is of the parts as one line that begins with a capital."""
    line = separator.join(filter(None, parts))
    return line[:1].upper() + line[1:]


def _trust(report: EvaluationReport) -> str:
    certainty = report.certainty
    if certainty is None:
        return calibration_words(report.calibration_error, None)
    calibration = calibration_words(report.calibration_error, certainty.calibration_error_before)
    return "\n".join([coverage_words(certainty), calibration, scope_words(certainty)])


def changes(report: EvaluationReport, found: Figures) -> str:
    """How many answers differ, and the recall of the labels that changed most; the others are counted."""
    differ = found.flips
    ordered = sorted(report.labels, key=lambda label: (-abs(label.recall - label.champion_recall), label.label))
    changed = [label for label in ordered if label.rows and label.recall != label.champion_recall]
    shown = changed[:LABEL_ROWS]
    width = column(["label", *(label.label for label in shown)], LABEL_WIDTH)
    lines = [f"{'label':<{width}} before  now texts", *(_change(label, width) for label in shown)] if shown else []
    if (left := len(changed) - LABEL_ROWS) > 0:
        lines.append(f"and {left} more, which changed less")
    if same := sum(label.rows > 0 for label in ordered) - len(changed):
        lines.append(f"{counted(same, 'label')} as before")
    if unmeasured := sum(not label.rows for label in ordered):
        lines.append(f"{counted(unmeasured, 'label')} without a text to measure on")
    told = flip_words(len(differ.fixed), len(differ.broken), len(differ.still_wrong))
    words = sentence(_line([told, chance_words(found.chance_better), surer_words(found.surer)], "; "))
    return f"{words}\n{block(lines)}" if lines else words


def _change(label: LabelReport, width: int) -> str:
    name = f"{cut(label.label, width):<{width}}"
    return f"{name}   {label.champion_recall:.2f} {label.recall:.2f} {label.rows:>5}"


def schedule_words(schedule: Schedule | None) -> str:
    """When a classifier retrains by itself, in one sentence."""
    if schedule is None or not schedule.enabled or not (schedule.cron or schedule.after_labels):
        return "It does not retrain by itself; `/train schedule` changes that."
    when = []
    if schedule.cron:
        when.append(f"{cron_words(schedule.cron)} ({schedule.timezone})")
    if schedule.after_labels:
        when.append(f"after {schedule.after_labels:,} new labels")
    words = f"It retrains {' and '.join(when)}, if there is something new"
    if schedule.quiet is None:
        return f"{words}."
    zone = "" if schedule.cron else f" ({schedule.timezone})"
    return f"{words}, but not between {' and '.join(schedule.quiet.split('-'))}{zone}: what comes due then waits."


def next_runs_words(schedule: Schedule | None, now: datetime) -> str:
    """The next three times of day at which it looks, each in the reader's own time zone; "" where there is no clock."""
    if schedule is None or not schedule.enabled or not schedule.cron:
        return ""
    runs = next_slots(schedule.cron, schedule.timezone, now, quiet=schedule.quiet, last_slot=schedule.last_slot)
    return "\nNext, by your clock: " + ", ".join(when(run.timestamp(), "f") for run in runs) + "."


def cron_words(cron: str) -> str:
    """ "0 3 * * *" → "every day at 03:00"; other crontabs as they are."""
    time = time_of_day(cron)
    return f"every day at {time}" if time else f"at `{cron.replace('`', '')}`"


def time_of_day(cron: str) -> str:
    """ "0 3 * * *" → "03:00"; "" for a crontab that is not one time every day."""
    fields = cron.split()
    if len(fields) == 5 and fields[0].isdigit() and fields[1].isdigit() and fields[2:] == ["*", "*", "*"]:
        return f"{int(fields[1]):02d}:{int(fields[0]):02d}"
    return ""
