"""The fixtures of tests/conftest.py, for the tests of every app."""

from tests.conftest import _quick, admin, https, log_in, new_browser, page, user

__all__ = ["_quick", "admin", "https", "log_in", "new_browser", "page", "user"]
