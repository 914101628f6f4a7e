"""Names of browsers."""

import pytest
from outlast import browsers

WINDOWS = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/141.0 Safari/537.36"


@pytest.mark.parametrize(
    ("user_agent", "words"),
    [
        ("Mozilla/5.0 (X11; Linux x86_64; rv:143.0) Firefox/143.0", "Firefox on Linux"),
        ("Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) Safari/605", "Safari on macOS"),
        (WINDOWS, "Chrome on Windows"),
        (f"{WINDOWS} Edg/141.0.0.0", "Edge on Windows"),
        (f"{WINDOWS} OPR/122.0.0.0", "Opera on Windows"),
        ("Mozilla/5.0 (X11; CrOS x86_64) Chrome/141.0 Safari/1", "Chrome on ChromeOS"),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) CriOS/1", "Chrome on iPhone"),
        ("Mozilla/5.0 (iPad; CPU OS 18_6 like Mac OS X) Safari/604.1", "Safari on iPad"),
        ("Mozilla/5.0 (Linux; Android 10; K) Chrome/141.0.0.0 Safari/1", "Chrome on Android"),
        ("Mozilla/5.0 (Linux; Android 10; K) SamsungBrowser/28.0 Chrome/130.0 Safari/1",
         "Samsung Internet on Android"),
        ("curl/8.16.0", "curl"),
        ("Some thing", "an unknown browser"),
        ("Mozilla/5.0", "an unknown browser"),
        ("<script>alert(1)</script>", "an unknown browser"),
        ("", "an unknown browser"),
    ],
)  # fmt: skip
def test_browsers_have_names(user_agent: str, words: str) -> None:
    assert browsers.describe(user_agent) == words
