"""Run in a site on the profile `file`: threads share entries and a session; none may fail."""

import os
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable
from importlib import import_module

SECONDS = 10

os.environ["DJANGO_SETTINGS_MODULE"] = "config.settings"
sys.path.insert(0, "")
import django  # noqa: E402

django.setup()
from django.conf import settings  # noqa: E402
from django.core.cache import cache  # noqa: E402

calls: Counter[str] = Counter()
errors: list[str] = []
end = time.monotonic() + SECONDS


def use_session(key: str) -> None:
    session = Store(key)
    session["n"] = session.get("n", 0) + 1
    session.save()


def repeat(name: str, call: Callable[[], object]) -> None:
    """Call until the time is over; count the calls and keep the errors."""
    while time.monotonic() < end:
        try:
            call()
            calls[name] += 1
        except Exception as error:
            errors.append(f"{name}: " + "".join(traceback.format_exception(error)[-3:]))


if __name__ == "__main__":
    assert settings.CACHES["default"]["BACKEND"] == "outlast.filebased.FileBasedCache"
    Store = import_module(settings.SESSION_ENGINE).SessionStore
    session = Store()
    session["n"] = 0
    session.save()
    uses: dict[str, Callable[[], object]] = {
        "set": lambda: cache.set("k", "v" * 2000),
        "get": lambda: cache.get("k"),
        "add": lambda: cache.add("a", 1),
        "delete": lambda: cache.delete("a"),
        "touch": lambda: cache.touch("k", 60),
        "session": lambda: use_session(session.session_key),
    }
    threads = [threading.Thread(target=repeat, args=each) for each in [*uses.items()] * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    failed = Counter(error.partition(":")[0] for error in errors)
    print(f"{calls.total()} calls {dict(calls)}, errors: {dict(failed)}")
    assert all(calls[name] for name in uses), "too little was done to prove anything"
    sys.exit("\n".join(errors[:3]) or 0)
