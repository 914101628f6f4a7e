"""Your sessions: where you are logged in, and how to end that."""

from datetime import timedelta
from typing import Any, NamedTuple
from uuid import UUID

from django.contrib import messages
from django.contrib.auth import BACKEND_SESSION_KEY, login, logout
from django.contrib.auth.decorators import login_required
from django.contrib.auth.mixins import LoginRequiredMixin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse_lazy
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_POST
from django.views.generic import FormView, TemplateView
from outlast.models import Session

from accounts import browsers, events
from accounts.forms import ConfirmForm
from accounts.models import User
from accounts.views import ThrottledMixin

# How long after a login sessions can be ended without the password: a person who finds a
# browser open, or steals a session, must not throw its owner out (ASVS 5, 7.5.2).
CONFIRMED = timedelta(minutes=15)
SHOWN = 100


class OwnRequest(HttpRequest):
    """A request of a logged-in user."""

    user: User


class Shown(NamedTuple):
    """A session as the page shows it."""

    session: Session
    is_this: bool  # the one that asks
    browser: str
    system: str


@method_decorator(never_cache, name="dispatch")
class SessionsView(LoginRequiredMixin, TemplateView):
    """The open sessions of the user: this one, then the others, the last used first."""

    template_name = "accounts/sessions.html"
    request: OwnRequest

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(
            sessions=self.shown(), confirmed=confirmed(self.request), **kwargs
        )

    def shown(self) -> list[Shown]:
        sessions = Session.objects.alive().filter(user=self.request.user).defer("session_data")
        this = self.request.session.session_key
        found = [
            Shown(
                session, session.session_key == this, *browsers.describe(session.user_agent or "")
            )
            for session in sessions.order_by("-last_seen")[:SHOWN]
        ]
        return sorted(found, key=lambda shown: not shown.is_this)


@login_required
@require_POST
def end_session(request: OwnRequest, public_id: UUID) -> HttpResponse:
    """End one session of the user, or none if it has ended already."""
    session = Session.objects.filter(user=request.user, public_id=public_id)
    if session.filter(session_key=request.session.session_key).exists():
        logout(request)
        return redirect("login")
    return _end(request, session)


@login_required
@require_POST
def end_other_sessions(request: OwnRequest) -> HttpResponse:
    """End all sessions of the user but the one that asks."""
    sessions = Session.objects.filter(user=request.user)
    return _end(request, sessions.exclude(session_key=request.session.session_key))


def _end(request: OwnRequest, sessions: QuerySet[Session]) -> HttpResponse:
    if not confirmed(request):
        return redirect("confirm")
    count, _objects = sessions.delete()
    if count:
        text = ngettext("One session has ended.", "%(count)d sessions have ended.", count)
        messages.success(request, text % {"count": count})
        events.publish(request.user.pk, "sessions_ended", text % {"count": count})
    else:
        messages.info(request, _("There was no such session any more."))
    return redirect("sessions")


def confirmed(request: OwnRequest) -> bool:
    """Whether the user has given their password lately."""
    session = Session.objects.filter(session_key=request.session.session_key, user=request.user)
    return bool(session.filter(authenticated__gt=timezone.now() - CONFIRMED).exists())


@method_decorator([never_cache, sensitive_post_parameters()], name="dispatch")
class ConfirmView(LoginRequiredMixin, ThrottledMixin, FormView):
    """Ask for the password again, and give the session a new key."""

    template_name = "accounts/confirm.html"
    request: OwnRequest
    form_class = ConfirmForm
    success_url = reverse_lazy("sessions")

    def get_form_kwargs(self) -> dict[str, Any]:
        return super().get_form_kwargs() | {"request": self.request}

    def form_valid(self, form: ConfirmForm) -> HttpResponse:
        session = self.request.session
        login(self.request, self.request.user, session[BACKEND_SESSION_KEY])
        session.cycle_key()  # login() leaves that out for one's own session
        return super().form_valid(form)
