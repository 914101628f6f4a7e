"""Fields of the account models."""

import unicodedata
from typing import Any

from django.db import models


class FoldedEmailField(models.EmailField):
    """An e-mail address in one spelling: lower case, Unicode NFKC, no space around it.

    Changes `EmailField`, which keeps the case: here two spellings of an address are one
    value wherever it is written or searched for, so that `unique=True` means one account.
    """

    @staticmethod
    def fold(value: str) -> str:
        return unicodedata.normalize("NFKC", value).strip().lower()

    def to_python(self, value: Any) -> Any:
        value = super().to_python(value)
        return self.fold(value) if isinstance(value, str) else value

    def get_prep_value(self, value: Any) -> Any:
        return self.to_python(super().get_prep_value(value))

    def pre_save(self, model_instance: models.Model, add: bool) -> Any:
        value = self.to_python(super().pre_save(model_instance, add))
        setattr(model_instance, self.attname, value)
        return value
