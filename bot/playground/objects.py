"""The playground's fixed people and places, and Discord's complete JSON objects for them.

Complete matters: discord.py ends its connection at the first key it misses. Pure functions; knows no messages.
"""

from __future__ import annotations

from dataclasses import dataclass

from bot.playground.wire import Json, Permission

GUILD_ID = "100000000000000001"
APPLICATION_ID = "100000000000000002"
"""The bot's user has the id of its application, as on Discord."""
CHANNEL_IDS = {"support": "100000000000000010", "training": "100000000000000011"}
GUILD_NAME = "Pupil playground"
LOCALE = "en-US"

MEMBER_PERMISSIONS = (
    Permission.VIEW_CHANNEL
    | Permission.SEND_MESSAGES
    | Permission.EMBED_LINKS
    | Permission.ATTACH_FILES
    | Permission.READ_MESSAGE_HISTORY
    | Permission.USE_APPLICATION_COMMANDS
)
LEAD_PERMISSIONS = MEMBER_PERMISSIONS | Permission.MANAGE_GUILD | Permission.MENTION_EVERYONE
BOT_PERMISSIONS = MEMBER_PERMISSIONS | Permission.MENTION_EVERYONE | Permission.MANAGE_MESSAGES
_EPOCH = "2026-01-01T00:00:00+00:00"


@dataclass(frozen=True)
class Role:
    id: str
    name: str
    position: int


ROLES = {role.id: role for role in (Role("100000000000000200", "Teachers", 1), Role("100000000000000201", "Leads", 2))}
"""Beside @everyone, whose id is the guild's. They allow nothing by themselves: a bot may go by them."""
TEACHERS, LEADS = ROLES


@dataclass(frozen=True)
class User:
    """Someone in the guild. `colour`: how the page paints them; `roles`: ids of those they have."""

    id: str
    username: str
    global_name: str
    colour: str
    permissions: Permission = MEMBER_PERMISSIONS
    bot: bool = False
    roles: tuple[str, ...] = ()

    @property
    def is_lead(self) -> bool:
        return bool(self.permissions & Permission.MANAGE_GUILD)


@dataclass(frozen=True)
class Channel:
    id: str
    name: str
    topic: str
    position: int


MARIA = User("100000000000000100", "maria", "Maria", "#c2557f", LEAD_PERMISSIONS)
JONAS = User("100000000000000101", "jonas", "Jonas", "#2f7fb8", roles=(LEADS,))
ADA = User("100000000000000102", "ada", "Ada", "#4f8f4a", roles=(TEACHERS,))
BOT = User(APPLICATION_ID, "pupil", "Pupil", "#6a5acd", BOT_PERMISSIONS, bot=True)
PEOPLE = (MARIA, JONAS, ADA)
USERS = {user.id: user for user in (*PEOPLE, BOT)}
CHANNELS = {
    channel.id: channel
    for channel in (
        Channel(CHANNEL_IDS["support"], "support", "What customers write. Label it here, ask about it here.", 0),
        Channel(CHANNEL_IDS["training"], "training", "How the training goes.", 1),
    )
}


def user_object(user: User) -> Json:
    return {
        "id": user.id,
        "username": user.username,
        "discriminator": "0",
        "global_name": user.global_name,
        "avatar": None,
        "bot": user.bot,
        "system": False,
        "public_flags": 0,
        "flags": 0,
        "banner": None,
        "accent_color": None,
        "avatar_decoration_data": None,
        "collectibles": None,
        "clan": None,
        "primary_guild": None,
    }


def own_user_object(user: User) -> Json:
    """What GET /users/@me tells a bot about itself."""
    return user_object(user) | {
        "mfa_enabled": True,
        "locale": LOCALE,
        "premium_type": 0,
        "email": None,
        "verified": True,
    }


def member_object(user: User, *, with_user: bool = True, with_permissions: bool = False) -> Json:
    member: Json = {
        "nick": None,
        "avatar": None,
        "banner": None,
        "roles": list(user.roles),
        "joined_at": _EPOCH,
        "premium_since": None,
        "communication_disabled_until": None,
        "deaf": False,
        "mute": False,
        "pending": False,
        "flags": 0,
    }
    if with_user:
        member["user"] = user_object(user)
    if with_permissions:
        member["permissions"] = str(int(user.permissions))
    return member


