"""Cards that give an overview: labels, classifiers, versions, statistics, the bot's state. Pure functions."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bot.chat.answer_cards import version_words
from bot.chat.cards import Button, Card, Tone
from bot.chat.paging import page_of, place_words, rows_of, turns
from bot.chat.text import (
    block,
    code,
    counted,
    cut,
    duration,
    escaped,
    listed,
    meter,
    named,
    percent,
    person_words,
    when,
)
from bot.chat.training_cards import schedule_words
from bot.services.agreement import LEAST_TEXTS
from storage.records import (
    FALLBACK,
    Classifier,
    LabelCount,
    ModelVersion,
    Origin,
    Promotion,
    Schedule,
    Sureness,
    VersionState,
    version_name,
)
from storage.report_figures import sureness_words

if TYPE_CHECKING:
    from bot.services.classifiers import Stats, ToldAgreement

MOST_LABELS = 40
"""In statistics; the list has pages."""
LABELS_A_PAGE = 40
VERSIONS_A_PAGE = 10
MOST_PEOPLE = 8
WIDTH = 24


def labels_card(classifier: Classifier, counts: Sequence[LabelCount], page: int = 0) -> Card:
    """Every label with how many texts say it, the fewest last, page by page; names what still has none."""
    if not counts:
        return Card(f"{code(classifier.name)} has no labels yet. A lead adds them with /labels create.")
    ordered = sorted(counts, key=lambda count: -count.total)
    empty = [code(count.label.name) for count in ordered if not count.total]
    without = f"\nStill without a text: {listed(empty, 10)}." if empty else ""
    shown = page_of(ordered, page, LABELS_A_PAGE)
    return Card(
        title=f"Labels of {classifier.name}",
        body=block(_label_lines(shown.items, ordered[0].total)) + without,
        footer=place_words(shown.number, shown.pages, _totals(ordered)),
        rows=rows_of(turns(f"labels:{classifier.name}", shown.number, shown.pages)),
    )


def _label_table(counts: Sequence[LabelCount]) -> str:
    """The labels with the most texts; /labels list has the others."""
    lines = _label_lines(counts[:MOST_LABELS], counts[0].total)
    if (left := len(counts) - MOST_LABELS) > 0:
        lines.append(f"and {left} more: /labels list")
    return block(lines)


def _label_lines(counts: Sequence[LabelCount], most: int) -> list[str]:
    """One line each; `most` is the longest bar's number of texts."""
    shown = [(cut(count.label.name, WIDTH), count.total) for count in counts]
    width = max((len(name) for name, _ in shown), default=0)
    return [f"{name:<{width}} {total:>5} {meter(total / max(1, most), 10)}".rstrip() for name, total in shown]


def _totals(counts: Sequence[LabelCount]) -> str:
    train, golden = sum(count.train for count in counts), sum(count.golden for count in counts)
    return f"{counted(len(counts), 'label')} · {train:,} texts to learn from · {golden:,} kept aside to measure"


def classifiers_card(classifiers: Sequence[Classifier], default: str | None) -> Card:
    """The classifiers of a server; `default` is the one meant in this channel."""
    if not classifiers:
        return Card("There is no classifier here yet. A lead creates one with /classifier create.")
    lines = [_classifier_line(classifier, classifier.name == default) for classifier in classifiers]
    return Card(title="Classifiers", body=listed(lines, 50, "\n"))


def _classifier_line(classifier: Classifier, is_default: bool) -> str:
    facts = ["used in this channel"] if is_default else []
    if classifier.based_on is not None:
        facts.append(f"based on {source_words(classifier.based_on)}")
    return f"{code(classifier.name)} — {', '.join(facts)}" if facts else code(classifier.name)


def source_words(origin: Origin) -> str:
    """ "`support` v3"."""
    return f"{code(origin.classifier)} {version_name(origin.number)}"


