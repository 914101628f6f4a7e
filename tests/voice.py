"""Refuse words and sentences that make people read twice; `nox -s lint` runs it.

Prose is what people read: documents, templates, prompts, and Python's strings and comments. Names
in Python are checked as well.
"""

import re
import shutil
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

TEMPLATE = Path(__file__).parent.parent
SITE = "{{cookiecutter.project_slug}}"
# Not addresses of tests, such as nobody@example.com, nor Python's "is None".
WORDS = (
    r"([Nn]obody|[Ss]omebody|[Ww]hoever|[Aa]new|[Bb]eside|is none|to be had|all is well"
    r"|(is|are) well|in vain|by now|throw-away|[Ww]hile developing|[Mm]ends?|goes on without"
    r"|lies? in|e-mail|time-outs?|the heart|knows? nothing but|[Aa]nybody|deaf|for good|hangs? up"
    r"|over and over|(is|are|was|were) to be|takes? its time|the (first|second) edition)"
)
TICS = re.compile(rf"\b{WORDS}\b(?![@-])")
# Names in Python that say nothing, or are metaphors.
NAMES = re.compile(
    "(Cell|Door|Ear|HOME|Ledger|Scene|begins|bill|check up|fine|held|hits|take stock)"
)
ANY = re.compile(rf"\b({WORDS}|{NAMES.pattern})\b")  # in Python without any, tokens are not read
PROSE = {".md", ".html", ".txt", ".json", ".toml", ".yml", ".yaml", ".example", ".conf", ".sh"}
PROSE |= {".css", ".js"}
TEXTS = {tokenize.STRING, tokenize.COMMENT, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING)}
LEFT_OUT = {"CHANGELOG.md", "tests/voice.py", "docs/benchmarks.json"}
READMES = ("README.md", f"{SITE}/README.md", f"{SITE}/vendor/django-outlast/README.md")
LONGEST = 30  # words of a sentence


def files() -> Iterator[str]:
    """Yield the paths of the files that Git knows, and of new ones; without Git, of all."""
    if shutil.which("git") and (TEMPLATE / ".git").exists():
        command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        listed = subprocess.run(command, cwd=TEMPLATE, capture_output=True, text=True, check=True)
        yield from (name for name in listed.stdout.split("\0") if (TEMPLATE / name).is_file())
        return
    for path in TEMPLATE.rglob("*"):
        name = path.relative_to(TEMPLATE).as_posix()
        if path.is_file() and not re.search(r"(^|/)(\.nox|\.venv|__pycache__|\.\w+_cache)/", name):
            yield name


def texts(path: Path) -> Iterator[tuple[int, str, bool]]:
    """Yield line numbers, texts, and whether these are names in Python, as words."""
    if path.suffix == ".py":
        text = path.read_text("utf-8")
        if not ANY.search(f"{text} {text.replace('_', ' ')}"):
            return
        with path.open("rb") as file:
            for token in tokenize.tokenize(file.readline):
                if token.type == tokenize.NAME:
                    yield token.start[0], token.string.replace("_", " "), True
                elif token.type in TEXTS:
                    for number, line in enumerate(token.string.splitlines(), token.start[0]):
                        yield number, line, False
    elif path.suffix in PROSE or path.name in ("Dockerfile", "run"):
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
            yield number, line, False


def long_sentences(text: str) -> Iterator[str]:
    """Yield the sentences of a Markdown text, without code and tables, that are too long."""
    text = re.sub(r"```.*?```|^(\||#|!\[|<).*?$", "", text, flags=re.DOTALL | re.MULTILINE)
    for paragraph in re.split(r"\n\s*\n|\n(?=[-*\d])", text):
        for sentence in re.split(r"(?<=[.!?])\s+", " ".join(paragraph.split())):
            if len(re.findall(r"[\w'`]+(?:[-/.][\w'`]+)*", sentence)) > LONGEST:
                yield sentence


def pictures() -> Iterator[str]:
    """Yield a sentence for each picture that no document shows, or that is missing."""
    found = {name for name in files() if name.endswith(".png")}
    shown = set()
    for name in files():
        if name.endswith(".md"):
            text = (TEMPLATE / name).read_text("utf-8")
            for target in re.findall(r"!\[[^]]*\]\(([^)\s]+)\)", text):
                shown.add((Path(name).parent / target).as_posix())
    yield from (f"{name}: no document shows this picture" for name in sorted(found - shown))
    yield from (f"{name}: the picture is missing" for name in sorted(shown - found))


def complaints() -> Iterator[str]:
    yield from pictures()
    for name in files():
        path = TEMPLATE / name
        if name in LEFT_OUT:
            continue
        for number, text, is_name in texts(path):
            if is_name and (found := TICS.search(text) or NAMES.fullmatch(text)):
                yield f"{name}:{number}: choose a name without {found[0]!r}: {text}"
            elif not is_name and (found := TICS.search(text)):
                yield f"{name}:{number}: say it without {found[0]!r}: {text.strip()}"
    for section in (TEMPLATE / "docs/decisions.md").read_text("utf-8").split("\n## ")[1:]:
        heading, *lines = filter(None, section.splitlines())
        if len(lines) > 6 or max(map(len, lines)) > 120:
            yield f"docs/decisions.md: more than six lines, of 120 characters each: {heading}"
    for name in READMES:
        for sentence in long_sentences((TEMPLATE / name).read_text("utf-8")):
            yield f"{name}: a sentence of more than {LONGEST} words: {sentence}"


if __name__ == "__main__":
    found = list(complaints())
    print(*found, sep="\n")
    sys.exit(f"{len(found)} to rewrite." if found else 0)
