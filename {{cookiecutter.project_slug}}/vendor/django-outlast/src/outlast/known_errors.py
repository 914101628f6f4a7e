"""Errors of services that people meet, in the words of their libraries, and what they mean.

`advice.py` looks errors up here; docs/troubleshooting.md lists the same for people.
"""

from typing import NamedTuple


class Known(NamedTuple):
    """An error that people meet: how to tell it, what it means, what to do."""

    pattern: str
    sentence: str
    remedies: tuple[str, ...] = ()


GO_WITHOUT = "Or go without Redis: DJANGO_PROFILE=database, in .env or in the environment"

# In the order in which they are tried. {who} is the service, {at} its address, {it} both;
# {variable} names the setting; "START" stands for the ways to start one on this system.
REDIS = (
    Known(
        r"refused|Error (111|61|10061|2) connecting",
        "Nothing listens at {at}: {who} is not running, or runs elsewhere.",
        ("START",),
    ),
    Known(
        r"gaierror|name resolution|getaddrinfo|not known|nodename|No address associated|Error -\d",
        "This machine knows no host of the name in {at}.",
        ("Correct {variable}",),
    ),
    Known(
        r"CERTIFICATE_VERIFY_FAILED",
        "The TLS certificate of {it} is not trusted here, or is for another name.",
        ("Name the authority that signed it: rediss://HOST:PORT/0?ssl_ca_certs=/path/ca.pem",),
    ),
    Known(
        r"WRONG_VERSION_NUMBER|RECORD_LAYER_FAILURE|wrong version number",
        "What listens at {at} does not speak TLS.",
        ("Write redis:// for rediss:// in {variable}, or turn TLS on there",),
    ),
    Known(
        r"WRONGPASS|invalid (username-)?password",
        "{it} refuses the user name or the password.",
        ("Correct them in {variable}: redis://USER:PASSWORD@HOST:PORT/0, % and / as %25 and %2F",),
    ),
    Known(
        r"without any password configured|no password is set",
        "{it} has no password, yet one is set here.",
        ("Take the password out of {variable}, or set one there (requirepass)",),
    ),
    Known(
        r"NOAUTH|Authentication required|HELLO must be called with the client already auth",
        "{it} wants a password, and none is set.",
        ("Set it in {variable}: redis://:PASSWORD@HOST:PORT/0",),
    ),
    Known(
        r"NOPERM|NoPermission|no permissions",
        "The user that logs in at {it} may not do what the site does.",
        ("Give that user the rights in deploy/users.conf",),
    ),
    Known(
        r"BusyLoading|LOADING",
        "{it} is loading its data from disk and answers when that is done.",
        ("Wait; nothing there is worth a long wait: save \"\" and appendonly no in redis.conf",),
    ),
    Known(
        r"READONLY|ReadOnly|read only replica",
        "{it} is a replica and takes no writes.",
        ("Name the primary in {variable}, or let Sentinels find it: the profile redis-sentinel",),
    ),
    Known(
        r"OOM|OutOfMemory",
        "{it} is full, and its maxmemory-policy lets it evict nothing.",
        ("Let it evict: redis-cli CONFIG SET maxmemory-policy allkeys-lru",
         "or give it more: redis-cli CONFIG SET maxmemory 512mb"),
    ),
    Known(
        r"MISCONF",
        "{it} cannot save to its disk and therefore refuses writes.",
        ("Make room on its disk, or let it not save: redis-cli CONFIG SET save \"\"",),
    ),
    Known(
        r"max number of clients",
        "{it} has no connection left: maxclients is reached.",
        ("Raise maxclients there, or see docs/redis.md for the sum of all pools",),
    ),
    Known(
        r"DB index is out of range|invalid DB index",
        "{it} has no database of the number in the address.",
        ("End {variable} in /0: that one is always there, and the prefix keeps sites apart",),
    ),
    Known(
        r"No such master",
        "{it} watches no service of that name.",
        ("Set REDIS_SENTINEL_SERVICE to the name in its \"sentinel monitor\" line",),
    ),
    Known(
        r"Protocol ?Error|InvalidResponse|unknown command 'HELLO'.*Sentinel",
        "What listens at {at} is not a Redis.",
        ("Correct the port in {variable}",),
    ),
    Known(
        r"Connection closed by server|closed the connection|reset by peer|Broken pipe|104|10054",
        "{it} hangs up at once: it wants TLS, has no connection left, or is not a Redis.",
        ("If it wants TLS, write rediss:// for redis:// in {variable}",),
    ),
    Known(
        r"Timeout connecting|timed out",
        "{it} cannot be reached in time: a firewall, a wrong address, or the machine is off.",
        ("Correct {variable}, or let this machine's address in over there",),
    ),
    Known(
        r"Timeout",
        "{it} takes the connection and does not answer: it hangs, or is overloaded.",
        (
            "If that lasts: systemctl restart, brew services restart or docker restart",
            "A Redis that is back says why: redis-cli SLOWLOG GET",
            GO_WITHOUT,
        ),
    ),
)  # fmt: skip

DATABASE = (
    Known(
        r"no such table|relation .* does not exist|no such column|column .* does not exist",
        "Tables or columns are missing in the database.",
        ("Create them: python manage.py migrate",),
    ),
    Known(
        r"refused|10061",
        "Nothing listens at {at}: {who} is not running, or runs elsewhere.",
        ("START",),
    ),
    Known(
        r"translate host name|resolve host|getaddrinfo|name resolution|not known",
        "This machine knows no host of the name in {at}.",
        ("Correct DATABASE_URL",),
    ),
    Known(
        r"password authentication failed|no password supplied|role .* does not exist",
        "{it} refuses the user name or the password.",
        ("Correct them in DATABASE_URL: postgres://USER:PASSWORD@HOST:5432/NAME",),
    ),
    Known(
        r"database .* does not exist",
        "{it} is not there: the server has no database of that name.",
        ("Create it: createdb NAME, then python manage.py migrate",),
    ),
    Known(
        r"too many clients|connection slots",
        "{it} has no connection left: max_connections is reached.",
        ("Raise max_connections there, or run fewer workers: docs/operations.md",),
    ),
    Known(
        r"starting up|shutting down|recovery mode",
        "{it} is starting or stopping.",
        ("Wait, and look into its log if that lasts",),
    ),
    Known(
        r"timeout|timed out",
        "{it} does not answer in time: it hangs, is overloaded, or a firewall drops the way.",
        ("Look into its log, or correct DATABASE_URL",),
    ),
    Known(
        r"database is locked|table is locked",
        "Another process keeps {it} locked.",
        ("End it; for many writers take PostgreSQL: DATABASE_URL=postgres://...",),
    ),
    Known(
        r"readonly database|unable to open|permission denied",
        "{it} cannot be opened or written to by this user.",
        ("Give the file and its folder to the user that runs the site",),
    ),
    Known(
        r"not a database|malformed",
        "{it} is damaged, or is no database.",
        ("Restore the last backup: docs/operations.md",),
    ),
    Known(r"is full", "The disk under {it} is full.", ("Make room on it",)),
)
