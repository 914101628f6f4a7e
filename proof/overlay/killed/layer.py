"""The profile's channel layer, in a process that dies at the worst moment."""

import os
from typing import Any

from django.conf import settings
from django.utils.module_loading import import_string


class DyingLayer(import_string(settings.LAYER)):
    """Ends the process, as SIGKILL does, where it would tell that a session has ended."""

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        """Tell nothing else either."""
        if message["type"] == "session.ended":
            os._exit(137)