def based_words(classifier: Classifier) -> str:
    """For whoever decided what a classifier is based on."""
    if classifier.based_on is None:
        return f"{code(classifier.name)} is based on no other classifier: its next training starts from the base model."
    words = source_words(classifier.based_on)
    return (
        f"{code(classifier.name)} is based on {words} now: its next training starts from what that has learned. Its "
        "answers stay as they are until then. `none` takes it back."
    )


def sure_words(classifier: str, sureness: Sureness) -> str:
    """How sure it has to be, for whoever asks or has decided it."""
    return f"{code(classifier)}: {sureness_words(sureness)} Below that it says that it is not sure."


def versions_card(
    classifier: Classifier,
    versions: Sequence[ModelVersion],
    promotions: Sequence[Promotion],
    now: float,
    page: int = 0,
) -> Card:
    """Versions, newest first, the live one marked, each with its exam; and the last change of what is live."""
    if not versions:
        return Card(
            f"{code(classifier.name)} has no trained version yet. It answers from the label names and the labels so "
            "far (v0). A lead trains one with /train now."
        )
    shown = page_of(versions, page, VERSIONS_A_PAGE)
    lines = [version_line(version, now) for version in shown.items]
    live = next((version.number for version in versions if version.state is VersionState.CHAMPION), 0)
    latest = [] if live else ["v0 is live: the pretrained model with the labels so far."]
    if promotions:
        latest.append(f"Last change: {promotion_words(promotions[0])}.")
    back = (Button("Roll back", f"rollback:{classifier.name}:{live}"),) if live else ()
    return Card(
        title=f"Versions of {classifier.name}",
        body="\n".join([*lines, "", *latest]).strip(),
        footer=place_words(shown.number, shown.pages, counted(len(versions), "version")),
        rows=rows_of(turns(f"versions:{classifier.name}", shown.number, shown.pages), back),
    )


def version_line(version: ModelVersion, now: float) -> str:
    """ "**v3** live · 0.84 → 0.87 on 118 texts · 2 h ago"."""
    state = {VersionState.CHAMPION: "live", VersionState.RETIRED: "was live", VersionState.DAMAGED: "damaged"}
    words = [f"**{version_name(version.number)}** {state.get(version.state, 'not live')}", exam_words(version)]
    if version.files_deleted_at is not None:
        words.append(f"files deleted on {when(version.files_deleted_at, 'D')}")
    return " · ".join([*filter(None, words), f"{duration(max(0.0, now - version.created_at))} ago"])


def exam_words(version: ModelVersion) -> str:
    """The exam of a version in few words; empty where its report cannot be read."""
    try:  # of a list's ten reports only these figures: making records of all their rows would hold up the loop
        report = json.loads(version.report)
        before, after, texts = report["champion_accuracy"], report["candidate_accuracy"], len(report["outcomes"])
        return f"{before:.2f} → {after:.2f} on {texts:,} texts"
    except (ValueError, TypeError, LookupError, RecursionError):
        return ""


def promotion_words(promotion: Promotion) -> str:
    change = f"{version_name(promotion.previous)} → {version_name(promotion.number)}"
    if promotion.by == FALLBACK:
        return f"{change}, because {promotion.reason}"
    return f"{change} by {'the gate' if promotion.by == 'gate' else person_words(promotion.by)}"


def stats_card(stats: Stats, schedule: Schedule | None, sureness: Sureness | None = None, forecast: str = "") -> Card:
    """What a classifier knows, how it does, and who teaches it.

    `sureness`: None where its model is not in memory; `forecast`: what more labels would bring, in words.
    """
    judged = stats.right + stats.wrong
    verdict = f"{stats.right:,} right, {stats.wrong:,} wrong" if judged else "nobody has judged an answer yet"
    people = [f"{named(who, name)} {given:,}" for who, name, given in stats.annotators]
    exam = exam_words(stats.champion) if stats.champion is not None else ""
    fields = [
        ("Answers", f"{version_words(stats.version)}\n{counted(stats.asked, 'question')} asked; {verdict}"),
        ("Training", f"{counted(stats.new_since, 'new label')} since the last one. {schedule_words(schedule)}"),
    ]
    if stats.classifier.based_on is not None:
        fields.append(("Based on", source_words(stats.classifier.based_on)))
    if exam:
        fields.insert(1, ("Its exam", exam))
    if sureness is not None:
        fields.append(("When it answers", sureness_words(sureness)))
    if forecast:
        fields.append(("What more labels would bring", forecast))
    if people:
        fields.append(("Taught by", listed(people, MOST_PEOPLE)))
    if stats.agreement is not None:
        fields.append(("Agreement", agreement_words(stats.agreement)))
    ordered = sorted(stats.labels, key=lambda count: -count.total)
    body = _label_table(ordered) if ordered else "No labels yet. A lead adds them with /labels create."
    waiting = f" · {stats.waiting:,} without a label, for /teach" if stats.waiting else ""
    return Card(title=stats.classifier.name, body=body, fields=tuple(fields), footer=_totals(ordered) + waiting)


