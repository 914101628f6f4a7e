"""The session engines: `db`, `file` and `redis`, one rule.

A session is a row of `outlast.models.Session`. While the row is there and not too
old the session is alive, whatever a file or a copy in Redis says; deleting rows, by
whatever way Django offers, ends sessions: `Session.objects.filter(user=user).delete()`.
"""

from copy import copy
from functools import partial
from typing import Any

from django.db import transaction
from django.dispatch import Signal

# Sent after the commit, once for every session that ended before its time, with
# session_key (str), user_id (None: nobody was logged in) and session (the row as it was).
# Live connections listen.
session_ended = Signal()


def announce(instance: Any, using: str, **kwargs: Any) -> None:
    """Receive `post_delete` of a session: once that is committed, clear up after the row."""
    session = copy(instance)  # Django takes the key from the instance that was deleted
    transaction.on_commit(partial(_clear_up, session), using=using)


def _clear_up(session: Any) -> None:
    session.get_session_store_class().forget(session)
    session_ended.send_robust(
        sender=type(session),
        session_key=session.session_key,
        user_id=session.user_id,
        session=session,
    )
