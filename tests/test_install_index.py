"""The library comes from the site's own folder, whatever a package index offers."""

import functools
import json
import threading
import zipfile
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.conftest import Bake

STRICT = {"COOKIECUTTER_DJANGO_PROFILES_STRICT": "1"}


class Index(SimpleHTTPRequestHandler):
    """A package index that offers one project, and logs nothing."""

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def hostile_index(tmp_path: Path) -> Iterator[str]:
    """The address of an index that offers other versions of django-outlast than the vendored."""
    folder = tmp_path / "index" / "django-outlast"
    folder.mkdir(parents=True)
    for version in ("0.2.0", "0.2.0+vendored", "0.2.0+wendored", "0.2.1", "99.0"):
        distribution = f"django_outlast-{version}"
        with zipfile.ZipFile(folder / f"{distribution}-py3-none-any.whl", "w") as wheel:
            wheel.writestr("outlast/__init__.py", "raise SystemExit('hijacked')")
            wheel.writestr(
                f"{distribution}.dist-info/METADATA",
                f"Metadata-Version: 2.1\nName: django-outlast\nVersion: {version}\n",
            )
            wheel.writestr(
                f"{distribution}.dist-info/WHEEL",
                "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            )
            wheel.writestr(f"{distribution}.dist-info/RECORD", "")
    handler = functools.partial(Index, directory=str(folder.parent))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.slow
def test_the_library_never_comes_from_an_index(
    bake: Bake, variables: dict[str, str], hostile_index: str
) -> None:
    """Versions that an index could offer: higher, equal, with another label."""
    offered = {"UV_INDEX": hostile_index, "PIP_EXTRA_INDEX_URL": hostile_index}
    site = bake(install="yes", variables=variables | STRICT | offered)
    assert site.exit_code == 0, site.output
    program = "import outlast, importlib.metadata as m; print(outlast.__file__); print(*["
    program += "d.read_text('direct_url.json') for d in m.distributions(name='django-outlast')])"
    file, origin = site.run("-P", "-c", program).strip().split("\n")
    vendored = site.folder / "vendor" / "django-outlast"
    assert Path(file).is_relative_to(vendored)
    assert json.loads(origin)["url"] == vendored.as_uri()
