"""Who pressed or typed something: from a Discord interaction to the Actor that the services check.

The role is worked out anew for every interaction from what Discord's servers say about the member; nothing that the
client hides or shows counts as protection.
"""

from __future__ import annotations

from typing import Any

import discord

from bot.services.people import Actor, Role
from storage.errors import InvalidInput
from storage.records import GuildSettings

NOTHING_CHOSEN = GuildSettings()


def actor_of(
    interaction: discord.Interaction[Any], operators: frozenset[str], settings: GuildSettings = NOTHING_CHOSEN
) -> Actor:
    """The person behind an interaction. `settings`: what the leads of that server chose.

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
        role=role_of(interaction, operators, settings),
        channel=home_channel(interaction),
        member_role=settings.member_role,
    )


def role_of(
    interaction: discord.Interaction[Any], operators: frozenset[str], settings: GuildSettings = NOTHING_CHOSEN
) -> Role:
    """Operator by id; lead by *Manage Server*, by owning the server or by the leads' role; member by the members' role.

    Until there is a members' role, everybody else is a member; then, without it, a guest.
    """
    if str(interaction.user.id) in operators:
        return Role.OPERATOR
    owner = interaction.guild.owner_id if interaction.guild is not None else None
    permissions = interaction.permissions
    if permissions.manage_guild or permissions.administrator or owner == interaction.user.id:
        return Role.LEAD
    if _has(interaction, settings.lead_role):
        return Role.LEAD
    if settings.member_role is None or _has(interaction, settings.member_role):
        return Role.MEMBER
    return Role.GUEST


def _has(interaction: discord.Interaction[Any], role: str | None) -> bool:
    """Whether the person has a role, as Discord's server says with this very interaction."""
    user = interaction.user
    return role is not None and isinstance(user, discord.Member) and user.get_role(int(role)) is not None


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
