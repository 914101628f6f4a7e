"""`/metrics` is off by default and correct; the alerts use metrics that exist."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client
from django.utils import timezone
from outlast import counting, health
from outlast.health.runner import Finding, State
from outlast.models import Session
from troubleshooting import SITE


@pytest.fixture
def results(monkeypatch: pytest.MonkeyPatch) -> list[Finding]:
    """What the probes find: a database that is away, to begin with."""
    found = [Finding("database", State.DOWN, "away")]
    monkeypatch.setattr(health, "readiness", lambda: list(found))
    return found


@pytest.fixture
def scrape(settings: Any, results: list[Finding]) -> Callable[[], str]:
    """A function that asks for the metrics as Prometheus does."""
    settings.MIDDLEWARE = ["outlast.health.health", *settings.MIDDLEWARE]
    settings.OUTLAST = {"METRICS_TOKEN": "let-me-in"}
    headers = {"authorization": "Bearer let-me-in", "host": "10.0.0.1:8000"}

    def scrape() -> str:
        answer = Client().get("/metrics", headers=headers)
        assert answer.status_code == 200
        assert answer["Content-Type"].startswith("text/plain")
        return answer.content.decode()

    return scrape


def test_closed_without_the_token(scrape: Callable[[], str], settings: Any) -> None:
    for given in ("", "Bearer ", "Bearer let-me-i", "Basic let-me-in", "é"):
        answer = Client().get("/metrics", headers={"authorization": given})
        assert (answer.status_code, b"site_" in answer.content) == (403, False)
    settings.OUTLAST = {}
    assert Client().get("/metrics").status_code == 404


@pytest.mark.django_db
def test_sessions_and_services(scrape: Callable[[], str], results: list[Finding]) -> None:
    for number, days in enumerate((1, 1, -1)):
        expires = timezone.now() + timedelta(days=days)
        Session.objects.create(session_key=f"k{number}", expire_date=expires)
    text = scrape()
    assert 'site_service_up{service="database"} 0.0' in text
    assert "site_sessions" not in text, "a database that is down is not asked again"
    results[:] = [Finding("database", State.OK, "")]
    text = scrape()
    assert 'site_sessions{state="open"} 2.0' in text
    assert 'site_sessions{state="ended"} 1.0' in text
    assert 'site_service_up{service="database"} 1.0' in text


def test_the_redis_cache_and_the_alerts(
    scrape: Callable[[], str], use_redis: Callable[..., None]
) -> None:
    use_redis()
    before = [counting.CACHE_READS.labels(result)._value.get() for result in ("hit", "miss")]
    cache.set("here", 1)
    cache.get_many(["here", "nowhere", "there"])
    cache.get("here")
    text = scrape()
    assert f'site_cache_reads_total{{result="hit"}} {before[0] + 2}' in text
    assert f'site_cache_reads_total{{result="miss"}} {before[1] + 2}' in text
    assert "site_cache_breaker_open 0.0" in text

    text += "site_sessions"  # without a database there are none
    rules = (SITE / "deploy" / "alerts.yml").read_text("utf-8")
    used = set(re.findall(r"\bsite_\w+", "\n".join(re.findall(r"expr: (?:>-\n)?(.*)", rules))))
    assert used >= {"site_service_up", "site_sessions", "site_cache_reads_total"}
    assert all(name in text for name in used)
    alerts = re.findall(r"- alert: (\w+)", rules)
    page = (SITE / "docs" / "operations.md").read_text("utf-8")
    assert re.findall(r"^\| `([A-Z]\w+)` \|", page, re.MULTILINE) == alerts


@pytest.mark.slow
def test_workers_are_added_up(tmp_path: Path) -> None:
    """Two processes count, a third is asked."""
    environment = os.environ | {
        "PROMETHEUS_MULTIPROC_DIR": str(tmp_path),
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    count = (
        "from django.conf import settings; settings.configure(OUTLAST={'METRICS_TOKEN': 'x'}); "
        "from outlast.counting import count_read; count_read('hit')"
    )
    read = (
        "from prometheus_client import CollectorRegistry as R, generate_latest; "
        "from prometheus_client.multiprocess import MultiProcessCollector as M; "
        "r = R(); M(r); print(generate_latest(r).decode())"
    )
    for code in (count, count, read):
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=environment, capture_output=True, text=True, check=True,
        )  # fmt: skip
    assert 'site_cache_reads_total{result="hit"} 2.0' in done.stdout
