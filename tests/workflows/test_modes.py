"""Modes: a home is for its user alone, a published channel for all, and packages as the umask says."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from ptmtorrent.disk.database import Database
from ptmtorrent.errors import StoreError
from ptmtorrent.model.records import ignore
from ptmtorrent.paths import Home
from ptmtorrent.state.clone_journal import Journal
from ptmtorrent.state.laid_out import Ledger
from ptmtorrent.trust.keys import load_keys
from ptmtorrent.trust.memory import exclusive
from ptmtorrent.workflows.fetch.fetch import FetchRequest
from ptmtorrent.workflows.publish.publish import publish
from tests.channels import EXECUTABLE, RELEASE, clock, fetch_from, make_channel

PACKAGE = "hf:org/m"
FILES = {"README.md": b"# m\n", EXECUTABLE: b"#!/bin/sh\n", "deep/er/model.bin": b"W" * 900}


@pytest.fixture(params=[0o000, 0o002, 0o027, 0o077], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def test_modes_follow_what_a_thing_is_for(tmp_path: Path, umask: int) -> None:
    base = tmp_path / "base"
    base.mkdir()
    made = make_channel(base, {PACKAGE: FILES})
    served = tmp_path / "served" / "ptm"
    publish(
        RELEASE, made.home, served, load_keys=lambda: load_keys(made.home.keys, lambda: None), clock=clock, emit=ignore
    )
    user = Home(tmp_path / "user" / "home")
    made.trusted_by(user, str(served))
    for into in ("dir", "hf-cache"):
        request = FetchRequest(packages=(PACKAGE,), to=tmp_path / into, into=into)  # type: ignore[arg-type]
        fetch_from(served, user, request)

    for home in (made.home, user):
        assert mode(home.root) == 0o700
    for channel in (served, made.home.channel):
        for path in (channel, *channel.rglob("*")):
            assert mode(path) == (0o755 if path.is_dir() else 0o644), path
    for path in (user.ledger, *user.trust.rglob("lock")):
        assert mode(path) == 0o600, path
    for folder in (tmp_path / "dir", tmp_path / "hf-cache"):
        for path in (folder, *folder.rglob("*")):
            if not path.is_symlink() and path.name != EXECUTABLE:
                assert mode(path) == (0o777 if path.is_dir() else 0o666) & ~umask, path
    assert mode(tmp_path / "dir/hf/org/m" / EXECUTABLE) == 0o777 & ~umask


def test_publishing_again_makes_what_is_there_readable(tmp_path: Path) -> None:
    made = make_channel(tmp_path, {PACKAGE: FILES})
    served = tmp_path / "served"
    keys = lambda: load_keys(made.home.keys, lambda: None)  # noqa: E731
    publish(RELEASE, made.home, served, load_keys=keys, clock=clock, emit=ignore)
    for path in served.rglob("*"):
        path.chmod(0o700 if path.is_dir() else 0o600)
    publish(RELEASE, made.home, served, load_keys=keys, clock=clock, emit=ignore)
    for path in served.rglob("*"):
        assert mode(path) == (0o755 if path.is_dir() else 0o644), path


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize("kind", ["ledger", "journal", "trust lock"])
def test_nothing_of_a_home_is_created_through_a_link(tmp_path: Path, kind: str, there: bool) -> None:
    victim = tmp_path / "victim"
    if there:
        victim.write_bytes(b"")
    place = tmp_path / "home" / ("lock" if kind == "trust lock" else "file")
    place.parent.mkdir()
    place.symlink_to(victim)
    with pytest.raises(StoreError, match="is a link") as caught:
        open_there(kind, place)
    assert str(place) in caught.value.message
    assert victim.exists() == there
    assert not there or victim.read_bytes() == b""


def open_there(kind: str, place: Path) -> None:
    if kind == "ledger":
        with Ledger(place):
            pass
    elif kind == "journal":
        with Journal(place):
            pass
    else:
        with exclusive(place.parent):
            pass


def test_a_database_in_use_by_this_process_keeps_its_locks(tmp_path: Path) -> None:
    with Database(tmp_path / "file", name="it", schema="CREATE TABLE IF NOT EXISTS t (x)") as first:
        with first.transaction():
            first.run("INSERT INTO t VALUES (1)")
            with Database(tmp_path / "file", name="it", schema="CREATE TABLE IF NOT EXISTS t (x)") as second:
                assert second.all("SELECT * FROM t") == []
        assert first.all("SELECT * FROM t") == [(1,)]
