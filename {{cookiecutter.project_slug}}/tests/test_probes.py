"""What the probes find, and that nothing they ask can hold anybody up."""

import re
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.db.migrations.recorder import MigrationRecorder
from django.utils import timezone
from outlast import probes
from outlast.advice import (
    TroubleError,
    explain,
    ways_to_start_redis,
    ways_to_start_sentinel,
)
from outlast.models import Session
from outlast.probes import Probe, State, base, local, relational
from outlast.probes.base import ask, fine


@pytest.fixture(autouse=True)
def _nothing_asked_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "_questions", {})


@pytest.fixture
def hung() -> Iterator[Callable[[], Any]]:
    """A service that does not answer until the test is over, and counts who asks."""
    release, asked = threading.Event(), []

    def service() -> Any:
        asked.append(1)
        release.wait(30)
        return fine("at last")

    service.asked = asked  # type: ignore[attr-defined]
    service.release = release  # type: ignore[attr-defined]
    yield service
    release.set()


def test_all_are_asked_at_the_same_time() -> None:
    together = threading.Barrier(3, timeout=5)

    def service() -> Any:
        together.wait()
        return fine("here")

    results = ask([Probe(name, service) for name in "abc"], 10)
    assert [(result.name, result.finding.text) for result in results] == [
        ("a", "here"),
        ("b", "here"),
        ("c", "here"),
    ]


def test_who_hangs_is_down_in_bounded_time_and_asked_once(hung: Any) -> None:
    started = time.monotonic()
    for _ in range(3):
        well, ill = ask([Probe("well", lambda: fine("here")), Probe("ill", hung)], 0.1)
        assert (well.state, ill.state) == (State.OK, State.DOWN)
    assert time.monotonic() - started < 3
    assert "No answer within 0.1 s" in ill.finding.text
    assert hung.asked == [1], "each question to a hung service costs a thread"
    hung.release.set()
    assert ask([Probe("ill", hung)], 5)[0].state is State.OK


