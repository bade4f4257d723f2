"""`verify --upstream`: stored bytes hash up to the upstream commit, which may be signed."""

import subprocess
from pathlib import Path
from typing import Any

import pytest

from ptmtorrent.errors import ConfigError, IntegrityError
from ptmtorrent.hubs.git.signatures import signature_of, verify_signature
from ptmtorrent.model.ids import PackageName
from ptmtorrent.model.records import Event, Result
from ptmtorrent.paths import Home
from ptmtorrent.stop import Stop
from ptmtorrent.workflows.clone.clone import CloneRequest, clone
from ptmtorrent.workflows.maintain import prove_commit, upstream
from ptmtorrent.workflows.maintain.upstream import verify_upstream
from tests.hubs.git.samples import fill, remotes
from tests.in_process import ptmtorrent
from tests.simulators.git_server import serve_git
from tests.workflows.cloning import NOW


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false", *arguments]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


def results(events: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(event["status"], event["reason"]) for event in events if event["type"] == "result"]


def new_key(folder: Path, name: str) -> Path:
    key = folder / name
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(key)]
    subprocess.run(command, check=True, capture_output=True)
    return key


@pytest.fixture(scope="module")
def captured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A home with a package of a signed commit, and one of a folder that has none."""
    root = tmp_path_factory.mktemp("upstream")
    work = root / "work"
    work.mkdir()
    git(work, "init", "-q", "-b", "main")
    (work / "config.json").write_text('{"a": 1}')
    git(work, "add", ".")
    key = new_key(root, "signer")
    new_key(root, "other")
    git(work, "-c", "gpg.format=ssh", "-c", f"user.signingkey={key}", "commit", "-q", "-S", "-m", "one")
    return root, git(work, "rev-parse", "HEAD")


def test_signature_of_a_commit_is_verified_with_given_keys(captured: tuple[Path, str]) -> None:
    root, commit = captured
    body = subprocess.run(
        ["git", "cat-file", "commit", commit], cwd=root / "work", check=True, capture_output=True
    ).stdout
    signed = signature_of(body)
    assert signed is not None
    assert signed.kind == "SSH"
    verify_signature(signed, root / "signer.pub")
    with pytest.raises(IntegrityError, match="no key in"):
        verify_signature(signed, root / "other.pub")
    with pytest.raises(IntegrityError, match="no key in"):
        verify_signature(signed._replace(payload=signed.payload + b"x"), root / "signer.pub")
    with pytest.raises(ConfigError, match="has no SSH public key"):
        verify_signature(signed, root / "work" / "config.json")
    assert signature_of(b"tree 00\n\nmessage\ngpgsig no\n") is None


def test_package_without_git_objects_says_so(tmp_path: Path) -> None:
    home, place = tmp_path / "home", tmp_path / "plain"
    place.mkdir()
    (place / "config.json").write_text("{}")
    ptmtorrent(home, "clone", "dir", "--endpoint", place)
    [(status, reason)] = results(ptmtorrent(home, "verify", "dir:plain", "--upstream", code=3))
    assert status == "impossible"
    assert "there is no proof" in reason
    assert results(ptmtorrent(home, "verify", "--upstream"))[0][0] == "impossible"


def test_stored_bytes_hash_up_to_the_commit_and_a_wrong_byte_is_named(
    tmp_path: Path, captured: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    root, signed = captured
    (tmp_path / "served").mkdir()
    home = Home(tmp_path / "home")
    with serve_git(tmp_path / "served") as server, remotes(server, tmp_path / "work", []) as hub:
        [name] = fill(server, 1)
        request = CloneRequest(ids=(name,))
        clone(lambda _: hub, request, home, clock=lambda: NOW, emit=lambda _: None, stop=Stop())
    events: list[Event] = []
    summary, wrong = verify_upstream(home, None, emit=events.append, stop=Stop())
    [result] = [event for event in events if isinstance(event, Result)]
    assert (summary.failed, wrong, result.status) == (0, False, "ok")
    assert "hash up to the commit" in result.reason
    assert "the commit is not signed" in result.reason

    body = subprocess.run(["git", "cat-file", "commit", signed], cwd=root / "work", check=True, capture_output=True)
    monkeypatch.setattr(upstream, "read_commit", lambda *_: body.stdout)
    for keys, status in (("signer.pub", "ok"), ("other.pub", "error")):
        events.clear()
        package = PackageName(result.id)
        verify_upstream(home, package, keys=root / keys, emit=events.append, stop=Stop())
        assert [event.status for event in events if isinstance(event, Result)] == [status]

    monkeypatch.setattr(prove_commit, "_hash", lambda *_: ("0" * 64, "0" * 40))
    events.clear()
    assert verify_upstream(home, None, emit=events.append, stop=Stop())[1]
    assert "does not match its upstream commit" in next(e.reason for e in events if isinstance(e, Result))
