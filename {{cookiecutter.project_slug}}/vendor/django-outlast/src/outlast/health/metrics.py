"""Metrics for Prometheus at `/metrics`, with `OUTLAST["METRICS_TOKEN"]` as Bearer token.

Needs the extra `metrics`. With PROMETHEUS_MULTIPROC_DIR, each worker counts in files, and the
worker that is asked adds them up. deploy/alerts.yml and docs/operations.md explain the numbers.
"""

import os
from collections.abc import Iterator
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
from outlast.health.asking import State
from outlast.models import Session


def metrics(request: HttpRequest) -> HttpResponse:
    """Return all metrics, or 403 without the token."""
    given = request.headers.get("Authorization", "")
    if not constant_time_compare(given, f"Bearer {conf.METRICS_TOKEN}"):
        return HttpResponse("METRICS_TOKEN is required as Bearer token.\n", status=403)
    registry = CollectorRegistry()
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        MultiProcessCollector(registry)
    else:
        registry.register(counting.REGISTRY)
    registry.register(SiteCollector())
    return HttpResponse(generate_latest(registry), "text/plain; version=0.0.4; charset=utf-8")


class SiteCollector(Collector):
    """Ask the services at the time of the request, in bounded time."""

    def collect(self) -> Iterator[GaugeMetricFamily]:
        up = GaugeMetricFamily("site_service_up", "1 if it answers.", labels=["service"])
        seconds = GaugeMetricFamily(
            "site_service_seconds", "How long its answer took.", labels=["service"]
        )
        results = {result.name: result for result in health.readiness()}
        for name, result in results.items():
            up.add_metric([name], result.state is not State.DOWN)
            seconds.add_metric([name], result.milliseconds / 1000)
        yield from (up, seconds)
        if results["database"].state is not State.DOWN:
            yield from count_sessions()
        if health.uses_redis():
            cache: Any = caches["default"]
            yield GaugeMetricFamily(
                "site_cache_breaker_open",
                "1 while the worker that was asked does not use Redis.",
                float(cache.client.breaker.is_open),
            )


def count_sessions() -> Iterator[GaugeMetricFamily]:
    """Yield the numbers of sessions; nothing if the database has just gone away."""
    sessions = GaugeMetricFamily("site_sessions", "Session rows by state.", labels=["state"])
    try:
        alive = Session.objects.alive().count()
        sessions.add_metric(["open"], alive)
        sessions.add_metric(["ended"], Session.objects.count() - alive)
    except DatabaseError:
        return
    yield sessions
