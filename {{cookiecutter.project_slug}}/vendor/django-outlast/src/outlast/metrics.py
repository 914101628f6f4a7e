"""Metrics for Prometheus at `/metrics`, for those who know METRICS_TOKEN; closed without one.

Needs the extra `metrics`. Each worker counts for itself, in files that whichever worker is
asked adds up (config/serve.py makes the folder); what can be asked is asked at that moment.
What the numbers mean, and alerts: deploy/alerts.yml and docs/operations.md.
"""

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, cast

from django.core.cache import caches
from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse
from django.utils.crypto import constant_time_compare
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from outlast import counting, probes
from outlast.conf import conf
from outlast.models import Session
from outlast.probes import State

if TYPE_CHECKING:  # profiles without Redis do not install its client
    from outlast.cache import RedisCache


def answer(request: HttpRequest) -> HttpResponse:
    """Return all metrics, or 403 without the token."""
    given = request.headers.get("Authorization", "")
    if not constant_time_compare(given, f"Bearer {conf.METRICS_TOKEN}"):
        return HttpResponse("Wanted: the METRICS_TOKEN as Bearer.\n", "text/plain", status=403)
    registry = CollectorRegistry()
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        MultiProcessCollector(registry)
    else:
        registry.register(counting.REGISTRY)
    registry.register(SiteCollector())
    return HttpResponse(generate_latest(registry), "text/plain; version=0.0.4; charset=utf-8")


class SiteCollector(Collector):
    """What is asked when Prometheus asks; bounded, as the probes are."""

    def collect(self) -> Iterator[GaugeMetricFamily]:
        up = GaugeMetricFamily("site_service_up", "1 if it answers.", labels=["service"])
        seconds = GaugeMetricFamily(
            "site_service_seconds", "How long its answer took.", labels=["service"]
        )
        results = {result.name: result for result in probes.take_stock()}
        for name, result in results.items():
            up.add_metric([name], result.state is not State.DOWN)
            seconds.add_metric([name], result.milliseconds / 1000)
        yield up
        yield seconds
        if results["database"].state is not State.DOWN:
            yield from count_sessions()
        if probes.redis_in_use():
            cache = cast("RedisCache", caches["default"])
            yield GaugeMetricFamily(
                "site_cache_breaker_open",
                "1 while the worker that was asked leaves Redis alone.",
                float(cache.client.breaker.is_open),
            )


def count_sessions() -> Iterator[GaugeMetricFamily]:
    """Yield the numbers of sessions; nothing if the database went away just now."""
    sessions = GaugeMetricFamily("site_sessions", "Session rows by state.", labels=["state"])
    try:
        sessions.add_metric(["open"], Session.objects.alive().count())
        sessions.add_metric(["ended"], Session.objects.expired().count())
    except DatabaseError:
        return
    yield sessions
