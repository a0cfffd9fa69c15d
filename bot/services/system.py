"""The use-cases, side by side: what the chat, the API and the CLI are given. In the order of `bot.app`."""

from __future__ import annotations

from dataclasses import dataclass

from bot.services.classifiers import ClassifierService
from bot.services.comparison import ComparisonService
from bot.services.conflicts import ConflictService
from bot.services.curation import CurationService
from bot.services.decisions import DecisionService
from bot.services.examples import ExampleService
from bot.services.forecast import ForecastService
from bot.services.imports import ImportService
from bot.services.labeling import LabelingService
from bot.services.lesson import LessonService
from bot.services.morning import MorningNews
from bot.services.pins import PinService
from bot.services.prediction import PredictionService
from bot.services.privacy import PrivacyService
from bot.services.promotion import PromotionService
from bot.services.proposing import ProposingService
from bot.services.retention import RetentionService
from bot.services.reverting import RevertingService
from bot.services.setup import SetupService
from bot.services.status import StatusService
from bot.services.sureness import SurenessService
from bot.services.suspects import SuspectService
from bot.services.teaching import TeachingService
from bot.services.training import TrainingService
from bot.services.why import WhyService


@dataclass(frozen=True, slots=True)
class Services:
    classifiers: ClassifierService
    labeling: LabelingService
    teaching: TeachingService
    imports: ImportService
    lesson: LessonService
    proposing: ProposingService
    examples: ExampleService
    curation: CurationService
    conflicts: ConflictService
    reverting: RevertingService
    suspects: SuspectService
    training: TrainingService
    promotion: PromotionService
    pins: PinService
    decisions: DecisionService
    comparison: ComparisonService
    forecast: ForecastService
    morning: MorningNews
    prediction: PredictionService
    why: WhyService
    status: StatusService
    sureness: SurenessService
    setup: SetupService
    privacy: PrivacyService
    retention: RetentionService
