"""A remote that redirects is followed by the session, which refuses addresses inside the network of this machine."""

import random
from pathlib import Path

import pytest

from ptmtorrent.errors import HubError
from ptmtorrent.hubs.client import ssrf
from ptmtorrent.hubs.client.session import Session
from ptmtorrent.hubs.git import adapter
from ptmtorrent.hubs.port import Query
from tests.faults.hostile import Inside, Request, Send, listening, send_faulty, send_page
from tests.hubs.git.samples import fetch, fill, remotes
from tests.simulators.git_server import GitServer, serve_git
from tests.simulators.reflecting import redirecting


@pytest.fixture
def server(tmp_path: Path) -> GitServer:
    (tmp_path / "served").mkdir()
    (tmp_path / "parts").mkdir()
    with serve_git(tmp_path / "served") as made:
        yield made


def test_remote_that_redirects_is_read_where_it_is(server: GitServer, tmp_path: Path) -> None:
    [name] = fill(server, 1)
    with redirecting(server.url) as moved:
        address = f"http://{moved}/{name}"
        with remotes(server, tmp_path / "work", [address]) as hub:
            [page] = hub.listing(Query(ids=(address,)), None)
            files, _ = hub.files(hub.describe(page.packages[0]))

    assert "README.md" in {file.path for file in files}


def test_redirect_of_a_remote_leads_to_no_internal_address(
    server: GitServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [name] = fill(server, 1)
    inner, session = Inside(), Session()
    with listening(inner.serve) as port, redirecting(f"http://127.0.0.1:{port}") as moved:
        for module in (ssrf, adapter):
            monkeypatch.setattr(module, "is_internal", lambda url: f":{port}/" in url)
        session.guarded = True
        with (
            remotes(server, tmp_path / "work", [name], session=session) as hub,
            pytest.raises(HubError, match="an address in the network of this machine: refused"),
        ):
            fetch(hub, f"http://{moved}/{name}", tmp_path / "parts")

    assert inner.asked == []


def test_redirect_to_something_else_is_no_remote(server: GitServer, tmp_path: Path) -> None:
    [name] = fill(server, 1)
    with (
        listening(send_login) as port,
        remotes(server, tmp_path / "work", [name]) as hub,
        pytest.raises(HubError, match="which is not a git remote"),
    ):
        fetch(hub, f"http://127.0.0.1:{port}/team/other", tmp_path / "parts")


def send_login(request: Request, send: Send) -> None:
    """Redirect to a page that asks for a login, or send it."""
    if request.path == "login":
        send_page(send)
    else:
        send_faulty("redirect inside", b"", send, random.Random(0), "/login")


def test_remote_with_a_login_is_not_followed(server: GitServer, tmp_path: Path) -> None:
    [name] = fill(server, 1)
    with redirecting(server.url) as moved:
        logins = {f"http://{moved}/": "Basic c2VjcmV0"}
        with (
            remotes(server, tmp_path / "work", [name], credentials=logins) as hub,
            pytest.raises(HubError, match="returned error: 302"),
        ):
            fetch(hub, f"http://{moved}/{name}", tmp_path / "parts")

    assert not any("authorization" in asked.headers for asked in server.asked)
