"""Cards about one classifier as a whole: what is set, and putting it away. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence

from bot.chat.cards import Button, Card, Style, Tone
from bot.chat.overview_cards import source_words
from bot.chat.setup_cards import learning_words
from bot.chat.text import code, counted, escaped, listed, when
from bot.chat.training_cards import schedule_words
from storage.records import Classifier, LabelCount, Schedule

MOST_LABELS = 40


def settings_card(classifier: Classifier, labels: Sequence[LabelCount], schedule: Schedule | None) -> Card:
    """Everything that a lead can change, and where."""
    settings = classifier.settings
    names = [code(count.label.name) for count in labels]
    sure = f"{100 * settings.precision:.0f} of 100 answers right" if settings.precision else "what the model suggests"
    channel = f"<#{settings.team_channel}>" if settings.team_channel else "where a training is asked for"
    lines = [
        f"**Labels** ({len(names)}): {listed(names, MOST_LABELS) if names else 'none yet'}",
        f"**Answers from**: {sure}",
        f"**Team channel**: {channel}",
        f"**Learns from**: {learning_words(settings)}",
        f"**Training**: {schedule_words(schedule)}",
        f"**Pretrained model**: {escaped(classifier.base)}",
    ]
    if classifier.based_on is not None:
        lines.append(f"**Trainings start from**: {source_words(classifier.based_on)}")
    lines.append(f"**Created**: {when(classifier.created_at, 'D')}")
    return Card(
        title=f"Settings of {classifier.name}",
        body="\n".join(lines),
        footer="Leads change them with /setup, /classifier sure, /classifier base and /train schedule",
    )


def archive_card(classifier: Classifier, labels: Sequence[LabelCount]) -> Card:
    """What archiving means, before it is done."""
    texts = sum(count.total for count in labels)
    return Card(
        title=f"Archive {classifier.name}?",
        body=(
            f"It answers, learns and trains no more; a training under way is stopped. {counted(len(labels), 'label')} "
            f"and {counted(texts, 'labelled text')} stay as they are, and so does the name: no other classifier can "
            "have it. `/classifier restore` brings everything back."
        ),
        tone=Tone.CAREFUL,
        rows=(
            (
                Button("Archive", f"archive-classifier:{classifier.name}", Style.RED),
                Button("Keep it", "keep-classifier"),
            ),
        ),
    )


def archived_card(classifier: Classifier) -> Card:
    return Card(
        f"Archived {code(classifier.name)}. It answers no more; nothing was deleted.",
        rows=((Button("Undo", f"restore-classifier:{classifier.name}"),),),
    )
