"""Autocompletes. They only suggest: what is typed is checked again by the service. They never fail and never wait long.

Discord shows "loading options failed" when an autocomplete raises or takes three seconds; an empty list is kinder.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import zoneinfo
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import discord
from discord import app_commands

from bot.chat.people import actor_of, home_channel
from bot.chat.text import cut, percent
from storage.errors import UserError
from storage.records import Classifier, ModelVersion, normalise, version_name

if TYPE_CHECKING:
    from bot.chat.client import PupilBot

log = logging.getLogger(__name__)

MOST = 25
SECONDS = 1.5
"""Half of Discord's limit: the rest is for the network and a busy event loop."""

Interaction: TypeAlias = "discord.Interaction[PupilBot]"
Choices = list[app_commands.Choice[str]]
Suggest = Callable[[Interaction, str], Awaitable[Choices]]


def _calm(suggest: Suggest) -> Callable[[Interaction, str], Any]:
    """The suggestions, or none: whatever goes wrong, and however long it would take."""

    @functools.wraps(suggest)
    async def calmly(interaction: Interaction, current: str) -> Choices:
        if interaction.client.stopping or interaction.guild_id is None:
            return []
        try:
            async with asyncio.timeout(SECONDS):
                return (await suggest(interaction, current))[:MOST]
        except UserError:  # no classifier yet, or several: the command itself will say so
            return []
        except Exception as error:
            log.warning("autocomplete.failed", extra={"kind": suggest.__name__, "error": type(error).__name__})
            return []

    return calmly


async def _classifier(interaction: Interaction) -> Classifier:
    """The one that the options typed so far are about. Raises UserError: there is none yet, or several."""
    return await interaction.client.services.classifiers.resolve(
        str(interaction.guild_id), getattr(interaction.namespace, "classifier", None), home_channel(interaction)
    )


@_calm
async def labels(interaction: Interaction, current: str) -> Choices:
    """Labels that contain what is typed, the model's best guess for the text typed so far first."""
    services = interaction.client.services
    classifier = await _classifier(interaction)
    text = str(getattr(interaction.namespace, "text", None) or "")
    ranked = await services.labeling.suggest(classifier, text, current)
    has = await services.labeling.label_of(classifier, text) if text.strip() else None
    return [
        app_commands.Choice(name=_label_words(name, share, is_its=name == has), value=name) for name, share in ranked
    ]


def _label_words(name: str, share: float | None, *, is_its: bool) -> str:
    """ "bug · 62 %"; "bug · 62 % · its label now" warns whoever is about to give a text another one."""
    words = [name, "" if share is None else percent(share), "its label now" if is_its else ""]
    return cut(" · ".join(filter(None, words)), 100)


@_calm
async def archived_labels(interaction: Interaction, current: str) -> Choices:
    """Archived and merged labels that contain what is typed."""
    services = interaction.client.services
    classifier = await _classifier(interaction)
    wanted = current.casefold().strip()
    found = [label.name for label in await services.curation.archived(classifier)]
    return [app_commands.Choice(name=name, value=name) for name in found if wanted in name.casefold()]


@_calm
async def classifiers(interaction: Interaction, current: str) -> Choices:
    """Classifiers of this server whose name contains what is typed."""
    found = await interaction.client.services.classifiers.list(str(interaction.guild_id))
    wanted = current.casefold().strip()
    return [app_commands.Choice(name=item.name, value=item.name) for item in found if wanted in item.name]


@_calm
async def archived(interaction: Interaction, current: str) -> Choices:
    """Archived classifiers of this server whose name contains what is typed."""
    found = await interaction.client.services.classifiers.archived(str(interaction.guild_id))
    wanted = current.casefold().strip()
    return [app_commands.Choice(name=item.name, value=item.name) for item in found if wanted in item.name]


@_calm
async def versions(interaction: Interaction, current: str) -> Choices:
    """Versions of the classifier meant, newest first, with v0 (the base encoder with the labels so far) last."""
    services = interaction.client.services
    classifier = await _classifier(interaction)
    known = await services.promotion.versions(classifier)
    named = [(version_name(item.number), _version_words(item)) for item in known]
    named.append(("v0", "v0 · not trained: label names and the labels so far"))
    return [app_commands.Choice(name=name, value=value) for value, name in named if current.strip() in value]


def _version_words(version: ModelVersion) -> str:
    """ "v3 · retired"; whoever is about to promote it sees that this cannot be."""
    words = f"{version_name(version.number)} · {version.state.value}"
    return words if version.files_deleted_at is None else f"{words} · files deleted"


@_calm
async def pins(interaction: Interaction, current: str) -> Choices:
    """Pinned tests of the classifier meant whose text contains what is typed, newest first; none for who may not."""
    services = interaction.client.services
    classifier = await _classifier(interaction)
    settings = services.setup.settings(str(interaction.guild_id))
    found = await services.pins.known(actor_of(interaction, interaction.client.operators, settings), classifier)
    wanted = normalise(current)
    matching = [pin for pin in found if wanted in normalise(pin.text)]
    return [
        app_commands.Choice(name=cut(f"{pin.label}: {' '.join(pin.text.split())}", 100), value=f"#{pin.id}")
        for pin in matching
    ]


@_calm
async def timezones(interaction: Interaction, current: str) -> Choices:
    """Time zones whose name contains what is typed."""
    wanted = current.casefold().strip().replace(" ", "_")
    names = await asyncio.to_thread(_timezones)
    return [app_commands.Choice(name=name, value=name) for name in names if wanted in name.casefold()]


@functools.cache
def _timezones() -> tuple[str, ...]:
    return tuple(sorted(zoneinfo.available_timezones(), key=lambda name: (name != "UTC", name)))
