from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tuf.api.metadata import TargetFile

from ptmtorrent.errors import IntegrityError, NotFound, PtmError, StoreError, TransportError, TrustError, UsageError
from ptmtorrent.model.ids import ContentRoot
from ptmtorrent.model.release import MAX_RELEASE_BYTES, decode_release
from ptmtorrent.trust import roles
from ptmtorrent.trust.channel_state import read_channel_state
from ptmtorrent.trust.client import open_archived, open_fresh
from ptmtorrent.trust.fingerprints import fingerprint, folder_of, read_first_root
from ptmtorrent.trust.keys import Keys
from ptmtorrent.trust.memory import highest_seen
from tests.trust.channels import NOW, FolderReader, open_newest, publish


class FailingReader(FolderReader):
    """Fails with `error` when `failing` is read."""

    def __init__(self, folder: Path, failing: str, error: PtmError) -> None:
        super().__init__(folder)
        self.failing = failing
        self.error = error

    def read(self, path: str, *, limit: int) -> bytes:
        if path == self.failing:
            raise self.error
        return super().read(path, limit=limit)


def memory_of(channel: Path, state: Path) -> Path:
    return state / folder_of(fingerprint(channel))


def test_the_newest_is_the_one_with_the_highest_sequence(channel: Path, keys: Keys, tmp_path: Path) -> None:
    publish(channel, keys, "zeta", 1)
    publish(channel, keys, "alpha", 2)
    found = open_newest(channel, tmp_path / "state")
    assert (found.release.name, found.sequence, found.how) == ("alpha", 2, "fresh")


def test_an_unknown_release_names_the_nearest(channel: Path, keys: Keys, tmp_path: Path) -> None:
    publish(channel, keys, "2026.11", 1)
    publish(channel, keys, "winter", 2)
    with pytest.raises(NotFound, match=r"no release `2026\.1`") as caught:
        open_newest(channel, tmp_path / "state", release="2026.1")
    assert caught.value.hint == "did you mean `2026.11`?"


def test_a_release_without_near_matches_lists_the_newest(channel: Path, keys: Keys, tmp_path: Path) -> None:
    publish(channel, keys, "2026.11", 1)
    with pytest.raises(NotFound) as caught:
        open_newest(channel, tmp_path / "state", release="../../etc/passwd")
    assert "`2026.11`" in (caught.value.hint or "")


def test_a_folder_that_is_not_a_channel_is_not_found(tmp_path: Path, channel: Path, keys: Keys) -> None:
    publish(channel, keys, "r1", 1)
    with pytest.raises(NotFound, match="timestamp"):
        open_newest(tmp_path / "nothing", tmp_path / "state", root=read_first_root(channel))


@pytest.mark.parametrize("name", ["metadata/1.targets.json", "metadata/1.snapshot.json", "releases/r1/release.json"])
def test_a_mirror_without_a_file_is_not_found(channel: Path, keys: Keys, tmp_path: Path, name: str) -> None:
    publish(channel, keys, "r1", 1)
    (channel / name).unlink()
    with pytest.raises(NotFound, match=name):
        open_newest(channel, tmp_path / "state")


@pytest.mark.parametrize("name", ["2.root.json", "timestamp.json", "1.snapshot.json", "1.targets.json"])
def test_a_failure_of_the_reader_comes_out_unchanged(channel: Path, keys: Keys, tmp_path: Path, name: str) -> None:
    publish(channel, keys, "r1", 1)
    failure = TransportError("the cable is cut")
    reader = FailingReader(channel, f"metadata/{name}", failure)
    with pytest.raises(TransportError) as caught:
        open_fresh(reader, root=read_first_root(channel), state=tmp_path / "s", now=NOW, release=None)
    assert caught.value is failure


