from datetime import UTC, datetime
from pathlib import Path

import pytest

from ptmtorrent.errors import HubError, IntegrityError, NotFound
from ptmtorrent.hubs.client.session import Session
from ptmtorrent.hubs.git.lfs import LfsAddresses, LfsObject, batch_url, request_batch
from tests.hubs.conftest import Time
from tests.hubs.git.samples import fetch, fill, remotes
from tests.hubs.peer import Reply, serving
from tests.simulators.git_server import GitServer, serve_git

PATH = "weights/model.bin"


@pytest.fixture
def server(tmp_path: Path) -> GitServer:
    (tmp_path / "served").mkdir()
    (tmp_path / "parts").mkdir()
    with serve_git(tmp_path / "served") as made:
        yield made


def oid_of(server: GitServer) -> str:
    [place] = (server.folder / "lfs").iterdir()
    return place.name


def get(server: GitServer, tmp_path: Path, session: Session) -> bytes:
    with remotes(server, tmp_path / "work", [], session) as hub:
        return fetch(hub, "team/model-0", tmp_path / "parts")[PATH][1]


def expected(server: GitServer) -> bytes:
    return (server.folder / "lfs" / oid_of(server)).read_bytes()


def stored(server: GitServer) -> list[str | None]:
    return [asked.headers.get("range") for asked in server.asked if "try=" in asked.path]


def test_object_that_is_gone_is_named_with_its_package_and_path(
    server: GitServer, tmp_path: Path, session: Session
) -> None:
    fill(server, 1)
    server.faults.gone.add(oid_of(server))

    with pytest.raises(NotFound) as caught:
        get(server, tmp_path, session)

    assert "team/model-0" in caught.value.message
    assert PATH in caught.value.message
    assert oid_of(server) in caught.value.message


def test_pointer_where_weights_should_be_is_refused(server: GitServer, tmp_path: Path, session: Session) -> None:
    fill(server, 1)
    server.faults.pointers.add(oid_of(server))

    with pytest.raises(IntegrityError, match=f"pointer.*{oid_of(server)}"):
        get(server, tmp_path, session)


def test_wrong_length_is_refused(server: GitServer, tmp_path: Path, session: Session) -> None:
    fill(server, 1)
    server.faults.wrong_length.add(oid_of(server))

    with pytest.raises(IntegrityError, match="300000 bytes"):
        get(server, tmp_path, session)


def test_expired_address_is_asked_for_again(server: GitServer, tmp_path: Path, session: Session) -> None:
    fill(server, 1)
    server.faults.expired_once.add(oid_of(server))

    assert get(server, tmp_path, session) == expected(server)
    assert len(server.batches) == 2


def test_busy_server_is_waited_for_as_long_as_it_says(
    server: GitServer, tmp_path: Path, session: Session, time: Time
) -> None:
    fill(server, 1)
    server.faults.busy_batches = 1

    assert get(server, tmp_path, session) == expected(server)
    assert sum(time.waits) >= server.faults.retry_after


def test_broken_download_goes_on_by_range(server: GitServer, tmp_path: Path, session: Session) -> None:
    fill(server, 1)
    server.faults.cut_at[oid_of(server)] = 123_456

    assert get(server, tmp_path, session) == expected(server)
    assert stored(server) == [None, "bytes=123456-"]


def test_server_that_ignores_ranges_is_read_from_the_start(server: GitServer, tmp_path: Path, session: Session) -> None:
    fill(server, 1)
    server.faults.cut_at[oid_of(server)] = 123_456
    server.faults.no_ranges = True

    assert get(server, tmp_path, session) == expected(server)


def test_a_hundred_objects_are_asked_for_at_once(server: GitServer, session: Session) -> None:
    pointers = [server.keep_object(b"%d" % index) for index in range(250)]
    waiting = {pointer.sha256: pointer.size for pointer in pointers}
    addresses = LfsAddresses(session, server.remote("team/m"), {}, "it", waiting)

    for pointer in pointers:
        assert pointer.sha256 in addresses.locate(LfsObject(oid=pointer.sha256, size=pointer.size)).url

    assert [len(batch) for batch in server.batches] == [100, 100, 50]


def test_address_that_ends_soon_is_asked_for_again(server: GitServer, session: Session) -> None:
    pointers = [server.keep_object(b"%d" % index) for index in range(2)]
    server.faults.expires_in = 10
    addresses = LfsAddresses(session, server.remote("m"), {}, "it", {one.sha256: one.size for one in pointers})

    for pointer in pointers:
        addresses.locate(LfsObject(oid=pointer.sha256, size=pointer.size))

    assert len(server.batches) == 2


WANTED = LfsObject(oid="a" * 64, size=5)


