"""What docs/troubleshooting.md lists, for the tests that provoke each error in it."""

import re
from pathlib import Path

PAGE = Path(__file__).parent.parent / "docs" / "troubleshooting.md"


def listed(section: str) -> dict[str, list[str]]:
    """Return the error texts below each heading of a section."""
    text = PAGE.read_text("utf-8").partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    entries = re.findall(r"^### ([^\n]*)\n\n```\n([^`]*)```$", text, re.MULTILINE)
    assert len(entries) == text.count("\n### "), "an entry without its text"
    return {heading: texts.splitlines() for heading, texts in entries}


def is_listed(error: str, section: str, heading: str) -> bool:
    """Whether an error is what the page lists there, but for hosts, paths and numbers."""
    return any(_plain(text) in _plain(error) for text in listed(section)[heading])


def _plain(text: str) -> str:
    text = re.sub(r"(?<=to )[\w.-]+:\d+|(?<=from )[\w.-]+:\d+", "HOST", text)
    text = re.sub(r"(?<=for ')\w+(?=')", "NAME", text)
    text = re.sub(r"/[\w./-]+", "PATH", text)
    return re.sub(r"-?\d+", "N", text)


def not_provoked(section: str, source: str) -> list[str]:
    """Return the headings of a section that the source of a test does not name."""
    return [heading for heading in listed(section) if f'"{heading}"' not in source]