def test_metadata_is_read_within_the_bounds_of_a_stock_client(channel: Path, keys: Keys, tmp_path: Path) -> None:
    publish(channel, keys, "r1", 1)
    reader = FolderReader(channel)
    open_fresh(reader, root=read_first_root(channel), state=tmp_path / "state", now=NOW, release=None)
    sizes = {str(path.relative_to(channel)): path.stat().st_size for path in channel.rglob("*") if path.is_file()}
    assert reader.asked == [
        ("metadata/2.root.json", 512_000),
        ("metadata/timestamp.json", 16_384),
        ("metadata/1.snapshot.json", sizes["metadata/1.snapshot.json"]),
        ("metadata/1.targets.json", sizes["metadata/1.targets.json"]),
        ("releases/r1/release.json", sizes["releases/r1/release.json"]),
    ]


def test_the_time_is_the_one_passed_in(channel: Path, keys: Keys, tmp_path: Path) -> None:
    long_ago = datetime(2001, 1, 1, tzinfo=UTC)
    publish(channel, keys, "r1", 1, now=long_ago)
    assert open_newest(channel, tmp_path / "state", now=long_ago).sequence == 1


@pytest.mark.parametrize("days", [30, 31, 400, 10_000])
def test_an_expired_timestamp_is_not_trusted(channel: Path, keys: Keys, tmp_path: Path, days: int) -> None:
    publish(channel, keys, "r1", 1)
    with pytest.raises(TrustError, match="expired") as caught:
        open_newest(channel, tmp_path / "state", now=NOW + timedelta(days=days))
    assert caught.value.code == 60
    assert "--release b3:HASH" in (caught.value.hint or "")


def test_expiry_also_holds_for_a_returning_client(channel: Path, keys: Keys, tmp_path: Path) -> None:
    publish(channel, keys, "r1", 1)
    open_newest(channel, tmp_path / "state")
    with pytest.raises(TrustError, match="expired"):
        open_newest(channel, tmp_path / "state", now=NOW + timedelta(days=31))


def test_a_new_release_is_seen_after_the_old_timestamp_expired(channel: Path, keys: Keys, tmp_path: Path) -> None:
    publish(channel, keys, "r1", 1)
    open_newest(channel, tmp_path / "state")
    later = NOW + timedelta(days=60)
    publish(channel, keys, "r2", 2, now=later)
    assert open_newest(channel, tmp_path / "state", now=later).sequence == 2


def test_all_mirrors_of_a_channel_share_one_state(channel: Path, keys: Keys, tmp_path: Path) -> None:
    publish(channel, keys, "r1", 1)
    publish(channel, keys, "r2", 2)
    open_newest(channel, tmp_path / "state")
    moved = channel.rename(tmp_path / "elsewhere")
    open_newest(moved, tmp_path / "state")
    assert highest_seen(memory_of(moved, tmp_path / "state")) == 2


@pytest.mark.parametrize("name", ["timestamp.json", "snapshot.json", "targets.json", "root_history/1.root.json"])
@pytest.mark.parametrize("damage", [b"", b"{", b"\x00" * 100, b'{"signatures":[],"signed":{}}'])
def test_damaged_local_metadata_is_fetched_again(
    channel: Path, keys: Keys, tmp_path: Path, name: str, damage: bytes
) -> None:
    publish(channel, keys, "r1", 1)
    open_newest(channel, tmp_path / "state")
    (memory_of(channel, tmp_path / "state") / "metadata" / name).write_bytes(damage)
    assert open_newest(channel, tmp_path / "state").sequence == 1


@pytest.mark.parametrize(
    "damage", [b"", b"{}", b'{"format":"ptmtorrent/seen","requires":[],"sequence":"1","version":1}']
)
def test_a_damaged_record_is_an_error_that_names_its_file(
    channel: Path, keys: Keys, tmp_path: Path, damage: bytes
) -> None:
    publish(channel, keys, "r1", 1)
    open_newest(channel, tmp_path / "state")
    seen = memory_of(channel, tmp_path / "state") / "seen.json"
    seen.write_bytes(damage)
    with pytest.raises(TrustError, match=r"seen\.json") as caught:
        open_newest(channel, tmp_path / "state")
    assert str(seen) in (caught.value.hint or "")
    seen.unlink()
    assert open_newest(channel, tmp_path / "state").sequence == 1


