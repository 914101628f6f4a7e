"""A browser that expects pages to work, and notices inline code that a policy blocks."""

import re

import httpx2

from proof.site import Browser

# Inline code that a policy without 'unsafe-inline' blocks: a page that holds any is broken.
INLINE = {
    "script-src": r"<script(?![^>]*\b(?:src=|nonce=|type=\"(?:application/json|text/x-)))"
    r"|<[a-z][^>]*\son[a-z]+\s*=",
    "style-src": r"<style(?![^>]*nonce=)|<[a-z][^>]*\sstyle\s*=",
}


class Visitor(Browser):
    """A browser whose methods raise AssertionError where a page does not work."""

    def page(self, path: str, expected: str = "") -> httpx2.Response:
        """Fetch a page with its static files; return it."""
        response = self.get(path, headers={"Accept": "text/html"}, follow_redirects=True)
        assert response.status_code == 200, (path, response.status_code, words(response))
        assert expected in response.text, f"{path}: no {expected} in {words(response)}"
        policy = response.headers.get("content-security-policy", "")
        for directive, inline in INLINE.items():
            rule = re.search(rf"{directive} ([^;]*)", policy)
            if rule and "unsafe-inline" not in rule[1]:
                blocked = re.search(inline, response.text, re.IGNORECASE)
                assert not blocked, f"{path}: {directive} blocks {blocked}"
        for static in set(re.findall(r'(?:src|href)="(/static/[^"?#]+)', response.text)):
            assert self.get(static).status_code == 200, f"{path}: no {static}"
        return response

    def fill_in(self, page: str, form: dict[str, str], to: str = "") -> None:
        """Send the form of a page; it must not be shown again with errors."""
        response = self.submit(page, form, to or page)
        assert response.status_code in (302, 303), f"{page}: {words(response)}"


def words(response: httpx2.Response) -> str:
    """Return what a page says, without its tags."""
    text = re.sub(r"<(style|script|svg).*?</\1>|<[^>]*>", " ", response.text, flags=re.DOTALL)
    return " ".join(text.split())[:1500]


def found(pattern: str, text: str) -> str:
    """Return the first group of the pattern that matched; AssertionError with the text."""
    match = re.search(pattern, text, re.MULTILINE)
    assert match, f"no {pattern} in {text[-3000:]}"
    return str(next(filter(None, match.groups())))
