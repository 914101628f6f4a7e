from django.contrib.auth.views import LogoutView
from django.urls import include, path
from django.views.generic import RedirectView

from accounts import session_views as sessions
from accounts import views

account = [
    path("login/", views.LoginView.as_view(), name="login"),
    path("logout/", LogoutView.as_view(), name="logout"),
    path("confirm/", sessions.ConfirmView.as_view(), name="confirm"),
    path("sessions/", sessions.sessions, name="sessions"),
    path("sessions/end-others/", sessions.end_other_sessions, name="end_other_sessions"),
    path("sessions/<uuid:public_id>/end/", sessions.end_session, name="end_session"),
    path("password/change/", views.PasswordChangeView.as_view(), name="password_change"),
]
reset = [
    path("", views.LinkView.as_view(kind="password_reset"), name="password_reset"),
    path("sent/", views.LinkSentView.as_view(kind="password_reset"), name="password_reset_done"),
    path(
        "<uidb64>/<token>/",
        views.PasswordResetConfirmView.as_view(),
        name="password_reset_confirm",
    ),
]
sign_up = [
    path("", views.LinkView.as_view(kind="sign_up"), name="sign_up"),
    path("sent/", views.LinkSentView.as_view(kind="sign_up"), name="sign_up_done"),
    path("<uidb64>/<token>/", views.SignUpConfirmView.as_view(), name="sign_up_confirm"),
]
urlpatterns = [
    path("", RedirectView.as_view(pattern_name="dashboard"), name="home"),
    path("dashboard/", views.DashboardView.as_view(), name="dashboard"),
    path("accounts/", include(account)),
    path("accounts/password/reset/", include(reset)),
    path("accounts/sign-up/", include(sign_up)),
]
