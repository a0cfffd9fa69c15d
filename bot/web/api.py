"""The HTTP API: the same services as the chat, for programs. Every route takes an optional `?guild=`.

    GET    /healthz                                              alive
    GET    /metrics                                              Prometheus
    GET    /api/v1/status
    GET    /api/v1/classifiers
    GET    /api/v1/classifiers/{name}/labels
    POST   /api/v1/classifiers/{name}/predict                    {"text"} → answer, or {"texts"} → list of answers
    POST   /api/v1/classifiers/{name}/examples[?source=file]     [{"text", "label"}…]; makes what is missing
    GET    /api/v1/classifiers/{name}/examples[?format=csv]      every example as JSON Lines or CSV
    POST   /api/v1/classifiers/{name}/based-on                   {"on": "support@v3", "support" or "none"}
    GET    /api/v1/classifiers/{name}/precision                  how sure it has to be before it answers
    POST   /api/v1/classifiers/{name}/precision                  {"precision"}: the share that should be right
    DELETE /api/v1/classifiers/{name}/precision                  back to the model's own threshold
    POST   /api/v1/classifiers/{name}/train                      → job
    GET    /api/v1/classifiers/{name}/versions
    POST   /api/v1/classifiers/{name}/versions/{n}/promote
    POST   /api/v1/classifiers/{name}/rollback                   {"number"}?
    GET    /api/v1/jobs/{id}
    DELETE /api/v1/jobs/{id}                                     cancels
    GET    /api/v1/lesson
    POST   /api/v1/lesson                                        makes the lesson's classifier
    POST   /api/v1/lesson/{step}                                 names, teach, train, ask

A handler reads, calls one service and tells the answer; `bodies` checks what comes in, `answers` words what goes out,
`errors` what went wrong, `security` who it is.
"""

from __future__ import annotations

import asyncio
import json
import os
from functools import partial
from typing import Any

from aiohttp import web

from bot.services.examples_files import ExportFormat
from bot.services.people import Actor
from bot.services.system import Services
from bot.services.training import NotYet
from bot.web import answers
from bot.web.bodies import check_fields, check_strings, read_fields, read_json
from bot.web.errors import answer_errors
from bot.web.gone import unless_gone
from bot.web.guilds import PLAYGROUND, which_guild
from bot.web.metrics import Metrics
from bot.web.security import CALLER, guard
from storage.errors import Conflict, InvalidInput, PupilError
from storage.records import Classifier, Prediction, Source
from storage.settings import Settings

MAX_TEXTS = 256
"""Texts in one predict request."""
TOGETHER = 8
"""Texts of one request that wait in the engine's queue at a time, so that a batch leaves room for people."""

MEDIA_TYPES = {ExportFormat.JSONL: "application/x-ndjson", ExportFormat.CSV: "text/csv"}

_dumps = partial(json.dumps, ensure_ascii=False, allow_nan=False)


def add_api(app: web.Application, services: Services, settings: Settings) -> None:
    """Adds the routes and the middlewares (counting, errors, access), which see every request of `app`."""
    metrics = Metrics(services.status)
    app.middlewares.extend([metrics.count, answer_errors, guard(settings)])
    app.router.add_get("/metrics", metrics.show)
    app.add_routes(Api(services, settings).routes())


