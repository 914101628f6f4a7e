"""`manage.py runserver` on uvicorn, so that WebSockets work, with Django's reloader."""

import copy
import socket
from typing import Any

import uvicorn
from django.conf import settings
from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
from django.contrib.staticfiles.management.commands import runserver
from django.http.request import validate_host
from django.utils.module_loading import import_string

from outlast import health
from outlast.asgi import get_asgi_application
from outlast.conf import conf


class UvicornServer:
    """A server class for Django's command, with uvicorn.

    It binds at once, so that the command can report errors in one sentence.
    """

    daemon_threads = True  # of a server that has threads for requests

    def __init__(self, address: tuple[str, int], handler: Any, ipv6: bool) -> None:
        family = socket.AF_INET6 if ipv6 else socket.AF_INET
        self.socket = socket.create_server(address, family=family)
        self.server_port: int = self.socket.getsockname()[1]

    def set_app(self, application: Any) -> None:
        self.application = application

    def serve_forever(self) -> None:
        logs = copy.deepcopy(uvicorn.config.LOGGING_CONFIG)
        logs["loggers"]["uvicorn.error"] = {"level": "WARNING"}  # Django reports the start
        config = uvicorn.Config(
            self.application,
            lifespan="off",
            log_config=logs,
            log_level=None,
            timeout_graceful_shutdown=1,
            ws_max_size=conf.WEBSOCKET_MAX_BYTES,
            ws_per_message_deflate=False,
        )
        uvicorn.Server(config).run(sockets=[self.socket])


class Command(runserver.Command):
    server_cls = UvicornServer  # type: ignore[assignment]  # Django's types: wsgiref's alone
    addr: str

    def get_handler(self, *args: Any, **options: Any) -> Any:
        path = getattr(settings, "ASGI_APPLICATION", None)
        application = import_string(path) if path else get_asgi_application()
        if options["use_static_handler"] and (settings.DEBUG or options["insecure_serving"]):
            return ASGIStaticFilesHandler(application)
        return application

    def on_bind(self, server_port: int) -> None:
        super().on_bind(server_port)
        host = f"[{self.addr}]" if ":" in self.addr else self.addr
        if conf.SITE_URL and not validate_host(host, settings.ALLOWED_HOSTS):
            self.stdout.write(
                f"The site answers at {conf.SITE_URL} only. To open it at another address, such "
                f"as from a phone, set SITE_URL=http://ADDRESS:{server_port} in .env."
            )
        profile = f"Profile {conf.PROFILE}. " if conf.PROFILE else ""
        self.stdout.write(profile + health.summary_line())