def test_a_state_that_cannot_be_written_is_a_store_error(channel: Path, keys: Keys, tmp_path: Path) -> None:
    publish(channel, keys, "r1", 1)
    (tmp_path / "state").write_text("a file")
    with pytest.raises(StoreError):
        open_newest(channel, tmp_path / "state")


def test_concurrent_runs_do_not_disturb_each_other(channel: Path, keys: Keys, tmp_path: Path) -> None:
    publish(channel, keys, "r1", 1)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: open_newest(channel, tmp_path / "state").sequence, range(24)))
    assert found == [1] * 24


def test_a_pinned_root_that_is_not_a_root_is_not_trusted(channel: Path, keys: Keys, tmp_path: Path) -> None:
    publish(channel, keys, "r1", 1)
    with pytest.raises(TrustError, match="malformed"):
        open_newest(channel, tmp_path / "state", root=b"root")


def pinned(channel: Path, name: str) -> ContentRoot:
    return decode_release((channel / "releases" / name / "release.json").read_bytes()).content_root


@pytest.mark.parametrize("name", ["r1", None])
def test_an_archived_release_opens_by_its_content_root(channel: Path, keys: Keys, name: str | None) -> None:
    publish(channel, keys, "r1", 1)
    publish(channel, keys, "r2", 2)
    found = open_archived(FolderReader(channel), pinned(channel, "r1"), name=name)
    assert (found.release.name, found.how, found.sequence) == ("r1", "archived", 1)


def test_an_archived_release_needs_no_metadata(channel: Path, keys: Keys) -> None:
    publish(channel, keys, "r1", 1)
    reader = FolderReader(channel)
    open_archived(reader, pinned(channel, "r1"), name="r1")
    assert reader.asked == [("releases/r1/release.json", MAX_RELEASE_BYTES)]


def test_another_content_root_is_not_trusted(channel: Path, keys: Keys) -> None:
    publish(channel, keys, "r1", 1)
    publish(channel, keys, "r2", 2)
    with pytest.raises(TrustError, match="not `b3:"):
        open_archived(FolderReader(channel), pinned(channel, "r2"), name="r1")


def test_a_renamed_archive_is_not_trusted(channel: Path, keys: Keys) -> None:
    publish(channel, keys, "r1", 1)
    pin = pinned(channel, "r1")
    (channel / "releases" / "r1").rename(channel / "releases" / "r2")
    with pytest.raises(TrustError):
        open_archived(FolderReader(channel), pin, name="r2")


def test_an_unlisted_content_root_is_not_found(channel: Path, keys: Keys) -> None:
    publish(channel, keys, "r1", 1)
    with pytest.raises(NotFound, match="does not list a release"):
        open_archived(FolderReader(channel), ContentRoot("0" * 64))


@pytest.mark.parametrize("name", ["timestamp.json", "1.snapshot.json", "1.targets.json"])
def test_a_listing_that_cannot_be_read_is_not_trusted(channel: Path, keys: Keys, name: str) -> None:
    publish(channel, keys, "r1", 1)
    pin = pinned(channel, "r1")
    (channel / "metadata" / name).write_bytes(b"{}")
    with pytest.raises(TrustError, match="listing"):
        open_archived(FolderReader(channel), pin)


@pytest.mark.parametrize("name", ["timestamp.json", "1.snapshot.json", "1.targets.json"])
def test_one_document_in_the_place_of_another_is_not_trusted(channel: Path, keys: Keys, name: str) -> None:
    publish(channel, keys, "r1", 1)
    pin = pinned(channel, "r1")
    (channel / "metadata" / name).write_bytes((channel / "metadata" / "1.root.json").read_bytes())

    with pytest.raises(TrustError, match="its listing cannot be read"):
        open_archived(FolderReader(channel), pin)


@pytest.mark.parametrize(("pin", "name"), [("b3:00", None), ("0" * 63, None), ("0" * 64, "../x"), ("0" * 64, "")])
def test_malformed_pins_and_names_are_usage_errors(channel: Path, pin: str, name: str | None) -> None:
    with pytest.raises(UsageError):
        open_archived(FolderReader(channel), ContentRoot(pin), name=name)


