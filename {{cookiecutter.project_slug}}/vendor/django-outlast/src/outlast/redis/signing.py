"""Signed values: HMAC(cache key, payload) + payload.

Who can write to Redis could run code through pickle, or move a value to another key. So nothing
is unpickled whose signature is not right for its key. Whole numbers are stored as they are, for
INCR.
"""

import functools
import hmac
import re
from typing import Any

from django.conf import settings
from django.utils.encoding import force_bytes
from redis.typing import KeyT

MAC_SIZE = 32  # of SHA-256
# The whole numbers that Redis counts with.
NUMBERS, NUMBER = range(-(2**63), 2**63), re.compile(rb"0|-?[1-9]\d{,18}")


class ForgedValueError(ValueError):
    """A value in Redis was not written by this site under this key."""


@functools.lru_cache(maxsize=16)
def _hmac(secret: str | bytes) -> hmac.HMAC:
    """Return an HMAC to copy, with a key that is only used here."""
    return hmac.new(hmac.digest(force_bytes(secret), b"outlast.cache", "sha256"), None, "sha256")


def _mac(secret: str | bytes, key: KeyT, payload: bytes) -> bytes:
    name, mac = force_bytes(key), _hmac(secret).copy()
    mac.update(b"%d:%s%s" % (len(name), name, payload))  # no key and payload are read as others
    return mac.digest()


def sign(key: KeyT, payload: Any) -> bytes | int:
    """Return what is stored for a payload, which a serializer made, under `key`."""
    if type(payload) is int and payload in NUMBERS:
        return int(payload)
    data = payload if isinstance(payload, bytes) else str(payload).encode()
    return _mac(settings.SECRET_KEY, key, data) + data


def unsign(key: KeyT, data: bytes) -> bytes:
    """Return the payload; raise ForgedValueError if `sign` did not sign it for this key."""
    if NUMBER.fullmatch(data) and int(data) in NUMBERS:
        return data
    mac, payload = data[:MAC_SIZE], data[MAC_SIZE:]
    for secret in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS):
        if hmac.compare_digest(mac, _mac(secret, key, payload)):
            return payload
    raise ForgedValueError("neither signed nor a number")