class Api:
    def __init__(self, services: Services, settings: Settings) -> None:
        self._services = services
        self._settings = settings

    def routes(self) -> list[web.RouteDef]:
        one = "/api/v1/classifiers/{name}"
        return [
            web.get("/healthz", self.health),
            web.get("/api/v1/status", self.status),
            web.get("/api/v1/classifiers", self.classifiers),
            web.get(f"{one}/labels", self.labels),
            web.post(f"{one}/predict", self.predict),
            web.post(f"{one}/examples", self.import_examples),
            web.get(f"{one}/examples", self.export_examples),
            web.post(f"{one}/based-on", self.base_on),
            web.get(f"{one}/precision", self.precision),
            web.post(f"{one}/precision", self.choose_precision),
            web.delete(f"{one}/precision", self.drop_precision),
            web.post(f"{one}/train", self.train),
            web.get(f"{one}/versions", self.versions),
            web.post(one + r"/versions/{number:\d{1,9}}/promote", self.promote),
            web.post(f"{one}/rollback", self.rollback),
            web.get("/api/v1/jobs/{id}", self.job),
            web.delete("/api/v1/jobs/{id}", self.cancel),
            web.get("/api/v1/lesson", self.lesson),
            web.post("/api/v1/lesson", self.begin_lesson),
            web.post("/api/v1/lesson/{step}", self.step),
        ]

    # Asking

    async def health(self, request: web.Request) -> web.Response:
        return _json({"alive": True, "pid": os.getpid()})

    async def status(self, request: web.Request) -> web.Response:
        return _json(await self._services.status.status())

    async def classifiers(self, request: web.Request) -> web.Response:
        actor = await self._actor(request)
        everything = await self._services.classifiers.list(actor.guild)
        stats = [await self._services.classifiers.stats(classifier) for classifier in everything]
        return _json([answers.classifier(one) for one in stats])

    async def labels(self, request: web.Request) -> web.Response:
        _, classifier = await self._actor_and_classifier(request)
        counts = await self._services.classifiers.labels(classifier)
        return _json(answers.labels(counts, await self._services.labeling.label_ids(classifier)))

    async def predict(self, request: web.Request) -> web.Response:
        actor, classifier = await self._actor_and_classifier(request)
        body = await read_fields(request, text=str, texts=list)
        if len(body) != 1:
            raise InvalidInput("Send either `text`, one string, or `texts`, a list of them.")
        if "text" in body:
            one = await unless_gone(request, self._ask(actor, classifier, body["text"]))
            return _json(answers.prediction(one))
        check_strings(body["texts"], "texts", MAX_TEXTS)
        found = await unless_gone(request, self._ask_all(actor, classifier, body["texts"]))
        return _json([answers.prediction(one) for one in found])

    async def _ask(self, actor: Actor, classifier: Classifier, text: str) -> Prediction:
        return await self._services.prediction.ask(actor, classifier, text, Source.API)

    async def _ask_all(self, actor: Actor, classifier: Classifier, texts: list[str]) -> list[Prediction]:
        """Answers in the order of `texts`; all or none. The first text that cannot be answered says which it is."""
        places = asyncio.Semaphore(TOGETHER)

        async def ask(position: int, text: str) -> Prediction:
            async with places:
                try:
                    return await self._ask(actor, classifier, text)
                except InvalidInput as error:
                    raise InvalidInput(f"`texts[{position}]`: {error}") from None

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(ask(position, text)) for position, text in enumerate(texts)]
        except ExceptionGroup as failures:
            raise (failures.subgroup(PupilError) or failures).exceptions[0] from None
        return [task.result() for task in tasks]

    # Teaching and training

    async def import_examples(self, request: web.Request) -> web.Response:
        actor = await self._actor(request)
        body = await read_json(request)
        if not isinstance(body, list):
            raise InvalidInput('The body must be a list: [{"text": "…", "label": "…"}, …].')
        rows = [_row(item, position) for position, item in enumerate(body)]
        source = _source(request.query.get("source", Source.API.value))
        name = request.match_info["name"]
        receipt = await self._services.labeling.import_rows(actor, name, rows, source)
        await self._services.proposing.save_waiting(actor, receipt.classifier)
        return _json(answers.imported(receipt))

    async def export_examples(self, request: web.Request) -> web.Response:
        actor, classifier = await self._actor_and_classifier(request)
        wanted = request.query.get("format", ExportFormat.JSONL.value)
        if wanted not in {*ExportFormat}:
            raise InvalidInput("`format` must be `jsonl` or `csv`.")
        format = ExportFormat(wanted)
        body = await self._services.examples.export(actor, classifier, format)
        return web.Response(body=body, content_type=MEDIA_TYPES[format], charset="utf-8")

    async def base_on(self, request: web.Request) -> web.Response:
        actor, classifier = await self._actor_and_classifier(request)
        on = (await read_fields(request, on=str)).get("on")
        if on is None:
            raise InvalidInput('The body must say on what: {"on": "NAME@v3"}, {"on": "NAME"} or {"on": "none"}.')
        based = await self._services.classifiers.base_on(actor, classifier, on)
        return _json(answers.classifier(await self._services.classifiers.stats(based)))

    async def precision(self, request: web.Request) -> web.Response:
        _, classifier = await self._actor_and_classifier(request)
        return _json(answers.sureness(classifier.name, await self._services.sureness.of(classifier)))

    async def choose_precision(self, request: web.Request) -> web.Response:
        precision = (await read_fields(request, precision=float)).get("precision")
        if precision is None:
            raise InvalidInput('The body must say which share of the answers should be right: {"precision": 0.95}.')
        return await self._choose_precision(request, precision)

    async def drop_precision(self, request: web.Request) -> web.Response:
        return await self._choose_precision(request, None)

    async def _choose_precision(self, request: web.Request, precision: float | None) -> web.Response:
        actor, classifier = await self._actor_and_classifier(request)
        found = await self._services.sureness.choose(actor, classifier, precision)
        return _json(answers.sureness(classifier.name, found))

    async def train(self, request: web.Request) -> web.Response:
        actor, classifier = await self._actor_and_classifier(request)
        await read_fields(request)
        outcome = await self._services.training.request(actor, classifier)
        if isinstance(outcome, NotYet):
            raise Conflict(outcome.reason)
        update = await self._services.training.job(actor.guild, outcome.job.id)
        extra = {"joined": outcome.joined, "new_since": outcome.new_since}
        return _json(answers.job(update) | extra, status=202)

    async def job(self, request: web.Request) -> web.Response:
        actor = await self._actor(request)
        return _json(answers.job(await self._services.training.job(actor.guild, request.match_info["id"])))

    async def cancel(self, request: web.Request) -> web.Response:
        """Idempotent: a job that has ended is told as it is."""
        actor = await self._actor(request)
        await self._services.training.cancel_job(actor, request.match_info["id"])
        return await self.job(request)

    # What is live

    async def versions(self, request: web.Request) -> web.Response:
        _, classifier = await self._actor_and_classifier(request)
        stats = await self._services.classifiers.stats(classifier)
        known = await self._services.promotion.versions(classifier)
        # In a thread: there may be hundreds of versions, and a report takes milliseconds to read.
        told = await asyncio.to_thread(lambda: [answers.version(one) for one in known])
        return _json({"serving": stats.version, "versions": told})

    async def promote(self, request: web.Request) -> web.Response:
        actor, classifier = await self._actor_and_classifier(request)
        await read_fields(request)
        number = int(request.match_info["number"])
        return _json(answers.promotion(await self._services.promotion.promote(actor, classifier, number)))

    async def rollback(self, request: web.Request) -> web.Response:
        actor, classifier = await self._actor_and_classifier(request)
        number = (await read_fields(request, number=int)).get("number")
        if number is not None and not 0 <= number < 10**9:
            raise InvalidInput("`number` must be the number of a version.")
        return _json(answers.promotion(await self._services.promotion.rollback(actor, classifier, number)))

    # The first lesson

    async def lesson(self, request: web.Request) -> web.Response:
        return _json(await self._services.lesson.state())

    async def begin_lesson(self, request: web.Request) -> web.Response:
        await self._services.lesson.begin(_pupil(request))
        return _json(await self._services.lesson.state())

    async def step(self, request: web.Request) -> web.Response:
        await read_fields(request)
        return _json(await self._services.lesson.step(_pupil(request), request.match_info["step"]))

    # Who, and about what

    async def _actor(self, request: web.Request) -> Actor:
        caller = request[CALLER]
        guild = await which_guild(request.query.get("guild"), self._services, self._settings)
        return Actor(guild, caller.id, caller.id, caller.role)

    async def _actor_and_classifier(self, request: web.Request) -> tuple[Actor, Classifier]:
        actor = await self._actor(request)
        return actor, await self._services.classifiers.resolve(actor.guild, request.match_info["name"])


def _pupil(request: web.Request) -> Actor:
    """Whoever takes the lesson: it lives in the playground's guild, whatever servers the bot is in."""
    caller = request[CALLER]
    return Actor(PLAYGROUND, caller.id, caller.id, caller.role)


def _json(data: Any, status: int = 200) -> web.Response:
    return web.json_response(data, status=status, dumps=_dumps)


def _row(item: Any, position: int) -> tuple[str, str]:
    fields = check_fields(item, f"Row {position + 1}", text=str, label=str)
    if len(fields) != 2:
        missing = "text" if "text" not in fields else "label"
        raise InvalidInput(f"Row {position + 1} has no `{missing}`.")
    return fields["text"], fields["label"]


def _source(name: str) -> Source:
    if name not in {Source.API, Source.FILE}:
        raise InvalidInput("`source` must be `api` or `file`.")
    return Source(name)
