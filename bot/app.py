"""The composition root: the whole system on one screen, in the order data flows.

chat event → example and label → snapshot → job → artifact and report → promotion → swap → prediction → feedback.
Everything is built here and handed what it needs; nothing else in the project constructs its own neighbours.
"""

from __future__ import annotations

import asyncio
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
from bot.services.candidates import Candidates
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
from bot.services.retention import RetentionService
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
from storage.files import file_errors
from storage.settings import Settings, read_secret
from storage.stores import Stores
from trainer.client import TrainerClient


@dataclass(frozen=True, slots=True)
class System:
    """Everything that runs, for `run` and the tests; commands need only `services`."""

    services: Services
    stores: Stores
    serving: Serving


@dataclass(frozen=True, slots=True)
class Core:
    """What is kept, what trains and what answers: all that the use-cases stand on."""

    stores: Stores
    trainer: TrainerClient
    engine: Engine
    serving: Serving


@asynccontextmanager
async def open_services(settings: Settings) -> AsyncIterator[Services]:
    """The use-cases over this data directory, without chat, page or schedule: what a command-line call works with.

    Unfinished trainings are left to the bot until the call asks for one: a trainer that ends with the call would use
    up their attempts.
    """
    async with _open(settings) as system:
        yield system.services


@asynccontextmanager
async def open_system(settings: Settings) -> AsyncIterator[System]:
    """The same for a bot, which goes on with the trainings that it finds.

    Raises:
        InstanceLocked, NewerDatabase, DamagedFile, ConfigurationError.
    """
    async with _open(settings) as system:
        system.services.training.take_up()
        yield system


@asynccontextmanager
async def _open(settings: Settings) -> AsyncIterator[System]:
    """Opens the core first, whose database is the lock on the data directory, then what uses it; closes in reverse."""
    async with AsyncExitStack() as stack:
        core = await _open_core(settings, stack)
        services = await _open_use_cases(settings, core, stack)
        yield System(services, core.stores, core.serving)


async def _open_core(settings: Settings, stack: AsyncExitStack) -> Core:
    for folder in (settings.space, settings.models, settings.snapshots):
        with file_errors(f"creating the data directory {folder}"):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    # What is kept
    database = await stack.enter_async_context(Database(settings.space / "pupil.db"))
    stores = Stores.over(database, captured=settings.capture_messages)
    for folder in (settings.models, settings.snapshots):
        sweep(folder)
    # What trains
    trainer = await stack.enter_async_context(open_trainer(settings))
    # What answers
    engine = await stack.enter_async_context(
        Engine(settings.inference_threads, settings.queue_limit, settings.query_deadline)
    )
    memory = await stack.enter_async_context(InstantMemory(stores.examples, stores.classifiers, engine))
    budget = settings.model_memory << 20 if settings.model_memory else memory_for_models(available_memory())
    residents = Residents(engine, budget)
    serving = Serving(stores, engine, memory, residents, trainer, settings.models, settings.precision)
    return Core(stores, trainer, engine, serving)


async def _open_use_cases(settings: Settings, core: Core, stack: AsyncExitStack) -> Services:
    """First what several use-cases share, in the order data flows; then all of them, in the same order."""
    stores, serving, engine = core.stores, core.serving, core.engine
    consent = Consent(await stores.privacy.opt_outs())
    # chat event → example and label
    classifiers = ClassifierService(stores, base=settings.base, version_of=serving.version_of, changed=serving.touch)
    labeling = LabelingService(stores, serving, consent, create=classifiers.create)
    plans = await stack.enter_async_context(QuestionPlans(stores, serving, engine))
    # → snapshot → job → artifact and report → promotion → swap
    promotion = PromotionService(stores.registry, serving, TrialService(stores, serving))
    runner = await stack.enter_async_context(
        JobRunner(
            stores,
            promotion,
            Candidates(stores, promotion, snapshots=settings.snapshots),
            serving,
            core.trainer,
            snapshots=settings.snapshots,
            models=settings.models,
            recipe=settings.training_recipe,
            seed=settings.seed,
            lease=settings.lease,
            hours=settings.training_hours,
            spare=settings.spare,
        )
    )
    training = TrainingService(stores, runner, settings.snapshots, settings.training_recipe, settings.seed)
    retention = RetentionService(
        stores,
        models=settings.models,
        snapshots=settings.snapshots,
        versions=settings.keep_versions,
        days=settings.keep_days,
        freezing=training.freezing,
    )
    await retention.finish()  # what a crash has left
    # What goes on beside all that, and ends with it
    lag = LoopLag()
    stack.push_async_callback(_cancel, asyncio.create_task(lag.run(), name="loop lag"))
    imports = ImportService(stores, serving, consent)
    stack.push_async_callback(_cancel, asyncio.create_task(imports.keep_clean(), name="old previews"))
    studies = Studies(stores.examples, stores.classifiers, engine)
    suspects = SuspectService(stores, serving, studies, consent)
    stack.push_async_callback(suspects.close)
    forecast = ForecastService(stores, serving, studies)
    stack.push_async_callback(forecast.close)

    channels = None if settings.token else (CHANNEL_IDS["support"], CHANNEL_IDS["training"])
    return Services(
        # People name labels and teach: one text, the next question, many at once
        classifiers=classifiers,
        labeling=labeling,
        teaching=TeachingService(stores, labeling, plans, consent),
        imports=imports,
        lesson=LessonService(stores, classifiers, labeling, training, serving, guild=GUILD_ID, channels=channels),
        proposing=ProposingService(stores, classifiers, labeling, consent),
        # They look after what was taught
        examples=ExampleService(stores, serving),
        curation=CurationService(stores, serving, consent),
        conflicts=ConflictService(stores, serving, consent),
        reverting=RevertingService(stores, serving),
        suspects=suspects,
        # A version is trained, and it is decided what goes live
        training=training,
        promotion=promotion,
        pins=PinService(stores, labeling, serving, consent),
        decisions=DecisionService(stores, Drawing(settings.space / "plots"), consent),
        comparison=ComparisonService(stores),
        forecast=forecast,
        morning=MorningNews(stores, runner.update_of),
        # It answers, and says why; the answer comes back as a label
        prediction=PredictionService(stores, labeling, serving, consent),
        why=WhyService(stores, serving, engine),
        # How it is doing, and what people decide for their server and for themselves
        status=StatusService(stores.classifiers, serving, core.trainer, lag, settings.space, settings.models),
        sureness=SurenessService(stores, serving, engine),
        setup=SetupService(stores, classifiers, await stores.guilds.all_settings()),
        privacy=PrivacyService(
            stores, consent, serving, settings.snapshots, settings.models, freezing=training.freezing
        ),
        retention=retention,
    )


@asynccontextmanager
async def open_trainer(settings: Settings) -> AsyncIterator[TrainerClient]:
    """A client of the trainer that is configured, or of one started here as a child process."""
    if settings.trainer_url is None:
        async with LocalTrainer(settings.space / "trainer", settings) as local:
            yield local.client
    else:
        key = read_secret(settings.trainer_key_file) if settings.trainer_key_file else ""
        async with TrainerClient(settings.trainer_url, key, ca_file=settings.trainer_ca_file) as client:
            yield client


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
