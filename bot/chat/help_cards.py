"""Cards of `/help`: all commands by what one wants to do, and one topic with a sentence for each. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bot.chat.cards import Card, Choice, Menu

TOPICS = {
    "Ask and teach": ("ask", "why", "label", "teach", "undo", "history", "stats", "help"),
    "Look after labels and texts": ("labels", "examples", "conflicts", "suspects"),
    "Train, and decide what goes live": ("train", "model", "pin"),
    "Set it up": ("setup", "classifier", "status"),
    "Your own data": ("privacy",),
}
"""Heading → the commands and groups under it. A test sees to it that none is missing."""


@dataclass(frozen=True, slots=True)
class Described:
    """One command, as people are told of it."""

    name: str
    """With its group: "train now"."""
    mention: str
    """Clickable where possible."""
    description: str


def help_card(commands: Sequence[Described]) -> Card:
    """What teaching means, and every command by topic; a menu tells more of one."""
    fields = [(topic, " ".join(command.mention for command in _of(topic, commands))) for topic in TOPICS]
    return Card(
        title="Pupil learns from you",
        body=(
            "Label short texts with /label, or answer its questions with /teach: the next answer to /ask takes them "
            "into account at once. When enough is new, a training makes the model deeper; it goes live only if it does "
            "better on texts it has not seen."
        ),
        fields=tuple((topic, words) for topic, words in fields if words),
        footer="Only what you type into a command, a form or a file teaches the bot; it never reads the chat.",
        rows=(_menu(),),
    )


def topic_card(topic: str, commands: Sequence[Described]) -> Card:
    """One topic, a sentence for each of its commands; an unknown one is the overview."""
    if topic not in TOPICS:
        return help_card(commands)
    lines = [f"{command.mention} {command.description}" for command in _of(topic, commands)]
    return Card(title=topic, body="\n".join(lines), rows=(_menu(),))


def _of(topic: str, commands: Sequence[Described]) -> list[Described]:
    order = {name: place for place, name in enumerate(TOPICS[topic])}
    mine = [command for command in commands if command.name.partition(" ")[0] in order]
    return sorted(mine, key=lambda command: order[command.name.partition(" ")[0]])


def _menu() -> Menu:
    return Menu("help", "Tell me more about …", tuple(Choice(topic, topic) for topic in TOPICS))
