"""The composition root: the whole system on one screen, in the order data flows.

chat event → example and label → snapshot → job → artifact and report → promotion → swap → prediction → feedback.
Everything is built here and handed what it needs; nothing else in the project constructs its own neighbours.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass

from bot.inference.engine import Engine
from bot.inference.insight import Studies
from bot.inference.instant import InstantMemory
from bot.inference.memory import available_memory, memory_for_models
from bot.inference.residents import Residents
from bot.local_trainer import LocalTrainer
from bot.playground.objects import CHANNEL_IDS, GUILD_ID
from bot.services.classifiers import ClassifierService
from bot.services.comparison import ComparisonService
from bot.services.conflicts import ConflictService
from bot.services.consent import Consent
from bot.services.curation import CurationService
from bot.services.decisions import DecisionService
from bot.services.drawing import Drawing
from bot.services.examples import ExampleService
from bot.services.forecast import ForecastService
from bot.services.imports import ImportService
from bot.services.job_runner import JobRunner
from bot.services.labeling import LabelingService
from bot.services.lesson import LessonService
from bot.services.morning import MorningNews
from bot.services.pins import PinService
from bot.services.prediction import PredictionService
from bot.services.privacy import PrivacyService
from bot.services.promotion import PromotionService
from bot.services.proposing import ProposingService
from bot.services.question_plans import QuestionPlans
from bot.services.reverting import RevertingService
from bot.services.serving import Serving
from bot.services.setup import SetupService
from bot.services.status import LoopLag, StatusService
from bot.services.sureness import SurenessService
from bot.services.suspects import SuspectService
from bot.services.system import Services
from bot.services.teaching import TeachingService
from bot.services.training import TrainingService
from bot.services.trials import TrialService
from bot.services.why import WhyService
from storage.artifacts import sweep
from storage.database import Database
from storage.settings import Settings, read_secret
from storage.stores import Stores
from trainer.client import TrainerClient

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class System:
    """Everything that runs, for `run` and the tests; commands need only `services`."""

    services: Services
    stores: Stores
    serving: Serving


@asynccontextmanager
async def open_services(settings: Settings) -> AsyncIterator[Services]:
    """The use-cases over this data directory, without chat, page or schedule: what a command-line call works with."""
    async with open_system(settings) as system:
        yield system.services


@asynccontextmanager
async def open_system(settings: Settings) -> AsyncIterator[System]:
    """Opens the database first (it is the lock on the data directory), the trainer last; closes in reverse.

    Raises:
        InstanceLocked, NewerDatabase, DamagedFile, ConfigurationError.
    """
    space = settings.space
    models, snapshots = space / "models", space / "snapshots"
    for folder in (space, models, snapshots):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    async with AsyncExitStack() as stack:
        # What is kept
        stores = Stores.over(await stack.enter_async_context(Database(space / "pupil.db")))
        sweep(models)
        # What trains and what answers
        trainer = await stack.enter_async_context(open_trainer(settings))
        engine = await stack.enter_async_context(
            Engine(settings.inference_threads, settings.queue_limit, settings.query_deadline)
        )
        memory = await stack.enter_async_context(InstantMemory(stores.examples, stores.classifiers, engine))
        budget = settings.model_memory << 20 if settings.model_memory else memory_for_models(available_memory())
        serving = Serving(stores, engine, memory, Residents(engine, budget), trainer, models, settings.precision)
        # What people do: name labels → label → train → promote → ask
        classifiers = ClassifierService(
            stores, base=settings.base, version_of=serving.version_of, changed=serving.touch
        )
        consent = Consent(await stores.privacy.opt_outs())
        labeling = LabelingService(stores, serving, consent, base=settings.base)
        plans = await stack.enter_async_context(QuestionPlans(stores, serving, engine))
        teaching = TeachingService(stores, labeling, plans, consent)
        curation = CurationService(stores, serving)
        conflicts = ConflictService(stores, serving, consent)
        reverting = RevertingService(stores, serving)
        proposing = ProposingService(stores, classifiers, labeling, consent)
        promotion = PromotionService(stores.registry, serving, TrialService(stores, serving))
        runner = await stack.enter_async_context(
            JobRunner(
                stores,
                promotion,
                serving,
                trainer,
                snapshots=snapshots,
                models=models,
                recipe=settings.training_recipe,
                seed=settings.seed,
                lease=settings.lease,
            )
        )
        training = TrainingService(stores, runner, snapshots, settings.training_recipe, settings.seed)
        prediction = PredictionService(stores, labeling, serving, consent)
        channels = None if settings.token else (CHANNEL_IDS["support"], CHANNEL_IDS["training"])
        lesson = LessonService(stores, classifiers, labeling, training, serving, guild=GUILD_ID, channels=channels)
        # How it is doing
        lag = LoopLag()
        stack.push_async_callback(_cancel, asyncio.create_task(lag.run(), name="loop lag"))
        status = StatusService(stores.classifiers, serving, trainer, lag, space)
        sureness = SurenessService(stores, serving, engine)
        # What people decide for their server and for themselves
        setup = SetupService(stores, classifiers, await stores.guilds.all_settings())
        morning = MorningNews(stores, runner.update_of)
        privacy = PrivacyService(stores, consent, serving, snapshots)
        # Many texts at once, and looking after them
        examples, imports = ExampleService(stores, serving), ImportService(stores, serving, consent)
        stack.push_async_callback(_cancel, asyncio.create_task(imports.keep_clean(), name="old previews"))
        # What it knows and where it doubts
        studies = Studies(stores.examples, stores.classifiers, engine)
        suspects = SuspectService(stores, serving, studies, consent)
        stack.push_async_callback(suspects.close)
        forecast = ForecastService(stores, serving, studies)
        stack.push_async_callback(forecast.close)
        why, comparison = WhyService(stores, serving, engine), ComparisonService(stores)
        # How people decide what goes live
        pins = PinService(stores, labeling, serving, consent)
        decisions = DecisionService(stores, Drawing(space / "plots"))
        services = Services(
            classifiers=classifiers,
            labeling=labeling,
            prediction=prediction,
            training=training,
            promotion=promotion,
            lesson=lesson,
            status=status,
            sureness=sureness,
            teaching=teaching,
            setup=setup,
            privacy=privacy,
            morning=morning,
            examples=examples,
            imports=imports,
            curation=curation,
            conflicts=conflicts,
            reverting=reverting,
            proposing=proposing,
            suspects=suspects,
            why=why,
            forecast=forecast,
            comparison=comparison,
            pins=pins,
            decisions=decisions,
        )
        yield System(services, stores, serving)


@asynccontextmanager
async def open_trainer(settings: Settings) -> AsyncIterator[TrainerClient]:
    """A client of the trainer that is configured, or of one started here as a child process."""
    if settings.trainer_url is None:
        async with LocalTrainer(settings.space / "trainer", settings) as local:
            yield local.client
    else:
        key = read_secret(settings.trainer_key_file) if settings.trainer_key_file else ""
        async with TrainerClient(settings.trainer_url, key) as client:
            yield client


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
