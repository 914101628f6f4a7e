"""Static files in production."""

from typing import Any
from urllib.parse import urlsplit

from whitenoise.storage import CompressedManifestStaticFilesStorage


class StaticFilesStorage(CompressedManifestStaticFilesStorage):
    """WhiteNoise's storage; also tolerates missing source maps."""

    def hashed_name(self, name: str, content: Any = None, filename: str | None = None) -> str:
        """Return the name with a hash; a source map that is missing keeps its name."""
        try:
            hashed: str = super().hashed_name(name, content, filename)  # type: ignore[no-untyped-call]
            return hashed
        except ValueError:
            if urlsplit(name).path.strip().endswith(".map"):
                return name
            raise
