"""Email addresses, normalised before they are stored and compared."""

import unicodedata
from contextlib import suppress
from typing import Any

from django.db import models
from django.utils.encoding import punycode


class FoldedEmailField(models.EmailField):
    """A normalised email address: lower case, NFKC, the domain in ASCII (IDNA).

    Changes `EmailField`, which keeps the spelling: here all spellings of an address are one
    value wherever it is written or searched for, so that `unique=True` means one account.
    """

    @staticmethod
    def fold(value: str) -> str:
        if len(value) > 320:  # no email address; folding megabytes takes half a minute
            return value
        value = unicodedata.normalize("NFKC", value).strip().lower()
        user, at, domain = unicodedata.normalize("NFKC", value).rpartition("@")
        if not domain.isascii():
            with suppress(UnicodeError):
                domain = punycode(domain).lower()
        return f"{user}{at}{domain}"

    def to_python(self, value: Any) -> Any:
        value = super().to_python(value)
        return self.fold(value) if isinstance(value, str) else value

    def get_prep_value(self, value: Any) -> Any:
        return self.to_python(super().get_prep_value(value))

    def pre_save(self, model_instance: models.Model, add: bool) -> Any:
        value = self.to_python(super().pre_save(model_instance, add))
        setattr(model_instance, self.attname, value)
        return value
