"""The system checks: each reports its problem and nothing else, and opens no connection."""

import socket
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.core.checks import run_checks
from django.core.checks.registry import registry
from django.core.exceptions import ImproperlyConfigured
from outlast import health, manifest, visitors

SENTINELS = [("a.example", 26379), ("b.example", 26379), ("c.example", 26379)]


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any) -> None:
        pytest.fail("a check opened a connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket.socket, "connect_ex", refuse)


def found(deploy: bool = False) -> dict[str | None, str]:
    """Return what our checks say, by id."""
    ours = [
        check
        for check in registry.get_checks(include_deployment_checks=deploy)
        if check.__module__ == "outlast.checks"
    ]
    messages = [message for check in ours for message in check(app_configs=None)]
    assert all(message.hint for message in messages)
    return {message.id: message.msg for message in messages}


def redis_cache(location: str, **options: Any) -> dict[str, Any]:
    cache = {"BACKEND": "outlast.cache.RedisCache", "LOCATION": location}
    return {"default": cache | {"KEY_PREFIX": "x", "OPTIONS": options}}


def test_a_stock_project_is_right(settings: Any) -> None:
    assert not found()
    settings.OUTLAST = {"SESSION_IDLE": 1}
    assert any(message.id == "outlast.E010" for message in run_checks())


def test_an_address_that_cannot_be_read(settings: Any) -> None:
    settings.CACHES = redis_cache("redis://:p@ss#w/rd@host/0")
    assert "cannot be read" in found()["outlast.E001"]
    assert "ss#w" not in found()["outlast.E001"]


@pytest.mark.parametrize("name", ["signed_cookies", "cached_db", "cache", "file"])
def test_an_engine_whose_sessions_cannot_be_ended(name: str, settings: Any) -> None:
    settings.SESSION_ENGINE = f"django.contrib.sessions.backends.{name}"
    assert f"{name} cannot be ended" in found()["outlast.E004"]


@pytest.mark.django_db  # an earlier test may have left a connection, which Channels looks at
def test_djangos_engine(settings: Any) -> None:
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.db"
    assert not found()
    assert "session rows" not in [probe.name for probe in health.diagnostics()]
    with pytest.raises(ImproperlyConfigured, match=r"SESSION_ENGINE is django.+\.db\."):
        async_to_sync(visitors.find_visitor)(None)


def test_one_sentinel_only(settings: Any) -> None:
    settings.DEBUG = True
    settings.CACHES = redis_cache("redis://mymaster/0", sentinels=SENTINELS)
    assert not found()
    for few in (SENTINELS[:1], SENTINELS[:2], SENTINELS[:1] * 3):
        settings.CACHES = redis_cache("redis://mymaster/0", sentinels=few)
        assert found().keys() == {"outlast.W001"}


@pytest.mark.parametrize(("workers", "ids"), [(1, set()), (2, {"outlast.E002"})])
def test_more_workers_than_the_layer_can_connect(
    workers: int, ids: set[str], settings: Any
) -> None:
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "outlast.channels.local.LocalLayer"}}
    settings.OUTLAST = {"WORKERS": workers}
    assert found(deploy=True).keys() == ids
    assert not found(), "it does not matter in development"
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "outlast.channels.redis.PubSubLayer"}}
    assert not found(deploy=True)


@pytest.mark.parametrize(
    ("location", "options", "warned"),
    [
        ("redis://redis.example.com:6379/0", {}, True),
        ("redis://user@redis.example.com:6379/0", {}, True),
        ("redis://:secret@redis.example.com:6379/0", {}, False),
        ("rediss://redis.example.com:6379/0", {}, False),
        ("valkey://redis.example.com:6379/0", {}, True),
        ("redis://127.0.0.1:6379/0", {}, False),
        ("redis://localhost:6379/0", {}, False),
        ("redis://[::1]:6379/0", {}, False),
        ("unix:///run/redis.sock", {}, False),
        ("redis://mymaster/0", {"sentinels": SENTINELS}, True),
        ("redis://mymaster/0", {"sentinels": SENTINELS, "password": "secret"}, False),
        ("redis://mymaster/0", {"sentinels": [("127.0.0.1", n) for n in (1, 2, 3)]}, False),
    ],
)
def test_a_redis_that_anyone_can_write_to(
    location: str, options: dict[str, Any], warned: bool, settings: Any
) -> None:
    settings.CACHES = redis_cache(location, **options)
    assert ("outlast.W002" in found()) is warned
    assert "secret" not in str(found())
    settings.DEBUG = True
    assert not found()


def test_metrics_that_cannot_be_made(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.OUTLAST = {"METRICS_TOKEN": "x"}
    assert not found()
    monkeypatch.setattr("outlast.checks.find_spec", lambda name: None)
    assert "prometheus-client is not installed" in found()["outlast.E003"]


@pytest.mark.parametrize(
    ("url", "warned"),
    [
        ("https://www.example.com", True),
        ("http://10.1.2.3:8000", True),
        ("http://localhost:8000", False),
        ("https://127.0.0.1:8443", False),
        ("https://shop.localhost", False),
    ],
)
def test_debug_in_production(url: str, warned: bool, settings: Any) -> None:
    settings.DEBUG = True
    settings.OUTLAST = {"SITE_URL": url}
    assert ("outlast.W003" in found()) is warned
    settings.DEBUG = False
    assert not found()


def test_a_vendored_copy_that_was_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest, "FOLDER", tmp_path)
    package = tmp_path / "src" / "outlast"
    package.mkdir(parents=True)
    for name in ("cache.py", "redis.py", "static.py"):
        (package / name).write_text("one\ntwo\n")
    assert not found(), "no manifest, as in the published package"
    manifest.write()
    (package / "static.py").write_bytes(b"one\r\ntwo\r\n")  # as Git checks out on Windows
    (package / "__pycache__").mkdir()
    (package / "__pycache__" / "cache.pyc").touch()
    assert not found()
    (package / "cache.py").write_text("one\nthree\n")
    assert "was changed: src/outlast/cache.py. " in found()["outlast.W006"]
    (package / "redis.py").unlink()
    (package / "new.py").touch()
    assert "was changed: src/outlast/cache.py and 2 more. " in found()["outlast.W006"]


@pytest.mark.parametrize(("option", "value"), [("NAME", "__Secure-id"), ("SAMESITE", "None")])
def test_cookies_that_must_be_secure(settings: Any, option: str, value: str) -> None:
    settings.SESSION_COOKIE_NAME, settings.SESSION_COOKIE_SECURE = "id", False
    setattr(settings, f"SESSION_COOKIE_{option}", value)
    assert found().keys() == {"outlast.E012"}
    settings.SESSION_COOKIE_SECURE = True
    assert found() == {}
