"""A channel on web servers that know nothing of it."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler
from pathlib import Path

import pytest

from ptmtorrent.paths import Home
from ptmtorrent.workflows.fetch.fetch import FetchRequest
from tests.channels import Heard, Made, check_laid_out, fetch_from, make_channel
from tests.simulators.nginx import nginx
from tests.static import serve_handler

pytestmark = pytest.mark.interop

Serving = Callable[[Path], AbstractContextManager[str]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_channel(tmp_path_factory.mktemp("made"))


@contextmanager
def standard_library(folder: Path) -> Iterator[str]:
    """`python -m http.server`: it does not know Range."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None:
            """Say nothing."""

    with serve_handler(partial(Quiet, directory=str(folder))) as server:
        yield f"http://{server}"


@contextmanager
def nginx_server(folder: Path) -> Iterator[str]:
    if shutil.which("nginx") is None:
        pytest.skip("nginx is not installed (apt-get install nginx-light)")
    with nginx(folder) as url:
        yield url


@pytest.mark.parametrize("serving", [nginx_server, standard_library])
def test_a_channel_on_a_static_server_is_fetched_whole(made: Made, tmp_path: Path, serving: Serving) -> None:
    home, heard = Home(tmp_path / "home"), Heard()
    with serving(made.folder) as url:
        made.trusted_by(home, url)
        summary = fetch_from(url, home, FetchRequest(subset="all", to=tmp_path / "out"), emit=heard)
        again = fetch_from(url, home, FetchRequest(subset="all", to=tmp_path / "out"))
    check_laid_out(tmp_path / "out", made.packages)
    assert set(summary.sources) == {url}
    assert again.bytes_moved == 0
    if serving is nginx_server:
        assert summary.bytes_moved == heard.plan.bytes_to_move


def test_a_channel_below_a_path_of_nginx_is_fetched(made: Made, tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    with nginx_server(made.folder.parent) as url:
        location = f"{url}/{made.folder.name}/"
        made.trusted_by(home, location)
        fetch_from(location, home, FetchRequest(subset="popular", to=tmp_path / "out"))
    popular = {name: files for name, files in made.packages.items() if name != "hf:solo"}
    check_laid_out(tmp_path / "out", popular)
