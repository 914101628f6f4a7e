"""Says in every answer how often the database was asked for it."""

from collections.abc import Callable
from typing import Any

from django.db import connection
from django.http import HttpRequest


def count_queries(get_response: Callable[[HttpRequest], Any]) -> Callable[[HttpRequest], Any]:
    """Count in the thread that runs the views; so it is no asynchronous middleware."""

    def answer(request: HttpRequest) -> Any:
        count = 0

        def counting(execute: Callable[..., Any], *arguments: Any) -> Any:
            nonlocal count
            count += 1
            return execute(*arguments)

        with connection.execute_wrapper(counting):
            response = get_response(request)
        response["X-Queries"] = str(count)
        return response

    return answer
