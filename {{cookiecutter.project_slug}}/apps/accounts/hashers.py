"""How passwords are hashed."""

from django.contrib.auth import hashers


class Argon2PasswordHasher(hashers.Argon2PasswordHasher):
    """Argon2id at 64 MiB instead of Django's 100 MiB, with three passes instead of two.

    Every login in flight takes that memory: at Django's figures sixteen at once take
    1.8 GB. These are RFC 9106's second recommended option (64 MiB, t=3, p=4).
    """

    time_cost = 3
    memory_cost = 64 * 1024  # KiB
    parallelism = 4
