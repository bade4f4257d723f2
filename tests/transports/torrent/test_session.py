import pytest

from ptmtorrent.errors import TransportError
from ptmtorrent.transports.torrent.session import Profile, TorrentSession, profile_for, spell_address


@pytest.mark.parametrize(
    ("hosts", "profile"),
    [
        (["127.0.0.1"], "loopback"),
        (["127.8.9.1", "::1", "localhost"], "loopback"),
        (["127.0.0.1", "192.0.2.1"], "wan"),
        (["example.org"], "wan"),
        (["0.0.0.0"], "wan"),
        ([], "wan"),
    ],
)
def test_loopback_is_chosen_when_all_hosts_are_this_machine(hosts: list[str], profile: Profile) -> None:
    assert profile_for(hosts) == profile


@pytest.mark.parametrize(
    ("address", "spelled"),
    [(("127.0.0.1", 0), "127.0.0.1:0"), (("::1", 6881), "[::1]:6881"), (("localhost", 1), "127.0.0.1:1")],
)
def test_addresses_are_spelled_as_libtorrent_reads_them(address: tuple[str, int], spelled: str) -> None:
    assert spell_address(address) == spelled


def test_the_system_picks_a_port() -> None:
    with TorrentSession("loopback", "127.0.0.1:0", seeding=True) as session:
        assert 0 < session.port() < 65536


def test_a_taken_port_is_refused_by_name() -> None:
    with TorrentSession("loopback", "127.0.0.1:0", seeding=True) as first:
        taken = f"127.0.0.1:{first.port()}"
        with TorrentSession("loopback", taken, seeding=True) as second, pytest.raises(TransportError, match=taken):
            second.port()
