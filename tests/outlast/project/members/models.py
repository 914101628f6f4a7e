"""A multi-table user model, for TEST_USER_MODEL: see test_sessions_elsewhere.py."""

from django.contrib.auth.models import AbstractUser
from django.db import models


class Person(AbstractUser): ...


class Member(Person):
    number = models.IntegerField(default=7)
