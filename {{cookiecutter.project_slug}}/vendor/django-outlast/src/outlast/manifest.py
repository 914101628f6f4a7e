"""The checksums of a vendored copy of this library, to detect changes in it.

The template writes them when it makes or updates a site; `manage.py check` compares them. The
published package has none.
"""

from hashlib import sha256
from pathlib import Path

FOLDER = Path(__file__).parents[2]
NAME = "MANIFEST"


def checksums() -> dict[str, str]:
    """Return the checksum of each file of the library, ignoring line ends."""
    files = [path for path in sorted((FOLDER / "src").rglob("*")) if path.is_file()]
    return {
        path.relative_to(FOLDER).as_posix(): sha256(
            path.read_bytes().replace(b"\r\n", b"\n")
        ).hexdigest()
        for path in files
        if "__pycache__" not in path.parts and "egg-info" not in path.parent.name
    }


def write() -> None:
    """Write the manifest of this copy."""
    lines = [f"{checksum}  {name}\n" for name, checksum in checksums().items()]
    (FOLDER / NAME).write_text("".join(lines), "utf-8", newline="\n")


def changed_files() -> list[str]:
    """Return the files that were changed, added or removed; none without a manifest."""
    if not (FOLDER / NAME).is_file():
        return []
    lines = (FOLDER / NAME).read_text("utf-8").splitlines()
    written = {name: checksum for checksum, _, name in (line.partition("  ") for line in lines)}
    return sorted({name for name, _ in written.items() ^ checksums().items()})