def agreement_words(told: ToldAgreement) -> str:
    """Krippendorff's alpha, where people agree least, and how often each says what the others say."""
    if told.texts < LEAST_TEXTS:
        so_far = {0: "there is none", 1: "there is 1"}.get(told.texts, f"there are {told.texts}")
        return f"Not known yet: it takes {LEAST_TEXTS} texts that two people have labelled, and {so_far}."
    if told.alpha is None:
        return f"The {told.texts:,} texts that two people have labelled all have the same label."
    labels = [f"{code(name)} {alpha:.2f}" for name, alpha in told.labels]
    people = [
        f"{named(who, name)} {percent(share)} of {counted(texts, 'text')}" for who, name, share, texts in told.people
    ]
    return (
        f"Krippendorff's alpha {told.alpha:.2f} on {told.texts:,} texts with two labels or more (1: always the same, "
        f"0: as by chance)\nBy label, least first: {listed(labels, MOST_PEOPLE)}\n"
        f"Same as the others: {listed(people, MOST_PEOPLE)}"
    )


def status_card(status: Mapping[str, Any]) -> Card:
    """The bot's state for its operator: whatever the status service says, one line each."""
    lines = [f"**{name}**: {value}" for name, value in map(_fact, status.items())]
    return Card(title="Status", body="\n".join(lines) or "Nothing to report.")


def _fact(item: tuple[str, Any]) -> tuple[str, str]:
    """Name and value in words, with the unit that the end of the name names."""
    key, value = item
    name, _, unit = key.rpartition("_")
    if isinstance(value, int | float):
        if unit == "seconds":
            return name.replace("_", " "), duration(value)
        if unit == "bytes":
            return name.replace("_", " "), f"{value / 1e9:,.1f} GB"
    return key.replace("_", " "), _plain(value)


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {told}" for name, told in map(_fact, value.items())) or "none"
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    if isinstance(value, float):
        return f"{value:,.1f}"
    if isinstance(value, list | tuple):
        return listed([_plain(item) for item in value], 10) or "none"
    return escaped(cut(str(value), 200))


def swap_card(classifier: str, promotion: Promotion, who: str) -> Card:
    """For the channel: which version answers now, whose decision it was, and the way back."""
    now, before = version_name(promotion.number), version_name(promotion.previous)
    if promotion.number < promotion.previous:
        text = f"{escaped(who)} rolled {code(classifier)} back: {now} answers now (was {before})."
    else:
        text = f"{escaped(who)} promoted {now} of {code(classifier)}: it answers now (was {before})."
    return Card(body=text, tone=Tone.GOOD, rows=((Button(f"Back to {before}", swap_id(classifier, promotion)),),))


def swapped_words(classifier: str, promotion: Promotion) -> str:
    """For whoever decided it."""
    now, before = version_name(promotion.number), version_name(promotion.previous)
    return f"Done: {now} of {code(classifier)} answers now (was {before})."


def swap_id(classifier: str, promotion: Promotion) -> str:
    """The id of the button that takes a swap back; it names what has to be live for it to make sense."""
    return f"swap:{classifier}:{promotion.number}:{promotion.previous}"