def channel_object(channel: Channel) -> Json:
    return {
        "id": channel.id,
        "type": 0,
        "guild_id": GUILD_ID,
        "name": channel.name,
        "topic": channel.topic,
        "position": channel.position,
        "permission_overwrites": [],
        "nsfw": False,
        "parent_id": None,
        "rate_limit_per_user": 0,
        "last_message_id": None,
        "flags": 0,
    }


def role_object(role_id: str = GUILD_ID) -> Json:
    """A role; @everyone's id is the guild's."""
    role = ROLES.get(role_id, Role(GUILD_ID, "@everyone", 0))
    return {
        "id": role.id,
        "name": role.name,
        "description": None,
        "permissions": str(int(MEMBER_PERMISSIONS)) if role.id == GUILD_ID else "0",
        "position": role.position,
        "color": 0,
        "colors": {"primary_color": 0, "secondary_color": None, "tertiary_color": None},
        "hoist": False,
        "managed": False,
        "mentionable": False,
        "icon": None,
        "unicode_emoji": None,
        "flags": 0,
    }


def guild_object() -> Json:
    return {
        "id": GUILD_ID,
        "name": GUILD_NAME,
        "icon": None,
        "description": None,
        "banner": None,
        "splash": None,
        "discovery_splash": None,
        "home_header": None,
        "owner_id": MARIA.id,
        "region": "local",
        "afk_channel_id": None,
        "afk_timeout": 300,
        "system_channel_id": None,
        "system_channel_flags": 0,
        "rules_channel_id": None,
        "public_updates_channel_id": None,
        "safety_alerts_channel_id": None,
        "verification_level": 0,
        "default_message_notifications": 1,
        "explicit_content_filter": 0,
        "mfa_level": 0,
        "nsfw": False,
        "nsfw_level": 0,
        "premium_tier": 0,
        "premium_subscription_count": 0,
        "premium_progress_bar_enabled": False,
        "preferred_locale": LOCALE,
        "vanity_url_code": None,
        "widget_enabled": False,
        "widget_channel_id": None,
        "max_presences": None,
        "max_members": 1000,
        "max_video_channel_users": 25,
        "max_stage_video_channel_users": 50,
        "incidents_data": None,
        "application_id": None,
        "features": [],
        "emojis": [],
        "stickers": [],
        "roles": [role_object(), *map(role_object, ROLES)],
    }


def guild_create_object() -> Json:
    """The guild as the gateway's GUILD_CREATE tells it: with channels and all members.

    All, so that a client with the members intent needs to ask for no more.
    """
    return guild_object() | {
        "joined_at": _EPOCH,
        "large": False,
        "unavailable": False,
        "member_count": len(USERS),
        "members": [member_object(user) for user in USERS.values()],
        "channels": [channel_object(channel) for channel in CHANNELS.values()],
        "threads": [],
        "presences": [],
        "voice_states": [],
        "stage_instances": [],
        "guild_scheduled_events": [],
        "soundboard_sounds": [],
    }


def application_object() -> Json:
    return {
        "id": APPLICATION_ID,
        "name": BOT.global_name,
        "icon": None,
        "description": "",
        "bot": user_object(BOT),
        "bot_public": False,
        "bot_require_code_grant": False,
        "verify_key": "0" * 64,
        "flags": 0,
        "flags_new": "0",
        "type": None,
        "team": None,
        "owner": user_object(MARIA),
        "redirect_uris": [],
        "interactions_endpoint_url": None,
        "role_connections_verification_url": None,
        "approximate_guild_count": 1,
        "approximate_user_install_count": 0,
        "approximate_user_authorization_count": 0,
        "explicit_content_filter": 0,
        "event_webhooks_status": 1,
        "event_webhooks_types": [],
        "integration_types_config": {"0": {}},
        "tags": [],
        "summary": "",
        "is_monetized": False,
        "is_verified": False,
        "is_discoverable": False,
        "hook": True,
        "storefront_available": False,
        "eligible_oauth2_scopes": [],
    }
