"""`GET /metrics` in Prometheus' text format: what the API answered, the process, and the numbers of `/status`.

Every application has a registry of its own, so that two of them in one process (tests, the CLI) do not collide.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from bot.services.status import StatusService
from bot.web.errors import API_PATHS

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
"""Bucket bounds: an answer of the small encoder takes about 10 ms, a batch or an import up to seconds."""


class Metrics:
    def __init__(self, status: StatusService) -> None:
        self._status = status
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._requests = Counter(
            "pupil_http_requests", "Requests answered.", ["method", "route", "status"], registry=self._registry
        )
        self._seconds = Histogram(
            "pupil_http_seconds", "Seconds until the answer.", ["route"], registry=self._registry, buckets=SECONDS
        )
        self._gauges: dict[str, Gauge] = {}

    @web.middleware
    async def count(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Counts the API's requests by route pattern, never by path: paths have no bound."""
        if not request.path.startswith(API_PATHS):
            return await handler(request)
        started = time.perf_counter()
        response = await handler(request)
        resource = request.match_info.route.resource
        route = resource.canonical if resource is not None else "none"
        method = request.method if resource is not None else "any"
        self._requests.labels(method, route, response.status).inc()
        self._seconds.labels(route).observe(time.perf_counter() - started)
        return response

    async def show(self, request: web.Request) -> web.Response:
        numbers = dict(_numbers("pupil", await self._status.status()))
        for name in self._gauges.keys() - numbers.keys():  # a trainer that is away has no free disk
            self._registry.unregister(self._gauges.pop(name))
        for name, value in numbers.items():
            if name not in self._gauges:
                self._gauges[name] = Gauge(name, "As in the bot's status.", registry=self._registry)
            self._gauges[name].set(value)
        return web.Response(body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE})


def _numbers(prefix: str, facts: dict[str, Any]) -> Iterator[tuple[str, float]]:
    """Numbers and truths of a nested dict, by joined names: {"trainer": {"running": 1}} → pupil_trainer_running 1."""
    for key, value in facts.items():
        name = f"{prefix}_{key}"
        if isinstance(value, dict):
            yield from _numbers(name, value)
        elif isinstance(value, bool | int | float):
            yield name, float(value)
