"""Static files in production."""

from typing import Any
from urllib.parse import urlsplit

from whitenoise.storage import CompressedManifestStaticFilesStorage


class StaticFilesStorage(CompressedManifestStaticFilesStorage):
    """WhiteNoise's storage, which renames imported modules too and tolerates lost source maps.

    Without the first, a module runs twice that both a page and another module ask for.
    """

    support_js_module_import_aggregation = True

    def hashed_name(self, name: str, content: Any = None, filename: str | None = None) -> str:
        """Return the name with a hash; a source map that is missing keeps its name."""
        try:
            hashed: str = super().hashed_name(name, content, filename)  # type: ignore[no-untyped-call]
            return hashed
        except ValueError:
            if urlsplit(name).path.strip().endswith(".map"):
                return name
            raise
