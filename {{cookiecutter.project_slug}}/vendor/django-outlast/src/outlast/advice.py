"""What an error of a service means, and which command mends it on this system."""

import platform
import re
import shutil
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import Error as DatabaseError

from outlast.known_errors import DATABASE, GO_WITHOUT, REDIS, Known

LOOPBACK = {"localhost", "127.0.0.1", "::1", ""}
SENTINEL_SETTINGS = "REDIS_SENTINELS or REDIS_PASSWORD"
PACKAGES = {
    "apt-get": "sudo apt-get install redis-server",
    "dnf": "sudo dnf install valkey && sudo systemctl enable --now valkey",
    "pacman": "sudo pacman -S valkey && sudo systemctl enable --now valkey",
    "zypper": "sudo zypper install redis && sudo systemctl enable --now redis@default",
    "apk": "sudo apk add valkey && sudo rc-service valkey start",
}


class TroubleError(Exception):
    """Something is wrong with a service: a sentence, then what mends it, one way a line."""

    def __init__(self, sentence: str, *remedies: str) -> None:
        super().__init__(sentence)
        self.sentence, self.remedies = sentence, remedies


def explain(error: BaseException) -> tuple[str, ...]:
    """Return a sentence on `error`, then what mends it, one way each."""
    if isinstance(error, TroubleError):
        return (error.sentence, *error.remedies)
    if isinstance(error, DatabaseError):
        return explain_database(error)
    if isinstance(error, ImproperlyConfigured):
        return (str(error),)
    if is_about_redis(error):
        return explain_redis_of_the_site(error)
    if isinstance(error, OSError) and error.filename:
        return (
            f"{error.filename} cannot be written to: {error.strerror}.",
            "Give it to the user that runs the site, and see that its disk has room",
        )
    return (f"{_words(error)}.", "If that says too little: docs/troubleshooting.md")


def is_about_redis(error: BaseException) -> bool:
    """Whether redis-py, or our own code around it, raised `error`."""
    ours = type(error).__module__ == "outlast.redis"
    return ours or type(error).__module__.partition(".")[0] == "redis"


def explain_redis_of_the_site(error: BaseException) -> tuple[str, ...]:
    """Say what an error of the cache's Redis means, with its address and how to start it."""
    cache = settings.CACHES["default"]
    place = urlsplit(str(cache.get("LOCATION", "")))
    sentinels = cache.get("OPTIONS", {}).get("sentinels")
    if sentinels:
        at = ", ".join(f"{host}:{port}" for host, port in sentinels)
        start = ways_to_start_sentinel(sentinels[0][0])
        return explain_redis(error, "Redis behind Sentinel", at, SENTINEL_SETTINGS, start)
    host, port = place.hostname or "", place.port or 6379
    at = f"{host}:{port}" if host else place.path
    return explain_redis(error, "Redis", at, "REDIS_URL", ways_to_start_redis(host, port))


def explain_redis(
    error: BaseException, who: str, at: str, variable: str, start: tuple[str, ...]
) -> tuple[str, ...]:
    """Say what `error` of `who`, Redis or a Sentinel, means; `start`: how one is started."""
    return _look_up(REDIS, error, who, at, variable, start)


def explain_database(error: BaseException) -> tuple[str, ...]:
    """Say what `error` of the relational database means."""
    config = settings.DATABASES["default"]
    if config["ENGINE"].endswith("sqlite3"):
        who, at, host = "SQLite", config["NAME"], ""
    else:
        host = config["HOST"]
        who, at = "PostgreSQL", f"{host or 'localhost'}:{config['PORT'] or 5432}/{config['NAME']}"
    start: tuple[str, ...] = {
        "Windows": ("Start it: net start postgresql-x64-17",),
        "Darwin": ("Start it: brew services start postgresql",),
    }.get(platform.system(), ("Start it: sudo systemctl start postgresql",))
    if host not in LOOPBACK:
        start = ("See that it runs there and lets this machine in, or correct DATABASE_URL",)
    start += ("Or use a file while developing: take DATABASE_URL out of .env",)
    return _look_up(DATABASE, error, who, str(at), "DATABASE_URL", start)


