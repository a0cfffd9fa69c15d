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
from bot.inference.instant import InstantMemory
from bot.inference.memory import available_memory, memory_for_models
from bot.inference.residents import Residents
from bot.local_trainer import LocalTrainer
from bot.playground.objects import CHANNEL_IDS, GUILD_ID
from bot.services.classifiers import ClassifierService
from bot.services.decisions import DecisionService
from bot.services.drawing import Drawing
from bot.services.job_runner import JobRunner
from bot.services.labeling import LabelingService
from bot.services.lesson import LessonService
from bot.services.pins import PinService
from bot.services.prediction import PredictionService
from bot.services.promotion import PromotionService
from bot.services.serving import Serving
from bot.services.status import LoopLag, StatusService
from bot.services.sureness import SurenessService
from bot.services.system import Services
from bot.services.training import TrainingService
from bot.services.trials import TrialService
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
        labeling = LabelingService(stores, serving, base=settings.base)
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
        prediction = PredictionService(stores, labeling, serving)
        channels = None if settings.token else (CHANNEL_IDS["support"], CHANNEL_IDS["training"])
        lesson = LessonService(stores, classifiers, labeling, training, serving, guild=GUILD_ID, channels=channels)
        # How it is doing
        lag = LoopLag()
        stack.push_async_callback(_cancel, asyncio.create_task(lag.run(), name="loop lag"))
        status = StatusService(stores.classifiers, serving, trainer, lag, space)
        sureness = SurenessService(stores, serving, engine)
        # How people decide what goes live
        pins = PinService(stores, labeling, serving)
        decisions = DecisionService(stores, Drawing(space / "plots"))
        services = Services(
            classifiers,
            labeling,
            prediction,
            training,
            promotion,
            lesson,
            status,
            sureness,
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
