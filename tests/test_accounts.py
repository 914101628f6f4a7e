"""How a site writes email addresses."""

import pytest

from proof.conftest import module

fields = module("accounts.fields")


@pytest.mark.parametrize(
    ("spelling", "expected"),
    [
        ("GRACE@CAFÉ.example", "grace@xn--caf-dma.example"),
        ("\uff47race@café.example", "grace@xn--caf-dma.example"),
        (" grace@xn--caf-dma.example", "grace@xn--caf-dma.example"),
        ("grace@cafe\u0301.example", "grace@xn--caf-dma.example"),
        ("gra\u2102e@example.com", "grace@example.com"),  # no lower case before NFKC
        ("\u03aa\u0301@example.com", "\u0390@example.com"),  # not NFKC after lower case
    ],
)
def test_spellings_of_one_address(spelling: str, expected: str) -> None:
    assert fields.FoldedEmailField.fold(spelling) == expected
