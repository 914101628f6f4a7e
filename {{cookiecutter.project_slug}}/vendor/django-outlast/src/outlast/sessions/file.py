"""Sessions in the database, with their data in files of this machine.

The row contains the user and the expiry, and its version is part of the file's name. A file is
written once: each save makes a new version, which is valid when its row is committed.
"""

from typing import Any

from outlast.models import AbstractSession
from outlast.sessions import db, files
from outlast.sessions.reading import IDENTITY

EXPIRY = "_session_expiry"  # Django's name for the value of `set_expiry()`


class SessionStore(db.SessionStore):
    """Keeps the session's data in a file in the private folder SESSION_FILE_PATH.

    The row contains the user, so a lost file logs no user out.
    """

    reads_data = False

    def create_model_instance(self, data: dict[str, Any]) -> AbstractSession:
        session = super().create_model_instance(data)
        session.version = f"{files.MARK}{session.version}"
        return session

    def write(self, session: AbstractSession, must_create: bool) -> None:
        data = self._get_session(no_load=must_create)
        files.write(session, session.session_data)
        session.session_data = self.encode(
            {key: data[key] for key in (*sorted(IDENTITY), EXPIRY) if key in data}
        )
        try:
            super().write(session, must_create)
        except Exception:
            files.remove(session)
            raise
