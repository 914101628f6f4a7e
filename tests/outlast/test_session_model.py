"""A project's own model of sessions, as Django documents it."""

import sys
from collections.abc import Iterator
from functools import partial
from types import ModuleType
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import models
from django.test import Client
from django.utils import timezone
from outlast import health, visitors
from outlast.health import metrics, probes, runner
from outlast.models import AbstractSession, Session
from session_helpers import is_logged_in, saved, store, table


@pytest.fixture
def own_model(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """An engine with a model of its own, as Django documents it."""

    class OwnSession(AbstractSession):
        shop = models.IntegerField(null=True)

        class Meta(AbstractSession.Meta):
            app_label = "auth"
            db_table = "own_session"

    class OwnStore(type(store())):  # type: ignore[misc]
        @classmethod
        def get_model_class(cls) -> Any:
            return OwnSession

    engine = ModuleType("own_engine")
    engine.SessionStore = OwnStore  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "own_engine", engine)
    settings.SESSION_ENGINE = "own_engine"
    with table(OwnSession):
        yield OwnSession


@pytest.mark.django_db(transaction=True)
def test_a_model_of_the_project_is_used_throughout(
    own_model: Any, user: User, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "_runs", {})  # no results of other tests
    monkeypatch.setattr(health, "readiness", partial(health.readiness, 30))
    client.force_login(user)
    assert is_logged_in(client)
    assert (own_model.objects.count(), Session.objects.count()) == (1, 0)
    own_model.objects.update(version=None, shop=7)  # as after a save by other code
    assert is_logged_in(client)
    assert [row.shop for row in own_model.objects.exclude(version=None)] == [7]
    saved(-10)
    assert probes.session_rows() == "1 open, 1 expired"
    families = {family.name: family for family in metrics.SiteCollector().collect()}
    assert [sample.value for sample in families["site_sessions"].samples] == [1, 1]
    visitor = async_to_sync(visitors.find_visitor)(client.session.session_key)
    assert visitor and async_to_sync(visitors.find_end)(visitor) > timezone.now()
    call_command("clearsessions")
    assert own_model.objects.count() == 1