def list_targets(channel: Path, keys: Keys, *targets: TargetFile) -> None:
    """Sign `targets` as what the channel lists, whatever they are."""
    listed = roles.sign_targets(keys, 9, {target.path: target for target in targets}, 0, 0, NOW)
    snapshot = roles.sign_snapshot(keys, 9, roles.describe(9, listed), NOW)
    metadata = channel / "metadata"
    (metadata / "9.targets.json").write_bytes(listed)
    (metadata / "9.snapshot.json").write_bytes(snapshot)
    (metadata / "timestamp.json").write_bytes(roles.sign_timestamp(keys, 9, roles.describe(9, snapshot), NOW))


def test_a_channel_that_lists_no_release_has_none_yet(channel: Path, keys: Keys, tmp_path: Path) -> None:
    publish(channel, keys, "r1", 1)
    list_targets(channel, keys)
    with pytest.raises(NotFound, match="has no release yet"):
        open_newest(channel, tmp_path / "state")


def test_a_signed_release_longer_than_any_is_refused_unread(channel: Path, keys: Keys) -> None:
    publish(channel, keys, "r1", 1)
    custom: dict[str, int | str] = {"sequence": 1, "content_root": pinned(channel, "r1")}
    target = roles.target("releases/r1/release.json", b"x", custom)
    target.length = MAX_RELEASE_BYTES + 1
    list_targets(channel, keys, target)
    reader = FolderReader(channel)
    with pytest.raises(IntegrityError, match=r"`releases/r1/release\.json` is 4194305 bytes, which exceeds the limit"):
        open_fresh(reader, root=read_first_root(channel), state=channel / "s", now=NOW, release=None)
    assert "releases/r1/release.json" not in [path for path, _ in reader.asked]


@pytest.mark.parametrize("lie", [{"sequence": 2}, {"content_root": "0" * 64}])
def test_a_release_that_differs_from_its_signed_listing_is_not_trusted(
    channel: Path, keys: Keys, tmp_path: Path, lie: dict[str, int | str]
) -> None:
    path = publish(channel, keys, "r1", 1)
    custom: dict[str, int | str] = {"sequence": 1, "content_root": pinned(channel, "r1"), **lie}
    list_targets(channel, keys, roles.target("releases/r1/release.json", path.read_bytes(), custom))
    with pytest.raises(TrustError, match=r"release `r1` .* differs from its signed listing"):
        open_newest(channel, tmp_path / "state")


MALFORMED: list[dict[str, Any]] = [
    {},
    {"sequence": 3},
    {"sequence": 0, "content_root": "0" * 64},
    {"sequence": True, "content_root": "0" * 64},
    {"sequence": "3", "content_root": "0" * 64},
    {"sequence": 3, "content_root": "A" * 64},
    {"sequence": 3, "content_root": 3},
]


@pytest.mark.parametrize("custom", MALFORMED)
def test_a_malformed_entry_is_not_taken_for_a_release(
    channel: Path, keys: Keys, tmp_path: Path, custom: dict[str, Any]
) -> None:
    path = publish(channel, keys, "r1", 1)
    good: dict[str, int | str] = {"sequence": 1, "content_root": pinned(channel, "r1")}
    data = path.read_bytes()
    list_targets(
        channel,
        keys,
        roles.target("releases/r1/release.json", data, good),
        roles.target("releases/r2/release.json", data, custom),
    )
    assert open_newest(channel, tmp_path / "state").release.name == "r1"
    with pytest.raises(NotFound, match="no release `r2`"):
        open_newest(channel, tmp_path / "state", release="r2")


@pytest.mark.parametrize("custom", MALFORMED)
def test_a_malformed_entry_of_the_own_channel_is_damage(channel: Path, keys: Keys, custom: dict[str, Any]) -> None:
    publish(channel, keys, "r1", 1)
    list_targets(channel, keys, roles.target("releases/r2/release.json", b"x", custom))
    with pytest.raises(IntegrityError, match=r"its entry `releases/r2/release\.json` is malformed"):
        read_channel_state(channel)
