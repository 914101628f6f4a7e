"""A browser and its system in words, out of the header User-Agent.

Browsers have frozen that header: name and system is all that is left in it to find, and
the order below is all the art. A library brings half a megabyte of patterns for the same.
"""

import re

from django.utils.translation import gettext as _

# The first that is in the header: browsers claim to be those further down as well.
BROWSERS = {
    "Edge": r"\bEdg(A|iOS|e)?/",
    "Opera": r"\bOPR/|\bOpera\b",
    "Samsung Internet": r"\bSamsungBrowser/",
    "Vivaldi": r"\bVivaldi/",
    "Yandex Browser": r"\bYaBrowser/",
    "DuckDuckGo": r"\bD(uckD)?uckGo/|\bDdg/",
    "Firefox": r"\b(Firefox|FxiOS)/",
    "Chrome": r"\b(Chrome|CriOS|Chromium|HeadlessChrome)/",
    "Safari": r"\bSafari/",
}
SYSTEMS = {
    "Windows": r"\bWindows\b",
    "Android": r"\bAndroid\b",
    "iPhone": r"\biPhone\b",
    "iPad": r"\biPad\b",
    "ChromeOS": r"\bCrOS\b",
    "macOS": r"\bMac OS X\b",
    "Linux": r"\bLinux\b",
}


def describe(user_agent: str) -> tuple[str, str]:
    """Return the names of browser and system, "" for one that is not known.

    A program that is no browser is known by the product it names first, such as "curl".
    """
    system = _first(SYSTEMS, user_agent)
    browser = _first(BROWSERS, user_agent)
    if not browser and (product := re.match(r"(?!Mozilla)[\w.-]{1,40}(?=/|$)", user_agent)):
        browser = product[0]
    return browser, system


def _first(patterns: dict[str, str], text: str) -> str:
    return next((name for name, pattern in patterns.items() if re.search(pattern, text)), "")


def in_words(user_agent: str) -> str:
    """Return browser and system as people say it, such as "Firefox on Windows"."""
    browser, system = describe(user_agent)
    if browser and system:
        return _("%(browser)s on %(system)s") % {"browser": browser, "system": system}
    return browser or system or _("an unknown browser")
