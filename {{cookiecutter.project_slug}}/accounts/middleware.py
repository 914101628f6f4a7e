"""Count failed logins even if the transaction of the view is rolled back."""

from collections.abc import Callable
from typing import Any

from django.http import HttpResponse

from accounts.models import Attempt


def keep_failures(get_response: Callable[[Any], HttpResponse]) -> Callable[[Any], HttpResponse]:
    """Return a middleware that saves failed logins again if `ATOMIC_REQUESTS` rolled them back."""

    def middleware(request: Any) -> HttpResponse:
        request.uncommitted_failures = []  # accounts/throttle.py appends
        response = get_response(request)
        for failure in request.uncommitted_failures:
            if not Attempt.objects.filter(name=failure.name, at=failure.at).exists():
                failure.pk = None
                failure.save()
        return response

    return middleware
