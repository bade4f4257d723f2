"""Where a file is downloaded from, and the hashes that its hub promised."""

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ptmtorrent.errors import IntegrityError, NotFound
from ptmtorrent.hubs.client.download import Download, check_md5
from ptmtorrent.hubs.client.session import Session
from ptmtorrent.hubs.port import HubFile, Located
from ptmtorrent.stop import Stop
from ptmtorrent.store.ingest.files import Expected, FileHashes, check_expected
from tests.hubs.peer import Asked, Peer, Reply, ranged, serving

DATA = b"weights" * 1000
MD5 = hashlib.md5(DATA, usedforsecurity=False).hexdigest()
SHA256 = hashlib.sha256(DATA).hexdigest()
HASHES = FileHashes(size=len(DATA), blake3="0" * 64, sha256=SHA256, git_sha1="1" * 40, objects=())


def new_file(oid: str | None) -> HubFile:
    return HubFile(path="w.bin", size=len(DATA), oid=oid, source="url")


def download(session: Session, part: Path, locate: Callable[[], Located], oid: str | None = None) -> None:
    Download(
        session=session,
        locate=locate,
        file=new_file(oid),
        what="`w.bin`",
        part=part,
        count=lambda *_: None,
        stop=Stop(),
    ).run()


def alternates(peer: Peer) -> Located:
    return Located(
        url=f"{peer.base}/first",
        headers={"Authorization": "Bearer x"},
        alternates=(f"{peer.base}/second", f"{peer.base}/third"),
    )


def test_alternates_are_tried_in_order_and_without_credentials(session: Session, tmp_path: Path) -> None:
    def answer(asked: Asked) -> Reply:
        return ranged(DATA, asked) if asked.path == "/third" else Reply(404)

    with serving(answer) as peer:
        download(session, tmp_path / "part", lambda: alternates(peer))

        assert [asked.path for asked in peer.asked] == ["/first", "/second", "/third"]
        assert [asked.headers.get("authorization") for asked in peer.asked] == ["Bearer x", None, None]
    assert (tmp_path / "part").read_bytes() == DATA


def test_file_that_is_nowhere_says_what_each_place_answered(session: Session, tmp_path: Path) -> None:
    def answer(asked: Asked) -> Reply:
        return Reply(404, headers={"X-Error-Message": f"nothing at {asked.path}"})

    with serving(answer) as peer, pytest.raises(NotFound) as raised:
        download(session, tmp_path / "part", lambda: alternates(peer))

    assert all(f"nothing at /{place}" in raised.value.message for place in ("first", "second", "third"))


def test_bytes_without_a_hash_are_never_joined_from_two_places(session: Session, tmp_path: Path) -> None:
    def answer(asked: Asked) -> Reply:
        if asked.path == "/first":
            return Reply(body=b"x" * len(DATA), cut=100) if "range" not in asked.headers else Reply(404)
        return ranged(DATA, asked)

    with serving(answer) as peer:
        download(session, tmp_path / "part", lambda: alternates(peer))

    assert (tmp_path / "part").read_bytes() == DATA


def test_expired_address_is_asked_for_before_it_is_used(session: Session, tmp_path: Path) -> None:
    now = datetime(2026, 11, 28, tzinfo=UTC)
    session.clock = lambda: now
    asked_for: list[str] = []

    with serving(lambda asked: Reply(503) if len(peer.asked) < 2 else ranged(DATA, asked)) as peer:

        def locate() -> Located:
            asked_for.append(f"{peer.base}/{len(asked_for)}")
            return Located(url=asked_for[-1], expires=now - timedelta(seconds=1))

        download(session, tmp_path / "part", locate)

        assert [asked.path for asked in peer.asked] == ["/0", "/1"]


@pytest.mark.parametrize("oid", [f"sha256:{SHA256}", f"git:{'1' * 40}", f"sha256-prefix:{SHA256[:8]}", None])
def test_promise_that_is_kept_is_accepted(oid: str | None) -> None:
    check_expected(HASHES, Expected(size=len(DATA), oid=oid), "w.bin")

    assert new_file(oid).name_of_bytes == (oid if oid is not None and "prefix" not in oid else None)


@pytest.mark.parametrize(
    "oid",
    [
        f"sha256:{'0' * 64}",
        f"git:{'0' * 40}",
        "sha256-prefix:00000000",
        f"sha256-prefix:{SHA256[:7]}",
        f"sha256-prefix:{SHA256}",
        "sha256-prefix:",
        f"crc32:{SHA256[:8]}",
        SHA256,
    ],
)
def test_promise_that_is_broken_or_of_an_unknown_sort_is_refused(oid: str) -> None:
    with pytest.raises(IntegrityError, match=r"w\.bin"):
        check_expected(HASHES, Expected(size=len(DATA), oid=oid), "w.bin")


def test_md5_is_checked_where_a_hub_gives_no_better(tmp_path: Path) -> None:
    part = tmp_path / "part"
    part.write_bytes(DATA)

    assert check_md5(new_file(f"md5:{MD5}"), part)
    assert not check_md5(new_file(f"sha256:{SHA256}"), part)
    with pytest.raises(IntegrityError, match=f"md5:{MD5}"):
        check_md5(new_file(f"md5:{'0' * 32}"), part)
