"""The commands, one module per subject. Each cog holds its commands and the buttons that follow from them."""

from __future__ import annotations

from bot.chat.cogs.asking import Asking
from bot.chat.cogs.base import PupilCog
from bot.chat.cogs.classifier import ClassifierCommands
from bot.chat.cogs.conflicts import Conflicts
from bot.chat.cogs.correcting import Correcting
from bot.chat.cogs.curating import Curating
from bot.chat.cogs.decisions import Decisions
from bot.chat.cogs.examples import ExampleCommands
from bot.chat.cogs.general import General
from bot.chat.cogs.history import History
from bot.chat.cogs.insight import Insight
from bot.chat.cogs.labeling import Labeling
from bot.chat.cogs.labels import LabelCommands
from bot.chat.cogs.models import ModelCommands
from bot.chat.cogs.morning import Morning
from bot.chat.cogs.pins import PinCommands
from bot.chat.cogs.privacy import PrivacyCommands
from bot.chat.cogs.proposing import Proposing
from bot.chat.cogs.setup import Setup
from bot.chat.cogs.teaching import Teaching
from bot.chat.cogs.training import TrainCommands

COGS: tuple[type[PupilCog], ...] = (
    Asking,
    Labeling,
    Teaching,
    History,
    Correcting,
    Proposing,
    Insight,
    LabelCommands,
    ExampleCommands,
    Curating,
    Conflicts,
    ClassifierCommands,
    TrainCommands,
    ModelCommands,
    PinCommands,
    Decisions,
    General,
    PrivacyCommands,
    Setup,
    Morning,
)
