"""Static files that are missing in production."""

from pathlib import PurePath

from django.contrib.staticfiles.finders import get_finders
from django.contrib.staticfiles.storage import ManifestFilesMixin, staticfiles_storage

COMMAND = "python manage.py collectstatic --noinput"


def not_collected() -> list[str]:
    """Return the static files that a page could not name: those missing from the manifest.

    Empty if the storage has no manifest, as while developing.
    """
    storage = staticfiles_storage
    if not isinstance(storage, ManifestFilesMixin):
        return []
    hashed, _ = storage.load_manifest()
    found = {
        PurePath(getattr(place, "prefix", None) or "", path).as_posix()
        for finder in get_finders()
        for path, place in finder.list(["CVS", ".*", "*~"])
    }
    return sorted(found - hashed.keys())
