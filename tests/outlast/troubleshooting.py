"""Write the errors that the library knows into a page: `troubleshooting.py FILE`."""

import sys
import tomllib
from pathlib import Path
from typing import Any

TEMPLATE = Path(__file__).parents[2]
SITE = TEMPLATE / "{{cookiecutter.project_slug}}"
TABLE: dict[str, Any] = tomllib.loads(
    (SITE / "vendor/django-outlast/src/outlast/health/errors.toml").read_text("utf-8")
)
NAMES = {
    "who": "the server",
    "at": "that address",
    "it": "the server",
}


def as_markdown(kind: str) -> str:
    """Return the entries for "redis" or "database"."""
    names = NAMES | {"variable": "REDIS_URL"}
    if kind == "database":
        names |= {"it": "the database", "variable": "DATABASE_URL"}
    entries = []
    for entry in TABLE[kind]:
        texts, sentence = "\n".join(entry["texts"]), entry["sentence"].format(**names)
        lines = [f"- {line.format(**names)}" for line in entry["remedies"] if line != "START"]
        parts = [f"### {entry['title']}", f"```\n{texts}\n```"]
        parts += [sentence[0].upper() + sentence[1:]]
        parts += ["\n".join(lines), entry.get("note", "").strip()]
        entries.append("\n\n".join(filter(None, parts)))
    return "\n\n".join(entries)


def write_page(page: Path) -> None:
    """Write the entries after the marks in the page, up to the next heading."""
    text = page.read_text("utf-8")
    for kind in ("redis", "database"):
        mark = f"<!-- {kind}: from outlast/health/errors.toml -->"
        before, found, rest = text.partition(mark)
        if not found:
            sys.exit(f"{page} has no line {mark}")
        after = rest.partition("\n## ")[1:]
        text = "".join((before, mark, "\n\n", as_markdown(kind), "\n", *after))
    page.write_text(text, "utf-8")


if __name__ == "__main__":
    write_page(Path(sys.argv[1]))
