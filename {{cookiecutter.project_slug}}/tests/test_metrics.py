"""`/metrics`: closed by default, and what it says to those who have the token."""

import os
import re
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.core.cache import cache
from django.test import Client
from django.utils import timezone
from outlast import counting, probes
from outlast.models import Session
from outlast.probes import Finding, Probe, Result, State

pytestmark = pytest.mark.django_db
SITE = Path(__file__).parent.parent


@pytest.fixture
def scrape(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function that asks for the metrics as Prometheus does, and returns them."""
    settings.OUTLAST = settings.OUTLAST | {"METRICS_TOKEN": "let-me-in"}
    finding = Finding(State.OK, "")
    results = [Result(Probe("database", lambda: finding), finding, 250)]
    monkeypatch.setattr(probes, "take_stock", lambda: results)

    def scrape() -> str:
        answer = Client().get(
            "/metrics", headers={"authorization": "Bearer let-me-in", "host": "10.0.0.1:8000"}
        )
        assert answer.status_code == 200
        assert answer["Content-Type"].startswith("text/plain")
        return answer.content.decode()

    scrape.results = results  # type: ignore[attr-defined]
    return scrape


def test_closed_by_default(settings: Any, https: Client) -> None:
    assert settings.OUTLAST["METRICS_TOKEN"] == ""
    assert https.get("/metrics").status_code == 404
    assert https.get("/metrics", headers={"authorization": "Bearer "}).status_code == 404


@pytest.mark.parametrize("given", ["", "Bearer ", "Bearer let-me-i", "Basic let-me-in", "é"])
def test_closed_without_the_token(given: str, scrape: Any) -> None:
    answer = Client().get("/metrics", headers={"authorization": given})
    assert answer.status_code == 403
    assert b"site_" not in answer.content


def test_sessions_and_services(scrape: Any) -> None:
    now = timezone.now()
    for number, days in enumerate([1, 1, -1]):
        Session.objects.create(session_key=f"k{number}", expire_date=now + timedelta(days=days))
    text = scrape()
    assert 'site_sessions{state="open"} 2.0' in text
    assert 'site_sessions{state="ended"} 1.0' in text
    assert 'site_service_up{service="database"} 1.0' in text
    assert 'site_service_seconds{service="database"} 0.25' in text


def test_a_database_that_is_down_is_not_asked_again(scrape: Any) -> None:
    down = Finding(State.DOWN, "")
    scrape.results[:] = [Result(Probe("database", lambda: down), down, 1000)]
    text = scrape()
    assert 'site_service_up{service="database"} 0.0' in text
    assert "site_sessions" not in text


def test_hits_and_misses_of_the_redis_cache(scrape: Any) -> None:
    if not django_settings.PROFILE.startswith("redis"):
        assert "site_cache_breaker_open" not in scrape()
        return
    before = [counting.CACHE_READS.labels(result)._value.get() for result in ("hit", "miss")]
    cache.set("here", 1)
    cache.get_many(["here", "nowhere", "there"])
    cache.get("here")
    text = scrape()
    assert f'site_cache_reads_total{{result="hit"}} {before[0] + 2}' in text
    assert f'site_cache_reads_total{{result="miss"}} {before[1] + 2}' in text
    assert "site_cache_breaker_open 0.0" in text


@pytest.mark.slow
def test_workers_are_added_up(tmp_path: Path) -> None:
    """Two processes count, a third is asked."""
    environment = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path), "METRICS_TOKEN": "x"}
    count = "from outlast.counting import count_read; count_read('hit')"
    ask = (
        "from prometheus_client import CollectorRegistry as R, generate_latest; "
        "from prometheus_client.multiprocess import MultiProcessCollector as M; "
        "r = R(); M(r); print(generate_latest(r).decode())"
    )
    for code in (count, count, ask):
        done = subprocess.run(
            [sys.executable, "manage.py", "shell", "-c", code],
            cwd=SITE, env=environment, capture_output=True, text=True, check=True,
        )  # fmt: skip
    assert 'site_cache_reads_total{result="hit"} 2.0' in done.stdout


def test_alerts_are_about_metrics_that_there_are(scrape: Any, settings: Any) -> None:
    counting.CACHE_READS.labels("hit")
    text = scrape() + "site_cache_breaker_open"  # of the Redis profiles
    rules = (SITE / "deploy" / "alerts.yml").read_text("utf-8")
    used = set(re.findall(r"\bsite_\w+", "\n".join(re.findall(r"expr: (?:>-\n)?(.*)", rules))))
    assert used >= {"site_service_up", "site_sessions", "site_cache_reads_total"}
    assert all(name in text for name in used)


def test_every_alert_is_explained() -> None:
    alerts = re.findall(r"- alert: (\w+)", (SITE / "deploy" / "alerts.yml").read_text("utf-8"))
    page = (SITE / "docs" / "operations.md").read_text("utf-8")
    assert len(alerts) > 10
    assert re.findall(r"^\| `([A-Z]\w+)` \|", page, re.MULTILINE) == alerts
