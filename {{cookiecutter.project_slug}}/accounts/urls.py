from django.contrib.auth.views import LogoutView
from django.urls import path
from django.views.generic import RedirectView

from accounts import session_views, views

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="dashboard"), name="home"),
    path("dashboard/", views.DashboardView.as_view(), name="dashboard"),
    path("accounts/login/", views.LoginView.as_view(), name="login"),
    path("accounts/logout/", LogoutView.as_view(), name="logout"),
    path("accounts/confirm/", session_views.ConfirmView.as_view(), name="confirm"),
    path("accounts/sessions/", session_views.sessions, name="sessions"),
    path(
        "accounts/sessions/end-others/",
        session_views.end_other_sessions,
        name="end_other_sessions",
    ),
    path("accounts/sessions/<uuid:public_id>/end/", session_views.end_session, name="end_session"),
    path("accounts/password/change/", views.PasswordChangeView.as_view(), name="password_change"),
    path("accounts/password/reset/", views.PasswordResetView.as_view(), name="password_reset"),
    path(
        "accounts/password/reset/sent/",
        views.LinkSentView.as_view(template_name="accounts/password_reset_done.html"),
        name="password_reset_done",
    ),
    path(
        "accounts/password/reset/<uidb64>/<token>/",
        views.PasswordResetConfirmView.as_view(),
        name="password_reset_confirm",
    ),
    path("accounts/sign-up/", views.SignUpView.as_view(), name="sign_up"),
    path("accounts/sign-up/sent/", views.SignUpDoneView.as_view(), name="sign_up_done"),
    path(
        "accounts/sign-up/<uidb64>/<token>/",
        views.SignUpConfirmView.as_view(),
        name="sign_up_confirm",
    ),
]
