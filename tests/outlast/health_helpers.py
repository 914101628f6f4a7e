"""Run the probe of Redis on a faulty server."""

import re

import pytest
from outlast.health import redis
from outlast.health.errors import TABLE
from outlast.health.runner import Problem

QUICK = 0.5  # seconds


def trouble(title: str) -> tuple[str, str]:
    """Return the sentence and the remedies for what is wrong with Redis.

    `title`: of the entry that the error must be, in the words that this entry lists.
    """
    with pytest.raises(Problem) as error:
        redis.server(QUICK)
    (entry,) = [entry for entry in TABLE["redis"] if entry["title"] == title]
    start = re.escape(entry["sentence"].partition("{")[0])
    sentence = str(error.value)
    assert re.search(start, sentence, re.IGNORECASE), sentence
    cause = str(error.value.__cause__)
    assert any(plain(text) in plain(cause) for text in entry["texts"]), cause
    return sentence, "\n".join(error.value.remedies)


def plain(text: str) -> str:
    """Return an error without what differs from case to case."""
    text = re.sub(r"(?<=to )[\w.-]+:\d+|(?<=from )[\w.-]+:\d+", "HOST", text)
    text = re.sub(r"(?<=for ')[\w.]+(?=')", "NAME", text)
    text = re.sub(r"/[\w./-]+", "PATH", text)
    return re.sub(r"-?\d+", "N", text)
