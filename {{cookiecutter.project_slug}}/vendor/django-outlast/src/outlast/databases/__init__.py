"""Django's database backends, for requests that neither fail in a crowd nor wait for the dead.

A request stands in line for the database as long as the line moves, and up to
IN_LINE_SECONDS. When nothing moves for settings.DATABASE_SECONDS it gives up, and the
site answers that the database is away (see vendor/django-outlast/src/outlast/outage.py).
"""

IN_LINE_SECONDS = 20.0
