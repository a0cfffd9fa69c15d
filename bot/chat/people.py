"""Who pressed or typed something: from a Discord interaction to the Actor that the services check.

The role is worked out anew for every interaction from what Discord's servers say about the member; nothing that the
client hides or shows counts as protection.
"""

from __future__ import annotations

from typing import Any

import discord

from bot.services.people import Actor, Role
from storage.errors import InvalidInput


def actor_of(interaction: discord.Interaction[Any], operators: frozenset[str]) -> Actor:
    """The person behind an interaction.

    Raises:
        InvalidInput: outside a server (direct messages have no classifiers).
    """
    if interaction.guild_id is None:
        raise InvalidInput("Pupil works in servers, where a team teaches it. Use this command in one of its channels.")
    user = interaction.user
    return Actor(
        guild=str(interaction.guild_id),
        id=str(user.id),
        name=user.display_name,
        role=role_of(interaction, operators),
        channel=home_channel(interaction),
    )


def role_of(interaction: discord.Interaction[Any], operators: frozenset[str]) -> Role:
    """Operator by id, lead by *Manage Server* or by owning the server, else member."""
    if str(interaction.user.id) in operators:
        return Role.OPERATOR
    owner = interaction.guild.owner_id if interaction.guild is not None else None
    permissions = interaction.permissions
    if permissions.manage_guild or permissions.administrator or owner == interaction.user.id:
        return Role.LEAD
    return Role.MEMBER


def home_channel(interaction: discord.Interaction[Any]) -> str | None:
    """The channel whose default classifier counts: for a thread the channel it belongs to."""
    channel = interaction.channel
    if isinstance(channel, discord.Thread):
        return str(channel.parent_id)
    return str(interaction.channel_id) if interaction.channel_id is not None else None


def operators_of(configured: tuple[str, ...], application: discord.AppInfo | None) -> frozenset[str]:
    """The operators: those configured, else the application's owner (of a team: its owner)."""
    if configured or application is None:
        return frozenset(configured)
    owner = application.team.owner_id if application.team is not None else application.owner.id
    return frozenset({str(owner)}) if owner is not None else frozenset()
