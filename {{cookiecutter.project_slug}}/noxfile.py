"""Checks of the site: `uvx nox` runs them all, `uvx nox -l` lists them, `-s NAME` picks one.

Each session has an environment in `.nox`: with uv exactly what `uv.lock` says, otherwise the
newest versions that `pyproject.toml` allows.
"""

import nox

nox.options.default_venv_backend = "uv|virtualenv"
nox.options.reuse_venv = "yes"
PYPROJECT = nox.project.load_toml("pyproject.toml")
SERVERLESS = ["database", "file", "dummy"]  # these run on Windows as well
PROFILES = [
    *(nox.param(name, id=name, tags=["serverless"]) for name in SERVERLESS),
    *(nox.param(name, id=name) for name in ("redis", "redis-sentinel", "redis-cluster")),
]
VARIABLES = {
    "DJANGO_DEBUG": "1",
    "DJANGO_SECRET_KEY": "only-for-tests",
    "DJANGO_PROFILE": "database",
}


def install(session: nox.Session, *groups: str) -> None:
    """Install the site's packages, its extras and these dependency groups."""
    if session.venv_backend == "uv":
        chosen = [f"--group={group}" for group in groups]
        folder = {"UV_PROJECT_ENVIRONMENT": session.virtualenv.location}
        session.run_install("uv", "sync", "--locked", "--all-extras", *chosen, env=folder)
    else:
        session.install("-e", "./vendor/django-outlast", ".[postgres,metrics]")
        session.install(*nox.project.dependency_groups(PYPROJECT, *groups))


@nox.session
@nox.parametrize("profile", PROFILES)
def tests(session: nox.Session, profile: str) -> None:
    """Run the tests on one profile; they start the servers that it needs."""
    install(session, "dev")
    variables = {**VARIABLES, "DJANGO_PROFILE": profile}
    session.run("python", "-m", "pytest", *session.posargs, env=variables)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, format and types, and that no migration is missing."""
    install(session, "dev", "types")
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    session.run("mypy", env=VARIABLES)
    session.run("python", "manage.py", "makemigrations", "--check", env=VARIABLES)
