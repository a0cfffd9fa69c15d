"""The use-cases, side by side: what the chat, the API and the CLI are given."""

from __future__ import annotations

from dataclasses import dataclass

from bot.services.classifiers import ClassifierService
from bot.services.decisions import DecisionService
from bot.services.labeling import LabelingService
from bot.services.lesson import LessonService
from bot.services.pins import PinService
from bot.services.prediction import PredictionService
from bot.services.promotion import PromotionService
from bot.services.status import StatusService
from bot.services.sureness import SurenessService
from bot.services.training import TrainingService


@dataclass(frozen=True, slots=True)
class Services:
    classifiers: ClassifierService
    labeling: LabelingService
    prediction: PredictionService
    training: TrainingService
    promotion: PromotionService
    lesson: LessonService
    status: StatusService
    sureness: SurenessService
    pins: PinService
    decisions: DecisionService
