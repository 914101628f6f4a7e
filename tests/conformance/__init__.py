"""Django's own tests, from its source distribution, on the library's backends.

`nox -s "conformance(redis)"` runs them. Nothing of Django's tests is copied to this repository:
`__main__` fetches the source of the Django that is installed, and `settings` puts the library's
classes in the place of Django's.
"""
