"""Cookies, charsets and headers that no browser of the site's users sends."""

import io
from typing import Any

import pytest
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpRequest, HttpResponse
from django.test import Client
from django.urls import path
from outlast.requests import WSGIRequest, exact_cookies, is_usable
from served import serving


def read(request: HttpRequest) -> HttpResponse:
    return HttpResponse(request.POST["a"])


urlpatterns = [path("read/", read)]
MIDDLEWARE = "outlast.requests.StrictRequestMiddleware"


@pytest.mark.parametrize(
    ("header", "cookies"),
    [
        ("sessionid=a; csrftoken=b; other=c", {"sessionid": "a", "csrftoken": "b"}),
        ("\xa0sessionid=planted; sessionid=a", {"sessionid": "a"}),
        ("sessionid=a; \xa0sessionid=planted", {"sessionid": "a"}),
        ("\xa0sessionid=planted", {}),
        ("sessionid\xa0=planted;\x1csessionid=x;\x85sessionid=y; Sessionid=z", {}),
        ("sessionid=a; sessionid=b", {}),
        ("sessionid=a; sessionid=a; csrftoken=b", {"csrftoken": "b"}),
        ("sessionid", {}),
        ("sessionid=", {"sessionid": ""}),
        ('sessionid="a b"', {"sessionid": "a b"}),
        ("", {}),
    ],
)
def test_only_exact_names_count(header: str, cookies: dict[str, str]) -> None:
    assert exact_cookies(header) == cookies


@pytest.fixture
def key(settings: Any, db: None, django_user_model: Any) -> str:
    """The session key of a logged-in user, on Django's own sessions with the middleware."""
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.db"
    settings.MIDDLEWARE = [
        MIDDLEWARE,
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
    ]
    client = Client()
    client.force_login(django_user_model.objects.create_user("ada"))
    return client.cookies["sessionid"].value


@pytest.mark.parametrize("planted", ["\xa0sessionid=x", "\x85sessionid=x", "\xa0csrftoken=y"])
def test_a_planted_cookie_changes_nothing(key: str, planted: str) -> None:
    for header in (f"{planted}; sessionid={key}", f"sessionid={key}; {planted}"):
        assert Client().get("/", HTTP_COOKIE=header).content == b"user=ada"


def test_two_session_cookies_are_none(key: str) -> None:
    header = f"sessionid=other; sessionid={key}"
    assert Client().get("/", HTTP_COOKIE=header).content == b"user=anonymous"


@pytest.mark.parametrize(
    ("charset", "usable"),
    [
        *((name, True) for name in ("utf-8", "latin-1", "ascii", "shift_jis", "cp1252")),
        *((name, False) for name in ("utf-16", "idna", "rot13", "hex", "undefined")),
        *((name, False) for name in ("punycode", "base64", "bz2", "cp037", "utf-32", "uu")),
    ],
)
def test_a_charset_that_cannot_be_used_is_refused(
    settings: Any, charset: str, usable: bool
) -> None:
    settings.MIDDLEWARE, settings.ROOT_URLCONF = [MIDDLEWARE], __name__
    assert is_usable(charset) is usable
    for address in ("/read/", "/nowhere/"):
        kind = f"multipart/form-data; boundary=b; charset={charset}"
        body = b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\nx\r\n--b--\r\n'
        expected = (200 if address == "/read/" else 404) if usable else 400
        response = Client().generic("POST", address, body, kind)
        assert response.status_code == expected


UNREADABLE = ["text/plain; " + parameter for parameter in (
    "charset*=nonsense''x", "charset*=utf-8''%00", "charset*0*=nonsense''a", "a*=idna''%ff.x",
    "a*=undefined''x",
)]  # fmt: skip


def test_an_unreadable_content_type_is_refused_after_the_first_middleware(
    settings: Any, transactional_db: None
) -> None:
    settings.MIDDLEWARE = ["django.middleware.security.SecurityMiddleware", MIDDLEWARE]
    with serving(settings) as server:
        for kind in UNREADABLE:
            answer = server.ask("/page/", headers={"Content-Type": kind})
            assert (answer.status, answer.header("X-Content-Type-Options")) == (400, "nosniff")
    handler = WSGIHandler()
    handler.request_class = WSGIRequest
    for kind in UNREADABLE:
        environ = {"REQUEST_METHOD": "GET", "wsgi.input": io.BytesIO(), "CONTENT_TYPE": kind}
        response: Any = handler(environ, lambda *_: None)
        assert (response.status_code, response["X-Content-Type-Options"]) == (400, "nosniff")
