"""Serve a site with uvicorn and the options that every deployment needs.

Other options are arguments: https://www.uvicorn.org/settings/. WEB_CONCURRENCY is the
number of processes, and FORWARDED_ALLOW_IPS lists the proxies whose headers for a client's address
and scheme are trusted.
"""

import os
import signal
import sys
import tempfile
from argparse import ArgumentDefaultsHelpFormatter, ArgumentParser

import uvicorn
from django.core.exceptions import ImproperlyConfigured

from outlast import logs
from outlast.conf import conf


def serve(application: str, program: str) -> None:
    """Serve `module:application` until SIGTERM or Ctrl-C; `program` is the name in its help."""
    parser = ArgumentParser(program, formatter_class=ArgumentDefaultsHelpFormatter)
    parser.add_argument("--host", default="127.0.0.1", help="0.0.0.0 for all interfaces")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--workers", type=int, help="processes; if not given, WEB_CONCURRENCY")
    parser.add_argument("--timeout-graceful-shutdown", type=int, default=20, metavar="SECONDS",
                        help="for requests in progress; WebSockets close at once")  # fmt: skip
    parser.add_argument("--ssl-certfile", help="PEM file, to serve HTTPS without a proxy")
    parser.add_argument("--ssl-keyfile", help="PEM file")
    arguments = vars(parser.parse_args())
    try:
        longest = conf.WEBSOCKET_MAX_BYTES  # reads the settings
    except ImproperlyConfigured as error:
        sys.exit(f"The site cannot start: {error}")
    # uvicorn shuts down gracefully, then raises the signal again: exit with 0 then.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    with tempfile.TemporaryDirectory(prefix="metrics-", ignore_cleanup_errors=True) as folder:
        # Files in which workers count; any worker can add them up: outlast/health/metrics.py.
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
        uvicorn.run(
            application,
            **arguments,
            http="outlast.protocol:HTTPProtocol",
            loop="outlast.protocol:new_event_loop",
            server_header=False,
            access_log=False,  # outlast.logs does it, with the id of the request
            log_config=logs.CONFIG,
            ws_max_size=longest,
            ws_per_message_deflate=False,  # live events are too short to compress
        )
