"""The modes of opening a channel, at any clock; forks; channels that are trusted no longer."""

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from msgspec import structs

from ptmtorrent.disk.durable import write_file
from ptmtorrent.errors import NotFound, TrustError
from ptmtorrent.model import canonical
from ptmtorrent.model.moments import spell
from ptmtorrent.trust.client import open_archived, open_fresh
from ptmtorrent.trust.fingerprints import fingerprint, folder_of, read_first_root
from ptmtorrent.trust.keys import Keys
from ptmtorrent.trust.memory import SEEN, read_seen, seen_keys
from ptmtorrent.trust.pins import Pins
from ptmtorrent.trust.publisher import drop_release
from tests.cli.test_renew import ROLES
from tests.trust.channels import NOW, FolderReader, open_newest, publish

CLOCKS = {
    "1970": datetime(1970, 1, 1, tzinfo=UTC),
    "400 days back": NOW - timedelta(days=400),
    "now": NOW,
    "400 days on": NOW + timedelta(days=400),
    "25 months on": NOW + timedelta(days=760),
    "2106": datetime(2106, 2, 8, tzinfo=UTC),
}
FRESH = {"1970": "fresh", "400 days back": "fresh", "now": "fresh"}
OFFLINE = {"now": "fresh", "400 days on": "offline", "25 months on": "offline", "2106": "offline"}


def offline(channel: Path, state: Path, now: datetime = NOW) -> str:
    reader, root = FolderReader(channel), read_first_root(channel)
    return open_fresh(reader, root=root, state=state, now=now, release=None, accept_expired=True).how


@pytest.mark.parametrize("clock", CLOCKS)
@pytest.mark.parametrize("seen", [False, True])
def test_each_mode_answers_as_documented_at_any_clock(
    channel: Path, keys: Keys, tmp_path: Path, clock: str, *, seen: bool
) -> None:
    """A clock that is behind is no proof of freshness; where a refresh was seen, expiry is judged at that time."""
    publish(channel, keys, "r1", 1)
    now = CLOCKS[clock]
    state = tmp_path / "state"
    if seen:
        assert open_newest(channel, state).how == "fresh"
    if clock in FRESH:
        assert open_newest(channel, state, now=now).how == "fresh"
    else:
        with pytest.raises(TrustError, match="expired"):
            open_newest(channel, state, now=now)
    if clock in OFFLINE:
        assert offline(channel, state, now) == OFFLINE[clock]
    elif seen:
        assert offline(channel, state, now) == "fresh"
    root = open_newest(channel, tmp_path / "other").release.content_root
    assert open_archived(FolderReader(channel), root).how == "archived"


def test_offline_refuses_a_clock_before_what_was_seen_or_signed(channel: Path, keys: Keys, tmp_path: Path) -> None:
    publish(channel, keys, "r1", 1)
    late = NOW + timedelta(days=29)
    open_newest(channel, tmp_path / "state", now=late)
    folder = tmp_path / "state" / folder_of(fingerprint(read_first_root(channel)))
    seen = read_seen(folder)
    write_file(folder / SEEN, canonical.encode(structs.replace(seen, refreshed=spell(NOW + timedelta(days=60)))))
    with pytest.raises(TrustError, match="was signed or read at 2027-01-19"):
        offline(channel, tmp_path / "state", late)


def test_offline_is_never_below_what_was_seen(channel: Path, keys: Keys, tmp_path: Path) -> None:
    publish(channel, keys, "r1", 1)
    old = shutil.copytree(channel, tmp_path / "old")
    publish(channel, keys, "r2", 2)
    open_newest(channel, tmp_path / "state")
    shutil.rmtree(tmp_path / "state" / folder_of(fingerprint(read_first_root(channel))) / "metadata")
    with pytest.raises(TrustError, match="sequence 1, but 2 was seen"):
        offline(old, tmp_path / "state", NOW + timedelta(days=400))


def test_offline_does_not_count_as_a_refresh(channel: Path, keys: Keys, tmp_path: Path) -> None:
    publish(channel, keys, "r1", 1)
    state = tmp_path / "state"
    open_newest(channel, state)
    assert offline(channel, state, NOW + timedelta(days=400)) == "offline"
    assert open_newest(channel, state, now=NOW + timedelta(days=1)).how == "fresh"


def test_a_fork_is_named_with_both_heads(channel: Path, keys: Keys, tmp_path: Path) -> None:
    publish(channel, keys, "r1", 1)
    fork = shutil.copytree(channel, tmp_path / "fork")
    publish(channel, keys, "r2", 2)
    publish(fork, keys, "r2b", 2)
    publish(fork, keys, "r3", 3)
    open_newest(channel, tmp_path / "state")
    with pytest.raises(TrustError, match=r"fork: its release with sequence 2 is `sha256:[0-9a-f]{64}`, and `sha256"):
        open_newest(fork, tmp_path / "state")
    assert open_newest(channel, tmp_path / "state").sequence == 2


def test_a_release_that_leaves_the_list_is_no_fork(channel: Path, keys: Keys, tmp_path: Path) -> None:
    for number in (1, 2):
        publish(channel, keys, f"r{number}", number)
    open_newest(channel, tmp_path / "state")
    drop_release(channel, keys, open_newest(channel, tmp_path / "state").release.name, NOW)
    assert open_newest(channel, tmp_path / "state").sequence == 1
    publish(channel, keys, "r3", 3)
    assert open_newest(channel, tmp_path / "state").sequence == 3


def test_a_channel_that_is_trusted_no_longer_has_no_pin_and_is_remembered(
    channel: Path, keys: Keys, tmp_path: Path
) -> None:
    publish(channel, keys, "r1", 1)
    root = read_first_root(channel)
    pins = Pins(tmp_path / "trust")
    pins.add("https://example.org/ptm", fingerprint(root), root)
    assert set(seen_keys(tmp_path / "trust", fingerprint(root))) == ROLES
    assert seen_keys(tmp_path / "trust", fingerprint(root))["root"] == (2, 3)
    assert pins.remove("https://example.org/ptm/").fingerprint == fingerprint(root)
    assert pins.list() == ()
    assert pins.find("https://example.org/ptm") is None
    assert (tmp_path / "trust" / folder_of(fingerprint(root)) / "1.root.json").is_file()
    with pytest.raises(NotFound, match="not trusted"):
        pins.remove("https://example.org/ptm")
