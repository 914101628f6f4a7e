"""Tasks for a worker of Django's task framework (6.0 or later).

Not `tasks.py`: Celery and others import that module of each app, also on Django 5.2.
"""

from django.tasks import task  # type: ignore[import-not-found,unused-ignore]

from accounts import mail


@task
def send_later(kind: str, email: str) -> None:
    """Send a mail; the worker reports and repeats failures."""
    if message := mail.build(kind, email):
        message.send()