def test_a_fresh_answer_serves_everybody(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def service() -> Any:
        asked.append(1)
        return fine("here")

    for _ in range(5):
        ask([Probe("a", service)], 5)
    assert len(asked) == 1
    monkeypatch.setattr(base, "FRESH_SECONDS", 0)
    ask([Probe("a", service)], 5)
    assert len(asked) == 2


def test_an_error_becomes_a_sentence_and_what_mends_it() -> None:
    def service() -> Any:
        raise TroubleError("It is ill.", "Give it tea")

    (result,) = ask([Probe("a", service)], 5)
    assert (result.state, result.finding.text) == (State.DOWN, "It is ill.")
    assert result.finding.remedies == ("Give it tea",)


def test_what_needs_a_service_that_is_down_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> Any:
        raise TroubleError("Down.")

    monkeypatch.setattr(probes, "services", lambda: [Probe("cellar", fails)])
    monkeypatch.setattr(
        probes,
        "examinations",
        lambda: [Probe("wine", fails, needs="cellar"), Probe("roof", lambda: fine("dry"))],
    )
    states = {result.name: result.state for result in probes.check_up(5)}
    assert states == {"cellar": State.DOWN, "wine": State.SKIPPED, "roof": State.OK}


def test_summary_line_names_what_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> Any:
        raise TroubleError("The cellar is flooded.")

    monkeypatch.setattr(
        probes, "services", lambda: [Probe("cellar", fails), Probe("roof", lambda: fine("dry"))]
    )
    line = probes.summary_line()
    assert line.startswith("Services: cellar down (") and "\n" not in line
    assert "cellar down (" in line and "roof ok (" in line
    assert line.endswith("The cellar is flooded. See: python manage.py doctor")


# --- The relational database ---


@pytest.mark.django_db
def test_database() -> None:
    finding = relational.database()
    assert finding.state is State.OK
    assert connection.display_name in finding.text


@pytest.mark.django_db
def test_migrations() -> None:
    assert relational.migrations().state is State.OK
    MigrationRecorder.Migration.objects.filter(app="outlast").delete()
    finding = relational.migrations()
    assert finding.state is State.WARNING
    assert "outlast.0001_initial" in finding.text
    assert finding.remedies == ("Apply them: python manage.py migrate",)


@pytest.mark.django_db
def test_session_rows_that_nobody_clears_away() -> None:
    long_ago = timezone.now() - timedelta(days=3)
    rows = [Session(session_key=f"{n:032}", expire_date=long_ago) for n in range(1_001)]
    Session.objects.bulk_create(rows[:1_000])
    assert relational.session_rows().text == "0 open, 1,000 ended"
    Session.objects.bulk_create(rows[1_000:])
    finding = relational.session_rows()
    assert finding.state is State.WARNING
    assert "1,001 ended, 1,001 of them over 2 days ago" in finding.text
    assert "python manage.py clearsessions" in finding.remedies[0]


@pytest.mark.django_db
def test_missing_tables_name_migrate() -> None:
    with pytest.raises(Exception) as error, connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM nobody_made_this")
    sentence, remedy = explain(error.value)
    assert sentence == "Tables or columns are missing in the database."
    assert remedy.endswith("python manage.py migrate")


@pytest.mark.django_db
def test_cache_table(settings: Any) -> None:
    settings.CACHES = {
        "default": {
            "BACKEND": "django.core.cache.backends.db.DatabaseCache",
            "LOCATION": "site_cache",
            "OPTIONS": {"MAX_ENTRIES": 10_000},
        }
    }
    assert relational.cache_rows().text == "0 of at most 10,000 entries"


@pytest.mark.parametrize(
    ("seconds", "state"), [(0.5, State.OK), (5, State.WARNING), (-5, State.WARNING)]
)
def test_clocks_that_differ(seconds: float, state: State) -> None:
    finding = relational.clock_finding(datetime.now(UTC) + timedelta(seconds=seconds))
    assert finding.state is state
    assert ("ahead of" if seconds > 0 else "behind") in finding.text


# --- This machine ---


@pytest.fixture
def folder(settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Sessions and cache in files below a folder that is made when it is needed."""
    monkeypatch.setattr(local, "folders_in_use", lambda: [tmp_path / "sessions"])
    return tmp_path / "sessions"


def test_folders_are_made_and_private(folder: Path) -> None:
    assert local.files().state is State.OK
    assert folder.is_dir()


@pytest.mark.skipif("sys.platform == 'win32'", reason="Windows has no such modes")
def test_folder_open_to_others(folder: Path) -> None:
    folder.mkdir(mode=0o755)
    finding = local.files()
    assert finding.state is State.WARNING
    assert finding.remedies == (f"chmod 700 {folder}",)


def test_folder_that_is_a_file(folder: Path) -> None:
    folder.write_text("in the way")
    with pytest.raises(OSError) as error:
        local.files()
    sentence, _ = explain(error.value)
    assert str(folder) in sentence


@pytest.mark.django_db
def test_session_round_trip_leaves_nothing_behind() -> None:
    assert local.session_round_trip().state is State.OK
    assert not Session.objects.exists()


# --- What to do ---


@pytest.mark.parametrize("system", ["Windows", "Darwin", "Linux"])
def test_ways_to_start_redis_are_of_this_system(system: str) -> None:
    ways = ways_to_start_redis("localhost", 6380, system)
    assert ways[-1].startswith("Or go without Redis: DJANGO_PROFILE=database")
    words = {
        "Windows": ["Docker Desktop", "6380", "WSL 2", "Memurai"],
        "Darwin": ["manage.py devredis", "brew install valkey"],
        "Linux": ["manage.py devredis"],
    }
    assert all(word in " ".join(ways) for word in words[system])


def test_a_redis_elsewhere_is_not_started_here() -> None:
    ways = " ".join(ways_to_start_redis("redis.example.com", 6379))
    assert "redis.example.com" in ways
    assert "devredis" not in ways


@pytest.mark.parametrize("system", ["Windows", "Darwin", "Linux"])
def test_what_starts_a_redis_is_not_named_for_a_sentinel(system: str) -> None:
    first, *others = ways_to_start_sentinel("localhost", system)
    assert "manage.py devredis" in first
    assert ("WSL 2" in first) == (system == "Windows")
    assert not {"docker run", "brew", "redis-server"} & set(" ".join(others).split())
    assert others[-1].startswith("Or go without Redis: DJANGO_PROFILE=database")
    assert "sentinel.example.com" in ways_to_start_sentinel("sentinel.example.com", system)[0]


def test_files_that_are_named_are_there(settings: Any) -> None:
    named = {
        (path.name, name)
        for path in (settings.BASE_DIR / "vendor").rglob("*.py")
        for name in re.findall(r"\b(?:deploy|docs)/[\w.-]+\.\w+", path.read_text("utf-8"))
    }
    assert named
    missing = {pair for pair in named if not (settings.BASE_DIR / pair[1]).is_file()}
    assert not missing


def test_no_secret_is_ever_shown(settings: Any) -> None:
    settings.SECRET_KEY = "key-of-the-site"
    settings.DATABASES["default"]["PASSWORD"] = "p@ss/word"
    for secret in ("key-of-the-site", "p@ss/word", "p%40ss%2Fword"):
        text = " ".join(explain(OperationalError(f"something about {secret}!")))
        assert secret not in text
        assert "something about [hidden]!" in text
