"""Addresses of git remotes, compared with what the git program makes of them."""

import os
import shlex
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptmtorrent.errors import AuthError, IntegrityError, NotFound, PtmError, UsageError
from ptmtorrent.hubs.git.adapter import GitRemotes
from ptmtorrent.hubs.git.addresses import NAMED, WEB, is_address, split_remote
from ptmtorrent.hubs.git.clones import Clones
from ptmtorrent.hubs.git.process import Git, git_environment
from ptmtorrent.hubs.port import Query
from ptmtorrent.model.pointers import Pointer
from tests.hubs.git.samples import fetch
from tests.simulators.git_server import GitServer, run_git
from tests.simulators.nginx import free_port

WEIGHTS = b"weights" * 1000
PLAIN = {"PATH": os.environ["PATH"]}


@pytest.fixture
def served(tmp_path: Path) -> GitServer:
    (tmp_path / "served").mkdir()
    (tmp_path / "parts").mkdir()
    return GitServer(tmp_path / "served")


def fake_ssh(folder: Path, login: Path) -> dict[str, str]:
    """Make an ssh that notes its arguments and runs the command here, in the folder `login`."""
    program = folder / "ssh"
    program.write_text(
        f'#!/bin/sh\nprintf "%s\\n" "$*" >> {shlex.quote(str(folder / "ssh.log"))}\n'
        f'for last; do :; done\ncd {shlex.quote(str(login))} && exec sh -c "$last"\n'
    )
    program.chmod(0o755)
    return {**PLAIN, "GIT_SSH_COMMAND": str(program)}


def asked_of_ssh(folder: Path) -> list[str]:
    log = folder / "ssh.log"
    lines = log.read_text().splitlines() if log.exists() else []
    log.unlink(missing_ok=True)
    return lines