def answer(row: str) -> bytes:
    return ('{"objects":[{"oid":"%s","size":5,%s}]}' % ("a" * 64, row)).encode()  # noqa: UP031


@pytest.mark.parametrize(
    "row",
    [
        '"actions":{"download":{"href":"file:///etc/passwd"}}',
        '"actions":{"download":{"href":"http://u:p@host/"}}',
        '"actions":{"download":{"href":"http://host/","header":{"Range":"bytes=0-1"}}}',
        '"actions":{"download":{"href":"http://host/","header":{"X":"a\\r\\nY: b"}}}',
        '"actions":{}',
        '"error":{"code":404}',
        '"error":{"code":500,"message":"broken"}',
    ],
)
def test_hostile_answer_for_an_object_is_an_error_of_that_object(row: str, session: Session) -> None:
    with serving(lambda _: Reply(body=answer(row))) as peer:
        got = request_batch(session, f"{peer.base}/m", [WANTED], {}, "it")

    assert isinstance(got[WANTED.oid], HubError | NotFound)


@pytest.mark.parametrize("body", [b"", b"[]", b'{"objects":1}', b"<html>", b'{"objects":[],"transfer":"ssh"}'])
def test_what_is_no_batch_answer_is_refused(body: bytes, session: Session) -> None:
    with serving(lambda _: Reply(body=body)) as peer, pytest.raises(HubError):
        request_batch(session, f"{peer.base}/m", [WANTED], {}, "it")


def test_batch_api_is_beside_the_remote() -> None:
    assert batch_url("https://h/a/b") == "https://h/a/b.git/info/lfs/objects/batch"
    assert batch_url("https://h/a/b.git/") == "https://h/a/b.git/info/lfs/objects/batch"


def test_object_that_the_answer_does_not_mention_is_an_error_of_that_object(session: Session) -> None:
    other = LfsObject(oid="b" * 64, size=5)
    with serving(lambda _: Reply(body=answer('"actions":{"download":{"href":"http://host/"}}'))) as peer:
        got = request_batch(session, f"{peer.base}/m", [WANTED, other], {}, "it")

    assert getattr(got[WANTED.oid], "href", None) == "http://host/"
    error = got[other.oid]
    assert isinstance(error, HubError)
    assert error.message == f"the LFS object `sha256:{other.oid}`: the server's answer does not mention it"


@pytest.mark.parametrize("href", ["http://[", "https://[::1", "https://", "ftp://host/x", "x"])
def test_address_that_is_none_is_refused(href: str, session: Session) -> None:
    with serving(lambda _: Reply(body=answer(f'"actions":{{"download":{{"href":"{href}"}}}}'))) as peer:
        got = request_batch(session, f"{peer.base}/m", [WANTED], {}, "it")

    error = got[WANTED.oid]
    assert isinstance(error, HubError)
    assert error.message.endswith(f"the server gives the address {href!r}: refused")


NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("until", "held"),
    [
        ('"expires_in":60', 30),
        ('"expires_in":60,"expires_at":"2026-11-20T13:00:00Z"', 30),
        ('"expires_at":"2026-11-20T12:01:40Z"', 70),
        ('"expires_at":"2026-11-20T12:01:40"', 70),
        ('"expires_at":"2026-11-20T14:01:40+02:00"', 70),
        ('"expires_in":0,"expires_at":"2026-11-20T12:01:40Z"', 70),
        ('"expires_in":0', None),
        ('"expires_at":"2026-11-20T11:00:00Z"', None),
        ('"expires_at":"tomorrow"', None),
        ('"expires_in":1e300', None),
    ],
)
def test_an_address_is_used_until_it_expires_and_an_impossible_expiry_says_nothing(
    until: str, held: int | None, time: Time
) -> None:
    def row(oid: str) -> str:
        return f'{{"oid":"{oid}","size":5,"actions":{{"download":{{"href":"http://host/{oid[0]}",{until}}}}}}}'

    first, second = WANTED, LfsObject(oid="b" * 64, size=5)
    body = f'{{"objects":[{row(first.oid)},{row(second.oid)}]}}'.encode()
    asked = Session(monotonic=time.monotonic, pause=time.pause, clock=lambda: NOW)
    with serving(lambda _: Reply(body=body)) as peer:
        for after, batches in ((held or 10_000_000, 1 if held is None else 2), ((held or 2) - 1, 1)):
            addresses = LfsAddresses(asked, f"{peer.base}/m", {}, "it", {second.oid: 5}, time.monotonic)
            before = len(peer.asked)
            addresses.locate(first)
            time.now += after
            assert addresses.locate(second).url == "http://host/b"
            assert len(peer.asked) - before == batches
    asked.close()
