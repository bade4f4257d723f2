from datetime import timedelta
from pathlib import Path

import pytest

from ptmtorrent.errors import NotFound, PtmError, TransportError, TrustError, UsageError
from ptmtorrent.paths import Home
from ptmtorrent.reading import open_channel as opening
from ptmtorrent.reading.open_channel import OpenChannel, open_channel
from ptmtorrent.trust.fingerprints import fingerprint, folder_of, read_first_root
from tests.channels import NOW, Heard, Made, clock, make_channel
from tests.simulators.nginx import free_port
from tests.simulators.static_server import serve


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_channel(tmp_path_factory.mktemp("made"), {"hf:org/name": {"a.json": b"{}" * 50}})


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def opened(location: object, home: Home, release: str | None = None) -> OpenChannel:
    return open_channel(str(location), release, home, clock=clock, emit=Heard())


def test_a_folder_is_one_channel_however_it_is_named(made: Made, home: Home) -> None:
    made.trusted_by(home, str(made.folder))
    for spelling in (str(made.folder), f"{made.folder}/", made.folder.as_uri()):
        channel = opened(spelling, home)
        assert (channel.location, channel.folder, channel.how) == (str(made.folder), made.folder, "fresh")


def test_a_server_is_a_channel_with_no_folder(made: Made, home: Home) -> None:
    with serve(made.folder) as server:
        made.trusted_by(home, server.url)
        channel = opened(f"{server.url}/", home)
        assert (channel.location, channel.folder) == (server.url, None)


def test_an_unknown_release_names_those_there_are(made: Made, home: Home) -> None:
    made.trusted_by(home, str(made.folder))
    with pytest.raises(NotFound, match=r"2026\.12") as caught:
        opened(made.folder, home, "2026.12")
    assert "2026.11" in f"{caught.value.message} {caught.value.hint}"


@pytest.mark.parametrize("release", ["b3:short", "b3:" + "A" * 64])
def test_a_malformed_content_root_is_a_usage_error(made: Made, home: Home, release: str) -> None:
    with pytest.raises(UsageError, match="is not a content root"):
        opened(made.folder, home, release)


def test_another_content_root_is_not_found(made: Made, home: Home) -> None:
    with pytest.raises(NotFound):
        opened(made.folder, home, "b3:" + "a" * 64)


def test_an_expired_channel_is_refused_and_its_content_root_is_not(made: Made, home: Home) -> None:
    made.trusted_by(home, str(made.folder))

    def much_later() -> object:
        return NOW + timedelta(days=4000)

    with pytest.raises(TrustError):
        open_channel(str(made.folder), None, home, clock=much_later, emit=Heard())  # type: ignore[arg-type]
    pin = f"b3:{made.release.content_root}"
    assert open_channel(str(made.folder), pin, home, clock=much_later, emit=Heard()).how == "archived"  # type: ignore[arg-type]


def test_a_home_without_write_permissions_still_refuses_a_rollback(
    made: Made, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    made.trusted_by(home, str(made.folder))
    root = read_first_root(made.folder)
    seen = home.trust / folder_of(fingerprint(root))
    opened(made.folder, home)
    (home.trust / "another").mkdir()
    (seen / "seen.json").write_bytes((seen / "seen.json").read_bytes().replace(b'"sequence":1', b'"sequence":5'))
    for path in [seen / "lock", seen / "seen.json", *(seen / "metadata").rglob("*"), seen / "metadata", seen]:
        path.chmod(0o500 if path.is_dir() else 0o400)
    monkeypatch.setattr(opening, "is_unwritable", lambda _: True)  # what it says to a user who is not root

    with opening._writable(home.trust, root) as state:
        assert [path.name for path in state.iterdir()] == [seen.name]
        assert {path.stat().st_mode & 0o777 for path in state.rglob("*") if path.is_dir()} == {0o700}
        assert not (state / seen.name / "lock").exists()
    with pytest.raises(TrustError, match="sequence 1, but 5 was seen before"):
        opened(made.folder, home)
    assert not state.exists()


def test_a_server_without_a_channel_is_not_found(made: Made, home: Home, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with serve(tmp_path / "empty") as server:
        made.trusted_by(home, server.url)
        with pytest.raises(NotFound):
            opened(server.url, home)


def test_a_server_that_is_not_there_is_a_transport_error(made: Made, home: Home) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    made.trusted_by(home, url)
    with pytest.raises(TransportError):
        opened(url, home)


def test_a_scheme_we_cannot_read_is_a_usage_error(home: Home) -> None:
    with pytest.raises(UsageError, match="`ftp:` is not supported"):
        opened("ftp://example.org/channel", home)


def test_our_own_empty_channel_says_what_to_type(home: Home) -> None:
    (home.channel / "metadata").mkdir(parents=True)
    with pytest.raises(PtmError) as caught:
        opened(home.channel, home)
    assert "ptmtorrent release" in str(caught.value.hint)
