"""Sessions through Django's own model and engine and raw SQL, as packages use them."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.contrib import auth
from django.contrib.auth.models import User
from django.contrib.sessions.backends import db as django_db
from django.contrib.sessions.models import Session as DjangoSession
from django.core.management import call_command
from django.db import connection, models
from django.http import HttpRequest, HttpResponse
from django.test import Client
from django.urls import path
from django.utils import timezone
from outlast.models import Session
from outlast.sessions import session_ended
from session_helpers import is_logged_in, loaded, store, table

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("engine")]


@pytest.fixture
def announced() -> Iterator[list[Any]]:
    """The ends of sessions that are announced."""
    found: list[Any] = []

    def listen(session: Any, **kwargs: Any) -> None:
        found.append((session.public_id, session.user_id))

    session_ended.connect(listen)
    yield found
    session_ended.disconnect(listen)


def by_django(session_key: str) -> Any:
    return DjangoSession.objects.get(pk=session_key)


def test_djangos_model_shows_who_is_logged_in(logged_in: Client, user: User) -> None:
    (session,) = DjangoSession.objects.filter(expire_date__gt=timezone.now())
    assert session.get_decoded()[auth.SESSION_KEY] == str(user.pk)
    assert session.session_key == logged_in.session.session_key


@pytest.mark.parametrize(
    "end",
    [
        lambda key: DjangoSession.objects.all().delete(),
        lambda key: by_django(key).delete(),
        lambda key: Session.objects.all().delete(),
        lambda key: django_db.SessionStore(key).delete(),
        lambda key: store(key).flush(),
    ],
)
def test_deleting_rows_ends_sessions_and_says_so(
    end: Callable[[str], Any],
    logged_in: Client,
    user: User,
    announced: list[Any],
    django_capture_on_commit_callbacks: Any,
) -> None:
    public_id = Session.objects.get().public_id
    with django_capture_on_commit_callbacks(execute=True):
        end(str(logged_in.session.session_key))
    assert not is_logged_in(logged_in)
    assert announced == [(public_id, user.pk)]


@pytest.fixture
def visits() -> Iterator[Any]:
    """A model of a package, with a foreign key to Django's `Session`."""

    class Visit(models.Model):
        session = models.ForeignKey(DjangoSession, models.CASCADE, related_name="+")

        class Meta:
            app_label = "auth"

        def __str__(self) -> str:
            return str(self.pk)

    with table(Visit):
        yield Visit


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("end", ["logout", "password", "user", "clear"])
def test_rows_that_a_package_relates_to_sessions_go_with_them(
    end: str, visits: Any, logged_in: Client, user: User, announced: list[Any]
) -> None:
    visits.objects.create(session=DjangoSession.objects.get())
    session = logged_in.session
    if end == "logout":
        logged_in.logout()
    elif end == "password":
        session.cycle_key()
    elif end == "user":
        user.delete()
    else:
        Session.objects.update(expire_date=timezone.now())
        call_command("clearsessions")
    assert not visits.objects.exists()
    assert len(announced) == (end != "password")
    assert Session.objects.count() == (end == "password")


def test_raw_sql_ends_a_session_at_once(logged_in: Client) -> None:
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM django_session")
    assert not is_logged_in(logged_in)


def test_what_djangos_engine_writes_counts_at_once(logged_in: Client, user: User) -> None:
    """A package that logs a session out, in, or puts something into it."""
    key = logged_in.session.session_key
    other = User.objects.create_user("grace", password="x")  # noqa: S106
    session = django_db.SessionStore(key)
    data = dict(store(key).items())
    session._session_cache = data | {
        auth.SESSION_KEY: str(other.pk),
        auth.HASH_SESSION_KEY: other.get_session_auth_hash(),
        "fruit": "apple",
    }
    session.save()
    assert logged_in.get("/").content == b"user=grace"
    assert loaded(key)["fruit"] == "apple"
    assert Session.objects.get().user == other  # the request above has written the columns
    session._session_cache = {"fruit": "pear"}
    session.save()
    assert logged_in.get("/").content == b"user=anonymous"
    assert loaded(key) == {"fruit": "pear"}
    assert Session.objects.get().user is None


@pytest.mark.parametrize("write", ["save", "update", "manager"])
def test_what_our_model_writes_counts_at_once(logged_in: Client, write: str) -> None:
    session = Session.objects.get()
    encoded = store().encode({"fruit": "apple"})
    if write == "save":
        session.session_data = encoded
        session.save()
    elif write == "update":
        Session.objects.update(session_data=encoded)
    else:
        Session.objects.save(session.session_key, {"fruit": "apple"}, session.expire_date)
    assert loaded(session.session_key) == {"fruit": "apple"}
    assert logged_in.get("/").content == b"user=anonymous"


@pytest.mark.parametrize("model", [DjangoSession, Session])
def test_a_row_that_is_saved_without_a_change_keeps_its_version(
    logged_in: Client, model: Any
) -> None:
    before = Session.objects.get().version
    model.objects.get().save()
    assert before and Session.objects.get().version == before


def dict_as_session(request: HttpRequest) -> HttpResponse:
    request.session = {}  # type: ignore[assignment]
    return HttpResponse(request.user.get_username() or "anonymous")


def test_cookie(request: HttpRequest) -> HttpResponse:
    if request.method == "POST":
        worked = request.session.test_cookie_worked()
        request.session.delete_test_cookie()
        return HttpResponse(str(worked))
    request.session.set_test_cookie()
    return HttpResponse()


urlpatterns = [path("dict/", dict_as_session), path("cookie/", test_cookie)]
del test_cookie  # pytest would take it for a test


def test_a_dictionary_as_session(logged_in: Client, settings: Any) -> None:
    settings.ROOT_URLCONF = __name__
    assert logged_in.get("/dict/").content == b"anonymous"


def test_the_test_cookie(client: Client, settings: Any) -> None:
    settings.ROOT_URLCONF = __name__
    client.get("/cookie/")
    assert client.post("/cookie/").content == b"True"


def test_session_save_every_request(logged_in: Client, settings: Any) -> None:
    versions = set()
    settings.SESSION_SAVE_EVERY_REQUEST = True
    for _ in range(3):
        answer = logged_in.get("/")
        assert django_settings.SESSION_COOKIE_NAME in answer.cookies
        versions.add(Session.objects.get().version)
    assert len(versions) == 3
    assert is_logged_in(logged_in)
