"""The page "Your sessions", which lists and ends sessions."""

from datetime import timedelta
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.contrib.auth import BACKEND_SESSION_KEY, login, logout
from django.contrib.auth.decorators import login_required
from django.contrib.auth.mixins import LoginRequiredMixin
from django.db.models import QuerySet
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse_lazy
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_POST
from outlast import browsers
from outlast.live import publish
from outlast.models import Session

from accounts.forms import ConfirmForm
from accounts.views import OwnPasswordView

# Sessions can be ended without the password for this long after a login: a person who finds an
# open browser, or steals a session, must not be able to log the owner out (ASVS 5, 7.5.2).
CONFIRMED = timedelta(minutes=15)
SHOWN = 100


@never_cache
@login_required
def sessions(request: Any) -> HttpResponse:
    """Show the user's open sessions: this one, then the others, last used first."""
    found = Session.objects.alive().filter(user=request.user).defer("session_data")
    shown = [
        {
            "session": session,
            "is_this": session.session_key == request.session.session_key,
            "browser": browsers.describe(session.user_agent or ""),
        }
        for session in found.order_by("-last_seen")[:SHOWN]
    ]
    shown.sort(key=lambda each: not each["is_this"])
    context = {"sessions": shown, "confirmed": confirmed(request)}
    return render(request, "accounts/sessions.html", context)


@login_required
@require_POST
def end_session(request: Any, public_id: UUID) -> HttpResponse:
    """End one session of the user, if it has not ended already."""
    session = Session.objects.filter(user=request.user, public_id=public_id)
    if session.filter(session_key=request.session.session_key).exists():
        logout(request)
        return redirect("login")
    return _end(request, session)


@login_required
@require_POST
def end_other_sessions(request: Any) -> HttpResponse:
    """End all sessions of the user except the current one."""
    found = Session.objects.filter(user=request.user)
    return _end(request, found.exclude(session_key=request.session.session_key))


def _end(request: Any, ending: QuerySet[Session]) -> HttpResponse:
    if not confirmed(request):
        return redirect("confirm")
    count, _objects = ending.delete()
    if count:
        text = ngettext("One session has ended.", "%(count)d sessions have ended.", count)
        messages.success(request, text % {"count": count})
        publish(request.user.pk, "sessions_ended", text % {"count": count})
    else:
        messages.info(request, _("That session had already ended."))
    return redirect("sessions")


def confirmed(request: Any) -> bool:
    """Return whether the user has entered the password recently."""
    session = Session.objects.filter(session_key=request.session.session_key, user=request.user)
    return bool(session.filter(authenticated__gt=timezone.now() - CONFIRMED).exists())


@method_decorator([never_cache, sensitive_post_parameters()], name="dispatch")
class ConfirmView(LoginRequiredMixin, OwnPasswordView):
    """Ask for the password again, and give the session a new key."""

    template_name = "accounts/confirm.html"
    request: Any
    form_class = ConfirmForm
    success_url = reverse_lazy("sessions")

    def form_valid(self, form: ConfirmForm) -> HttpResponse:
        session = self.request.session
        login(self.request, self.request.user, session[BACKEND_SESSION_KEY])
        session.cycle_key()  # login() does not do that for the user's own session
        return super().form_valid(form)