@contextmanager
def hub_of(work: Path, environment: Mapping[str, str], endpoint: str = "https://hub.invalid") -> Iterator[GitRemotes]:
    hub = GitRemotes(endpoint, Clones(Git(environment), work))
    try:
        yield hub
    finally:
        hub.close()


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("git@example.org:team/model.git", "example.org/team/model"),
        ("example.org:team/model", "example.org/team/model"),
        ("git@example.org:{folder}/team/model.git", "example.org{folder}/team/model"),
        ("git@[example.org:2222]:team/model.git", "example.org+2222/team/model"),
        ("ssh://git@example.org{folder}/team/model.git", "example.org{folder}/team/model"),
        ("ssh://git@example.org:2222{folder}/team/model", "example.org+2222{folder}/team/model"),
        ("git+ssh://example.org{folder}/team/model", "example.org{folder}/team/model"),
        ("ssh+git://example.org{folder}/team/model", "example.org{folder}/team/model"),
    ],
)
def test_address_by_ssh_asks_ssh_for_what_git_asks(served: GitServer, tmp_path: Path, address: str, name: str) -> None:
    commit = served.commit("team/model", {"a.txt": b"x"})
    environment = fake_ssh(tmp_path, served.folder)
    address, name = address.format(folder=served.folder), name.format(folder=served.folder)
    plain = {**environment, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    order = ["git", "-c", "protocol.version=2", "ls-remote", address, "HEAD"]
    found = subprocess.run(order, env=plain, check=True, capture_output=True, text=True).stdout
    wanted = asked_of_ssh(tmp_path)
    assert found == f"{commit}\tHEAD\n"
    assert len(wanted) == 1

    with hub_of(tmp_path / "work", environment) as hub:
        [page] = hub.listing(Query(ids=(address,)), None)
        assert page.packages[0].name == name
        assert page.packages[0].commit == commit
        assert asked_of_ssh(tmp_path) == wanted
        got = fetch(hub, address, tmp_path / "parts")

    assert {path: data for path, (_, data) in got.items()} == {"a.txt": b"x"}


@pytest.mark.parametrize("kind", ["path", "url", "relative", "endpoint"])
def test_local_folder_is_a_remote_and_its_lfs_objects_are_beside_it(
    served: GitServer, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pointer = served.keep_object(WEIGHTS)
    served.commit("team/my model", {"a.bin": pointer, "b.txt": b"x"})
    kept = served.folder / "team/my model.git/lfs/objects" / pointer.sha256[:2] / pointer.sha256[2:4]
    kept.mkdir(parents=True)
    (kept / pointer.sha256).write_bytes(WEIGHTS)
    monkeypatch.chdir(served.folder)
    text = {
        "path": f"{served.folder}/team/my model.git",
        "url": f"file://{served.folder}/team/my%20model",
        "relative": "./team/my model.git/",
        "endpoint": "team/my%20model",
    }[kind]

    with hub_of(tmp_path / "work", PLAIN, f"file://{served.folder}") as hub:
        got = fetch(hub, text, tmp_path / "parts")
        [page] = hub.listing(Query(ids=(text,)), None)

    assert page.packages[0].name == f"localhost{served.folder}/team/my model"
    assert {path: data for path, (_, data) in got.items()} == {"a.bin": WEIGHTS, "b.txt": b"x"}


def test_folder_with_a_working_tree_is_a_remote(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    run_git("init", "--quiet", "--initial-branch=main", str(tmp_path / "tree"))
    (tmp_path / "tree/a.txt").write_bytes(b"x")
    for order in (["add", "a.txt"], ["commit", "--quiet", "-m", "Add"]):
        run_git("-C", str(tmp_path / "tree"), *order)

    with hub_of(tmp_path / "work", PLAIN) as hub:
        got = fetch(hub, str(tmp_path / "tree"), tmp_path / "parts")

    assert {path: data for path, (_, data) in got.items()} == {"a.txt": b"x"}


@pytest.mark.parametrize("text", ["file:///no/such/folder", "/no/such/folder"])
def test_local_folder_without_a_remote_is_gone(tmp_path: Path, text: str) -> None:
    with hub_of(tmp_path / "work", PLAIN) as hub:
        [page] = hub.listing(Query(ids=(text,)), None)
        assert page.packages[0].access == "gone"


def test_git_daemon_is_a_remote(served: GitServer, tmp_path: Path) -> None:
    served.commit("team/model", {"a.txt": b"x"})
    port = free_port()
    order = ["git", "daemon", "--export-all", f"--base-path={served.folder}", "--listen=127.0.0.1", f"--port={port}"]
    environment = {**PLAIN, "GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*"}
    with subprocess.Popen(order, env=environment, stderr=subprocess.DEVNULL) as daemon:
        try:
            wait_for(port)
            with hub_of(tmp_path / "work", PLAIN) as hub:
                got = fetch(hub, f"git://127.0.0.1:{port}/team/model.git", tmp_path / "parts")
        finally:
            daemon.terminate()
    assert {path: data for path, (_, data) in got.items()} == {"a.txt": b"x"}


def wait_for(port: int) -> None:
    until = time.monotonic() + 20
    while time.monotonic() < until:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise AssertionError("git daemon does not listen")


def test_lfs_object_of_a_remote_by_ssh_names_the_address_that_has_it(served: GitServer, tmp_path: Path) -> None:
    served.commit("team/model", {"a.bin": Pointer(sha256="a" * 64, size=5)})
    ssh = fake_ssh(tmp_path, served.folder)
    with hub_of(tmp_path / "work", ssh) as hub, pytest.raises(NotFound, match=r"a\.bin") as caught:
        fetch(hub, "git@example.org:team/model", tmp_path / "parts")
    assert "https://" in (caught.value.hint or "")


def test_ssh_that_refuses_the_login_is_an_auth_error(tmp_path: Path) -> None:
    program = tmp_path / "ssh"
    program.write_text("#!/bin/sh\necho 'git@example.org: Permission denied (publickey).' >&2\nexit 255\n")
    program.chmod(0o755)
    with pytest.raises(AuthError, match="Permission denied"):
        Git({**PLAIN, "GIT_SSH_COMMAND": str(program)}, protocols="ssh").head("git@example.org:x", "`git:x`")


def test_git_gets_the_ssh_of_the_user_for_ssh_alone() -> None:
    given = {"HOME": "/home/me", "GIT_SSH_COMMAND": "ssh -i key", "SSH_AUTH_SOCK": "/s", "GIT_DIR": "/x"}
    by_ssh = git_environment(given, "ssh")
    assert {name: by_ssh[name] for name in ("HOME", "GIT_SSH_COMMAND", "SSH_AUTH_SOCK")} == {
        name: given[name] for name in ("HOME", "GIT_SSH_COMMAND", "SSH_AUTH_SOCK")
    }
    assert "GIT_DIR" not in by_ssh
    for other in ("https:http", "file", "git", ""):
        assert not {"HOME", "GIT_SSH_COMMAND", "SSH_AUTH_SOCK"} & git_environment(given, other).keys()
    assert "BatchMode=yes" in git_environment({}, "ssh")["GIT_SSH_COMMAND"]


@pytest.mark.parametrize(
    "text",
    [
        *("ext::sh -c date", "foo::bar", "s3://bucket/x", "rsync://h/x", "ftp://h/x", "file://host/x", "file://x"),
        *("-oProxyCommand=date:x", "git@-oProxyCommand=date:x", "ssh://-oProxyCommand=date/x", "host:-x", "host:"),
        *(
            "ssh://host",
            "ssh:///x",
            "git://u@host/x",
            "https://u@host/x",
            "https://host/a b",
            "https://host/x\n/y",
            ":x",
        ),
    ],
)
def test_what_git_refuses_or_runs_a_program_for_is_refused(text: str) -> None:
    with pytest.raises((NotFound, IntegrityError)):
        split_remote(text, NAMED)


@pytest.mark.parametrize("text", ["ssh://git:PassWord@host/x", "git:PassWord@host:x", "git+ssh://a:PassWord@h:22/x"])
def test_password_for_ssh_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        split_remote(text, NAMED)
    assert "PassWord" not in f"{caught.value.message} {caught.value.hint}"


@pytest.mark.parametrize("text", ["git@host:x", "ssh://host/x", "git://host/x", "file:///x", "/x", "./x", "~/x"])
def test_answer_of_a_hub_may_name_addresses_of_the_web_alone(text: str) -> None:
    assert is_address(text)
    with pytest.raises(NotFound):
        split_remote(text, WEB)


@given(st.text(max_size=40) | st.from_regex(r"(ssh|file|git|https)://[ -~]{0,30}", fullmatch=True))
def test_any_text_is_an_address_or_our_error(text: str) -> None:
    try:
        address, name = split_remote(text, NAMED)
    except PtmError:
        return
    assert split_remote(address, NAMED) == (address, name)


@pytest.mark.parametrize("text", ["git@host:x", "ssh://host/x", "file:///x", "/x"])
def test_remotes_of_a_catalogue_are_of_the_web_alone(tmp_path: Path, text: str) -> None:
    hub = GitRemotes("https://hub.invalid", Clones(Git(PLAIN), tmp_path / "work"), named=False)
    with pytest.raises(NotFound, match="not the address of a git remote"):
        next(hub.listing(Query(ids=(text,)), None))
    assert hub._clones.git.protocols == "https:http"
    hub.close()