def _look_up(
    known: tuple[Known, ...],
    error: BaseException,
    who: str,
    at: str,
    variable: str,
    start: tuple[str, ...],
) -> tuple[str, ...]:
    words = _words(error)
    for entry in known:
        if re.search(entry.pattern, words, re.IGNORECASE):
            break
    else:
        entry = Known(
            "", "{it} answers with an error: " + words.replace("{", "(").replace("}", ")") + "."
        )
    lines = [
        line
        for remedy in entry.remedies
        for line in (start if remedy == "START" else (remedy.format(variable=variable),))
    ]
    sentence = entry.sentence.format(who=who, at=at, it=f"{who} at {at}")
    return (sentence[0].upper() + sentence[1:], *lines)


def _words(error: BaseException) -> str:
    """Return the class and the text of an error and of its cause, without any password."""
    cause = error.__cause__ or error.__context__
    text = f"{type(error).__name__}: {str(error).strip()}".strip().rstrip(".:")
    if cause and type(cause).__name__ == "gaierror":
        text = f"gaierror, {text}"
    for secret in sorted(filter(None, _secrets()), key=len, reverse=True):
        text = text.replace(secret, "[hidden]")
    return text


def _secrets() -> Iterator[str]:
    """Yield what must never be shown, as it is and as it stands in an address."""
    yield settings.SECRET_KEY
    cache = settings.CACHES["default"]
    options: dict[str, Any] = cache.get("OPTIONS", {})
    for secret in (
        settings.DATABASES["default"].get("PASSWORD"),
        urlsplit(str(cache.get("LOCATION", ""))).password,
        options.get("password"),
        options.get("sentinel_kwargs", {}).get("password"),
    ):
        if secret:
            yield from (secret, quote(secret, safe=""), unquote(secret))


def ways_to_start_redis(host: str, port: int, system: str = "") -> tuple[str, ...]:
    """Return the commands that start a Redis here at `port`; for another host what to look at.

    `system`: what `platform.system()` says, by default here.
    """
    if host not in LOOPBACK:
        return (
            f"See that it runs on {host} and lets this machine in (firewall, security group)",
            GO_WITHOUT,
        )
    system = system or platform.system()
    if system == "Windows":
        return (
            f"With Docker Desktop: docker run -d -p 127.0.0.1:{port}:6379 valkey/valkey:8-alpine",
            "With WSL 2: wsl --install, then inside it: sudo apt install redis-server",
            "With Memurai: winget install Memurai.MemuraiDeveloper",
            GO_WITHOUT,
        )
    if system == "Darwin":
        for_good = "brew install valkey && brew services start valkey"
    elif shutil.which("redis-server") and shutil.which("systemctl"):
        for_good = "sudo systemctl start redis-server"
    else:
        for_good = next((PACKAGES[tool] for tool in PACKAGES if shutil.which(tool)), "")
    return (
        "For now, in a second terminal: python manage.py devredis",
        *([f"For good: {for_good}"] if for_good else []),
        GO_WITHOUT,
    )


def ways_to_start_sentinel(host: str, system: str = "") -> tuple[str, ...]:
    """As `ways_to_start_redis`, for a Sentinel: what starts a Redis starts none."""
    if host not in LOOPBACK:
        return ways_to_start_redis(host, 0)
    windows = (system or platform.system()) == "Windows"
    where = "inside WSL 2" if windows else "in a second terminal"
    if shutil.which("redis-sentinel") and shutil.which("systemctl"):
        for_good = "sudo systemctl start redis-sentinel"
    else:
        for_good = "three, on machines that do not fail together: docs/redis.md"
    return (
        f"For now, {where}: python manage.py devredis",
        f"For good: {for_good}",
        "Or with one Redis: DJANGO_PROFILE=redis",
        GO_WITHOUT,
    )
