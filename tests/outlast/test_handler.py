"""The ASGI handler behind a real server: threads, streams, slow and disconnected clients."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from channels.routing import URLRouter
from django.contrib.auth import get_user_model
from django.core.asgi import get_asgi_application
from django.core.signals import request_finished, request_started
from django.db import connection
from django.db.backends.signals import connection_created
from django.urls import re_path
from outlast.handler import ASGIHandler
from served import BIG, GENERATORS, THREADS, Server, gate, get, ours, seen, serving, wait_until


def test_pages_come_from_as_many_threads_as_are_set(server: Server) -> None:
    with ThreadPoolExecutor(20) as crowd:
        texts = list(crowd.map(lambda _: server.get("/page/"), range(40)))
    assert set(texts) == {"page http none"}
    assert len([name for name in ours() if name.startswith("page-")]) <= THREADS


def test_connections_are_kept(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []

    def count(**kwargs: Any) -> None:
        made.append(threading.current_thread().name)

    monkeypatch.setitem(connection.settings_dict, "CONN_MAX_AGE", None)
    connection_created.connect(count)
    try:
        with ThreadPoolExecutor(10) as crowd:
            assert set(crowd.map(lambda _: server.get("/count/"), range(40))) == {"0"}
        assert 1 <= len(made) <= THREADS
    finally:
        connection_created.disconnect(count)


def test_slow_clients_hold_no_thread(server: Server) -> None:
    head = b"POST /upload/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nhalf of it"
    many = 3 * THREADS
    get_user_model().objects.create_user("ada")
    clients = [server.raw(head) for _ in range(many)]
    clients += [server.raw(get("/file/")) for _ in range(GENERATORS)]
    clients += [server.raw(get("/rows/")) for _ in range(many)]
    wait_until(lambda: len(seen) == many, "the streams")
    started = time.monotonic()
    assert [server.get("/page/") for _ in range(20)] == ["page http none"] * 20
    assert time.monotonic() - started < 10
    for client in clients:
        client.close()
    wait_until(lambda: not [name for name in ours() if name.startswith("stream-")], "their end")
    assert not [name for name in seen if not name.startswith("stream-")]


def test_a_stream_keeps_one_thread_and_its_query(server: Server) -> None:
    names = ["ada", "grace", "linus"]
    for name in names:
        get_user_model().objects.create_user(name)
    closed: list[Any] = []

    def finished(**kwargs: Any) -> None:
        closed.append(threading.current_thread().name)

    request_finished.connect(finished)
    try:
        assert server.get("/rows/").split() == names
    finally:
        request_finished.disconnect(finished)
    assert len({*seen, *closed}) == 1, "it was in more than one thread"


def test_a_request_ends_with_its_client_although_its_generator_hangs(server: Server) -> None:
    clients = [server.raw(get("/blocked/")) for _ in range(GENERATORS)]
    wait_until(lambda: len(seen) == GENERATORS, "the first chunks")
    for client in clients:
        client.close()
    wait_until(lambda: not server.server.server_state.tasks, "the end of the requests")
    with server.raw(get("/blocked/")) as waiting:  # since so many threads hang
        assert server.get("/page/") == "page http none"
        assert len(seen) == GENERATORS
        gate.set()
        assert b"200 OK" in waiting.recv(5000)
    wait_until(lambda: not [n for n in ours() if n.startswith("stream-")], "the streams")


def test_files_and_bodies_arrive_whole(server: Server) -> None:
    assert server.get("/file/") == "\0" * BIG
    part = b'--b\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\n'
    body = part + b"y" * BIG + b"\r\n--b--\r\n"
    kind = {"Content-Type": "multipart/form-data; boundary=b"}
    assert server.ask("/upload/", "POST", body=body, headers=kind).status == 403, "no CSRF token"


def test_server_sent_events_hold_no_thread_and_end_with_their_client(server: Server) -> None:
    clients = [server.raw(get("/events/")) for _ in range(GENERATORS + 1)]
    for client in clients:
        text = b""
        while b"data: 2 loop" not in text:
            text += client.recv(1000)
    assert server.get("/page/") == "page http none"
    for client in clients:
        client.close()
    wait_until(lambda: seen.count("gone") == len(clients), "the end of the events")


def test_asynchronous_code_runs_on_the_loop_with_the_context_of_the_request(
    server: Server,
) -> None:
    assert server.get("/async/", headers={"X-Number": "7"}) == "loop False 7"
    assert server.get("/bridge/") == "loop"


def test_one_line_gives_a_prefix_to_djangos_own_handler(
    settings: Any, transactional_db: None
) -> None:
    def application(handler: ASGIHandler) -> Any:
        return URLRouter([re_path("^feed/", get_asgi_application()), re_path("", handler)])

    settings.MIDDLEWARE = settings.MIDDLEWARE[:1]
    with serving(settings, application) as server:
        open_requests = [server.raw(get("/hang/")) for _ in range(THREADS)]
        wait_until(lambda: len(ours()) == THREADS, "the threads")
        client = server.raw(get("/feed/events/"))
        assert b"200 OK" in client.recv(1000), "it waits for a page thread"
        for one in [client, *open_requests]:
            one.close()


def test_signals_come_in_the_thread_of_the_page(server: Server) -> None:
    threads: list[Any] = []

    def note(**kwargs: Any) -> None:
        threads.append(threading.current_thread().name)

    request_started.connect(note)
    request_finished.connect(note)
    try:
        server.get("/page/")
    finally:
        request_started.disconnect(note)
        request_finished.disconnect(note)
    assert len(threads) == 2
    assert threads[0] == threads[1]
    assert threads[0].startswith("page-")


def test_health_answers_while_every_thread_hangs(server: Server, settings: Any) -> None:
    open_requests = [server.raw(get("/hang/")) for _ in range(2 * THREADS)]
    wait_until(lambda: len(ours()) == THREADS, "the threads")
    answer = server.ask("/healthz", timeout=5)
    assert (answer.status, answer.header("Cache-Control")) == (200, "no-store")
    open_requests.append(server.raw(get("/metrics")))
    assert server.get("/readyz") == "probe http none"
    with pytest.raises(TimeoutError):
        server.get("/page/", timeout=0.5)
    gate.set()
    assert server.get("/page/") == "page http none"
    for client in open_requests:
        client.close()


@pytest.mark.parametrize(("threads", "used"), [(1, 1), (2, 1), (5, 2)])
def test_posts_that_wait_for_a_processor_leave_half_of_the_threads(
    threads: int, used: int, settings: Any, transactional_db: None
) -> None:
    token = {"Cookie": f"csrftoken={'a' * 32}", "X-CSRFToken": "a" * 32}
    lines = [f"{name}: {value}" for name, value in token.items()]
    post = "\r\n".join(["POST /slow/login/ HTTP/1.1", "Host: localhost", *lines, "\r\n"])
    with serving(settings, threads=threads) as server:
        open_requests = [server.raw(post.encode()) for _ in range(10)]
        wait_until(lambda: len(server.server.server_state.tasks) == 10, "all of them")
        wait_until(lambda: len(seen) == used, "the first of them")
        if threads > 1:  # other paths and methods do not wait
            for path, method in (("/page/", "GET"), ("/slow/page/", "GET"), ("/page/", "POST")):
                answer = server.ask(path, method, headers=token)
                assert answer.text == "page http none"
        assert seen == ["/slow/login/"] * used
        gate.set()
        for client in open_requests:
            assert b"200 OK" in client.recv(1000)
            client.close()


def test_names_with_underscores_are_not_those_with_hyphens(server: Server, settings: Any) -> None:
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    assert server.get("/page/", headers={"X-Forwarded-Proto": "https"}).split()[1] == "https"
    for name in ("X_Forwarded_Proto", "X-Forwarded_Proto", "x_forwarded_proto"):
        assert server.get("/page/", headers={name: "https"}).split()[1] == "http"
    assert server.get("/page/", headers={"X_Number": "7"}).split()[2] == "none"
