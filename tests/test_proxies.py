"""Proxies mean the same for HTTP, git and workers, whatever case their variables have; logins of them are not shown."""

import importlib.util
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

import httpx2
import pytest

from ptmtorrent.config import network_environment, proxy_environment
from ptmtorrent.errors import ConfigError
from ptmtorrent.http import new_client
from ptmtorrent.hubs.git.process import Git, git_environment
from ptmtorrent.network import check_proxies, describe_proxies, proxy_for
from ptmtorrent.transports.globus.paced import PacedTransport
from tests.channels import make_channel
from tests.in_process import ptmtorrent
from tests.program import environment
from tests.simulators.forward_proxy import ForwardProxy, http_proxy, socks_proxy
from tests.simulators.git_server import serve_git
from tests.simulators.static_server import serve

Start = Callable[[], AbstractContextManager[ForwardProxy]]
NAMES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
SOCKS = pytest.param(
    socks_proxy,
    marks=pytest.mark.skipif(importlib.util.find_spec("socksio") is None, reason="socksio is not installed"),
)


@pytest.mark.parametrize(
    ("given", "settings"),
    [
        ({"HTTP_PROXY": "http://a"}, {"http_proxy": "http://a"}),
        ({"http_proxy": "http://a", "HTTP_PROXY": "http://b"}, {"http_proxy": "http://a"}),
        ({"http_proxy": "", "HTTP_PROXY": "http://b"}, {}),
        ({"HTTP_PROXY": "http://b", "REQUEST_METHOD": "GET"}, {}),
        ({"ALL_PROXY": "http://a", "no_proxy": "x"}, {"all_proxy": "http://a", "no_proxy": "x"}),
    ],
)
def test_case_of_a_variable_does_not_matter(given: Mapping[str, str], settings: Mapping[str, str]) -> None:
    assert proxy_environment(given) == settings
    assert network_environment({"PATH": "/bin", **given}) == {"PATH": "/bin", **settings}


@pytest.mark.parametrize(
    ("no_proxy", "direct", "by_proxy"),
    [
        ("hub.example", ["http://hub.example/", "https://a.hub.example:8/"], ["http://xhub.example/"]),
        (".hub.example", ["http://hub.example/", "http://a.hub.example/"], ["http://example/"]),
        ("*.hub.example", ["http://a.hub.example/"], ["http://hub.example/"]),
        ("hub.example:81", ["http://hub.example:81/"], ["http://hub.example/", "https://hub.example/"]),
        ("other, HUB.example", ["http://hub.EXAMPLE/"], []),
        ("10.0.0.0/8,::1", ["http://10.2.3.4/", "http://[::1]/"], ["http://11.0.0.1/", "http://[::2]/"]),
        ("127.0.0.1,localhost", ["http://127.0.0.1:5/", "http://localhost/"], ["http://127.0.0.2/"]),
        ("*", ["http://hub.example/"], []),
        ("", [], ["http://hub.example/", "https://hub.example/"]),
    ],
)
def test_every_client_goes_the_same_way(
    no_proxy: str, direct: list[str], by_proxy: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"ALL_PROXY": "http://proxy.example:3128", "NO_PROXY": no_proxy}
    for name in (*NAMES, *map(str.lower, NAMES)):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    with new_client() as client:
        for url in (*direct, *by_proxy):
            expected = None if url in direct else given["ALL_PROXY"]
            assert proxy_for(url, proxy_environment(given)) == expected, url
            library = client._transport_for_url(httpx2.URL(url))  # what it would use
            assert (library is client._transport) == (expected is None), url
            made = git_environment(given, "https:http", url)
            scheme = url.partition(":")[0]
            assert (made.get(f"{scheme}_proxy"), made["no_proxy"]) == ((expected, "") if expected else (None, "*"))


def test_a_proxy_that_cannot_be_used_is_a_config_error(monkeypatch: pytest.MonkeyPatch) -> None:
    for value in ("socks4://127.0.0.1:1", "ftp://p", "http://", "http://p:port"):
        with pytest.raises(ConfigError, match="`all_proxy` cannot be"):
            check_proxies({"all_proxy": value})
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match="socksio") as caught:
        check_proxies({"https_proxy": "socks5h://p:1080"})
    assert "httpx2[socks]" in str(caught.value.hint)


def test_globus_through_a_socks_proxy_names_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5h://p:1080")
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match="`socks` is not installed") as caught:
        PacedTransport()
    assert "requests[socks]" in str(caught.value.hint)


def test_doctor_shows_the_proxies_in_force_without_passwords(tmp_path: Path) -> None:
    given = {"HTTP_PROXY": "http://me:hidden-word@p:1", "all_proxy": "q:2", "NO_PROXY": "localhost"}
    rows = ptmtorrent(tmp_path / "home", "doctor", env={**environment(), **given})
    [found] = [row["found"] for row in rows if row["check"] == "proxies"]
    assert found == "http_proxy=http://p:1, all_proxy=http://q:2, no_proxy=localhost"
    rows = ptmtorrent(
        tmp_path / "home", "doctor", code=10, env={**environment(), "ALL_PROXY": "socks4://u:hidden-word@p"}
    )
    [row] = [row for row in rows if row.get("check") == "proxies"]
    assert (row["ok"], "hidden-word" in str(rows)) == (False, False)
    assert describe_proxies({}) == "none"


@pytest.mark.parametrize("variable", [*("HTTP_PROXY", "ALL_PROXY"), *("http_proxy", "all_proxy")])
def test_fetch_goes_through_the_proxy_unless_the_host_is_direct(tmp_path: Path, variable: str) -> None:
    made = make_channel(tmp_path, {"hf:org/a": {"README.md": b"# a\n" * 50}})
    with serve(made.folder) as server, http_proxy() as proxy:
        port = server.url.rpartition(":")[2]
        url = f"http://hub.invalid:{port}"
        for place in (url, server.url):
            made.trusted_by(made.home, place)
        env = {**environment(), variable: proxy.url, "NO_PROXY": "127.0.0.1"}
        fetch = ("fetch", "--subset", "all", "--channel")
        ptmtorrent(made.home.root, *fetch, url, "--to", tmp_path / "out", env=env)
        assert set(proxy.asked) == {f"hub.invalid:{port}"}
        proxy.asked.clear()
        ptmtorrent(made.home.root, *fetch, server.url, "--to", tmp_path / "other", env=env)
        assert proxy.asked == []


@pytest.mark.parametrize("start", [http_proxy, SOCKS])
@pytest.mark.parametrize("variable", ["HTTP_PROXY", "all_proxy"])
def test_git_and_http_go_through_the_same_proxy(tmp_path: Path, start: Start, variable: str) -> None:
    with serve_git(tmp_path) as server, start() as proxy:
        commit = server.commit("a", {"README.md": b"# a\n"})
        remote = server.remote("a").replace("127.0.0.1", "hub.invalid")
        given = {**environment(), variable: proxy.url}
        assert Git(network_environment(given)).head(remote, "it") == commit
        assert len(set(proxy.asked)) == 1
        asked = len(proxy.asked)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(variable, proxy.url)
            with new_client() as client:
                assert client.get(f"{remote}/info/refs?service=git-upload-pack").status_code == 200
        assert len(proxy.asked) > asked
        assert set(proxy.asked) == {remote.split("/")[2]}
