"""The name of a browser and its system, from the header User-Agent."""

import re

from django.utils.translation import gettext as _

# The first match is used, because browsers also claim to be those further down.
BROWSERS = {
    "Edge": r"\bEdg(A|iOS|e)?/",
    "Opera": r"\bOPR/|\bOpera\b",
    "Samsung Internet": r"\bSamsungBrowser/",
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


def describe(user_agent: str) -> str:
    """Return a name such as "Firefox on Windows" or "curl"."""
    browser, system = (
        next((name for name, pattern in names.items() if re.search(pattern, user_agent)), "")
        for names in (BROWSERS, SYSTEMS)
    )
    if browser and system:
        return _("%(browser)s on %(system)s") % {"browser": browser, "system": system}
    product = re.match(r"(?!Mozilla)[\w.-]{1,40}(?=/|$)", user_agent)
    return browser or system or (product[0] if product else _("an unknown browser"))
