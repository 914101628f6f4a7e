"""Seeded requests as attackers send them, over one TLS connection after another."""

import http.client
import random
import string
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from proof.site import Site

SECRET = "a" * 32  # Django takes a CSRF cookie whose value the form repeats
METHODS = ["GET"] * 6 + ["POST"] * 8 + ["HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "X"]
PATHS = [
    "/", "/accounts/login/", "/accounts/logout/", "/dashboard/", "/accounts/sessions/",
    "/accounts/sessions/{}/end/", "/accounts/sessions/end-others/", "/accounts/password/change/",
    "/accounts/password/reset/", "/accounts/password/reset/{}/{}/", "/accounts/sign-up/",
    "/accounts/confirm/", "/admin/", "/admin/login/", "/admin/accounts/user/{}/change/",
    "/admin/accounts/user/?q={}", "/admin/r/{}/{}/", "/admin/jsi18n/", "/ws/events/", "/healthz",
    "/readyz?{}", "/metrics", "/favicon.ico", "/static/{}", "/static/css/site.css", "/{}", "//{}",
    "/../{}", "/accounts/", "/accounts/login", "*", "http://other.example/",
]  # fmt: skip
CHARSETS = [
    "utf-8", "utf-16", "utf-16-le", "utf-32", "utf-7", "idna", "punycode", "rot13", "hex",
    "base64", "bz2", "zlib", "undefined", "unicode_escape", "raw_unicode_escape", "mbcs", "oem",
    "latin-1", "cp037", "shift_jis", "ascii", "nonsense", "\xff", "a" * 300, "", "../x",
]  # fmt: skip
TYPES = ["application/x-www-form-urlencoded"] * 3 + [
    "multipart/form-data; boundary=b", "multipart/form-data", "multipart/form-data; boundary=",
    "multipart/form-data; boundary=\xff", "multipart/form-data; boundary=" + "b" * 300,
    "application/json", "text/plain", "", "/", ";;;", "text/plain; charset*=nonsense''x",
    "text/plain; charset*=utf-8''%00", "text/plain; a*=idna''%ff.x", "text/plain; a*=undefined''x",
    "text/plain; charset*0*=nonsense''a", "text/plain; a=" + "a" * 18_000,
]  # fmt: skip
PARTS = [
    b'--b\r\nContent-Disposition: form-data; name="username"\r\n\r\nx\r\n--b--\r\n',
    b'--b\r\nContent-Disposition: form-data; name="f"; filename="\x00"\r\n\r\nx\r\n--b--\r\n',
    b"--b\r\nContent-Disposition: form-data; name*=utf-16''%00\r\n\r\nx\r\n--b--\r\n",
    b"--b\r\nContent-Disposition: form-data; name=a\r\nContent-Transfer-Encoding: base64\r\n\r\n!",
    b"--b\r\nContent-Disposition: form-data; name=a\r\nContent-Type: a; charset=hex\r\n\r\nx",
    b"--b", b"--b\r\n\r\n", b"--b--", b"\r\n--b\r\nContent-Disposition: form-data\r\n\r\n",
]  # fmt: skip
FIELDS = ["username", "password", "email", "next", "remember", "new_password1", "action", "q"]
HEADERS = [
    "Accept-Language", "Accept", "Referer", "Origin", "Range", "If-None-Match",
    "If-Modified-Since", "Authorization", "X-Request-ID", "X-Forwarded-For", "X-Forwarded-Host",
    "X-Forwarded-Proto", "X-CSRFToken", "Content-Encoding", "User-Agent", "Expect",
]  # fmt: skip
COOKIES = ["__Host-sessionid", "__Host-csrftoken", "messages", "django_language", "\xa0sessionid"]


@dataclass
class Request:
    """A request as bytes, with its method, which decides whether the response has a body."""

    method: str
    data: bytes


def requests(seed: int, count: int, site: Site) -> Iterator[Request]:
    """Yield the requests of a seed."""
    chance = random.Random(seed)
    for _ in range(count):
        yield _request(chance, site)


def text(chance: random.Random) -> str:
    """Return what a header, a path or a field may hold, in Latin-1."""
    kind = chance.randrange(7)
    if kind == 0:
        return "".join(chance.choices(string.ascii_letters + string.digits, k=12))
    if kind == 1:
        return "".join(map(chr, chance.choices(range(0x20, 0x100), k=chance.randrange(30))))
    if kind == 2:
        return chance.choice("aé\xff%;=") * chance.choice([1, 100, 5000])
    return chance.choice([
        "", "0", "-1", "9" * 30, "%00", "%ff%fe", "%F0%9F%92%A9", "%ed%a0%80", "..%2f..", "null",
        "' OR 1=1--", "{{7*7}}", "//evil.example", "javascript:x", "a@b.example", "bytes=0-,5-1",
        "Thu, 99 Foo 9999 99:99:99 GMT", "\\", "[::1", "http://[", "xn--\xff", "1,2,3", "en;q=x",
    ])  # fmt: skip


def _request(chance: random.Random, site: Site) -> Request:
    method = chance.choice(METHODS)
    path = chance.choice(PATHS)
    while "{}" in path:
        path = path.replace("{}", quote(text(chance), safe="%/'=~", encoding="latin-1"), 1)
    if chance.random() < 0.4:
        pairs = (f"{chance.choice(FIELDS)}={text(chance)}" for _ in range(chance.randrange(4)))
        path += "?" + quote("&".join(pairs), safe="%&='", encoding="latin-1")
    host = urlsplit(site.url).netloc if chance.random() < 0.9 else text(chance)
    headers = [("Host", host)]
    headers += [(chance.choice(HEADERS), text(chance)) for _ in range(chance.randrange(4))]
    cookies = [(chance.choice(COOKIES), text(chance)) for _ in range(chance.randrange(3))]
    body = b""
    if method in ("POST", "PUT", "PATCH", "X"):
        body = _body(chance)
        kind = chance.choice(TYPES)
        if chance.random() < 0.6:
            kind += f"; charset={chance.choice(CHARSETS)}"
        headers += [("Content-Type", kind), ("Content-Length", str(len(body)))]
        if chance.random() < 0.5:  # past the CSRF check
            headers += [("Origin", site.url), ("X-CSRFToken", SECRET)]
            cookies.append(("__Host-csrftoken", SECRET))
    if cookies:
        headers.append(("Cookie", "; ".join(f"{name}={value}" for name, value in cookies)))
    head = "".join(f"{name}: {value}\r\n" for name, value in headers)
    line = f"{method} {path} HTTP/1.1\r\n{head}\r\n"
    return Request(method, line.encode("latin-1") + body)


def _body(chance: random.Random) -> bytes:
    kind = chance.randrange(4)
    if kind == 0:
        return chance.choice(PARTS)
    if kind == 1:
        return chance.randbytes(chance.choice([1, 20, 3000]))
    fields = (f"{chance.choice(FIELDS)}={text(chance)}" for _ in range(chance.randrange(6)))
    if kind == 2:
        fields = (quote(field, safe="%=", encoding="latin-1") for field in fields)
    return "&".join([*fields, f"csrfmiddlewaretoken={SECRET}"]).encode("latin-1")


class Attacker:
    """Sends requests and returns responses; reconnects if the server closes the connection."""

    def __init__(self, site: Site) -> None:
        self.connection = http.client.HTTPSConnection(
            "127.0.0.1", site.port, timeout=20, context=site.connection["verify"]
        )

    def send(self, request: Request) -> http.client.HTTPResponse | None:
        """Return the response, which has been read; None if the server closed without one."""
        was_open = self.connection.sock is not None
        try:
            self.connection.send(request.data)  # connects if it is closed
            response = http.client.HTTPResponse(self.connection.sock, method=request.method)
            response.begin()
            response.read()
        except (OSError, http.client.HTTPException):
            self.connection.close()
            # The server may have closed it after the response before.
            return self.send(request) if was_open else None
        if response.will_close:
            self.connection.close()
        return response
