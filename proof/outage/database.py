"""What tests of a database that fails share."""

import httpx2

CROWD = 30  # requests at once: more than all threads of two workers
PATIENCE = 60  # seconds that a client waits, longer than any page may take


def assert_is_away(answer: httpx2.Response, seconds: float) -> None:
    """Check that the site said within `seconds` that the database is unavailable."""
    assert answer.status_code == 503, answer.status_code
    assert 1 <= int(answer.headers["Retry-After"]) <= 60
    assert "sessionid" not in answer.headers.get("Set-Cookie", "")
    assert answer.elapsed.total_seconds() < seconds
