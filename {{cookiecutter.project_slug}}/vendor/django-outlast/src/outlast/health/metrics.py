"""Metrics for Prometheus at `/metrics`, with `OUTLAST["METRICS_TOKEN"]` as Bearer token.

Needs the extra `metrics`. With PROMETHEUS_MULTIPROC_DIR, each worker counts in files, and the
worker that is asked adds them up. deploy/alerts.yml and docs/operations.md explain the numbers.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from django.core.cache import caches
from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse
from django.utils.crypto import constant_time_compare
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from outlast import counting, health
from outlast.conf import conf
from outlast.health.runner import State
from outlast.sessions import all_sessions


def metrics(request: HttpRequest) -> HttpResponse:
    """Return all metrics, or 403 without the token."""
    given = request.headers.get("Authorization", "")
    if not constant_time_compare(given, f"Bearer {conf.METRICS_TOKEN}"):
        return HttpResponse("Send METRICS_TOKEN as a bearer token.\n", status=403)
    registry = CollectorRegistry()
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        MultiProcessCollector(registry)
    else:
        registry.register(counting.REGISTRY)
    registry.register(SiteCollector())
    return HttpResponse(generate_latest(registry), "text/plain; version=0.0.4; charset=utf-8")


def gauge(name: str, text: str, label: str, values: dict[str, float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family


class SiteCollector(Collector):
    """Run the health checks at the time of the request, for a limited time."""

    def collect(self) -> Iterator[GaugeMetricFamily]:
        results = health.readiness()
        up = {result.name: float(result.state is not State.DOWN) for result in results}
        yield gauge("site_service_up", "1 if it answers.", "service", up)
        with suppress(DatabaseError):  # it may have just become unavailable
            if up["database"] and (sessions := all_sessions()) is not None:
                alive = sessions.alive().count()
                rows = {"open": alive, "ended": sessions.count() - alive}
                yield gauge("site_sessions", "Session rows by state.", "state", rows)
        if health.uses_redis():
            cache: Any = caches["default"]
            text = "1 while the worker that was asked does not use Redis."
            breaker_open = float(cache.client.breaker.is_open)
            yield GaugeMetricFamily("site_cache_breaker_open", text, breaker_open)
