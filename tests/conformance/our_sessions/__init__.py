"""An app that puts the library's session engine in the place of Django's engine `db`.

Django's `runtests.py` loads it before the models of `sessions_tests`, which extend that engine.
"""
