import os
from importlib import import_module

from django.apps import AppConfig

ENGINES = {"file": "file", "redis": "redis", "redis-sentinel": "redis"}


class OurSessionsConfig(AppConfig):
    name = "our_sessions"

    def ready(self) -> None:
        from django.contrib.sessions import base_session, middleware
        from django.contrib.sessions.backends import db
        from outlast.middleware import SessionMiddleware
        from outlast.models import AbstractSession

        engine = ENGINES.get(os.environ["CONFORMANCE_PROFILE"], "db")
        db.SessionStore = import_module(f"outlast.sessions.{engine}").SessionStore
        base_session.AbstractBaseSession = AbstractSession
        middleware.SessionMiddleware = SessionMiddleware
