import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import minisign
import msgspec
import pytest
from tuf.api.metadata import Metadata, Root

from ptmtorrent.channel.readers import LocalReader
from ptmtorrent.disk import durable
from ptmtorrent.disk.durable import write_file
from ptmtorrent.errors import ConfigError, IntegrityError, NotFound, StoreError, TrustError, UsageError
from ptmtorrent.model.ids import ReleaseName
from ptmtorrent.trust import publisher, roles
from ptmtorrent.trust.channel_state import read_channel_state, read_expiries, read_state, warn_of_clock
from ptmtorrent.trust.expiry import spell_expiry
from ptmtorrent.trust.fingerprints import fingerprint, read_first_root
from ptmtorrent.trust.keys import Keys
from ptmtorrent.trust.metadata import timestamp_version
from ptmtorrent.trust.publisher import drop_release, publish_release_metadata, renew_roles, sign_selection
from tests.channels import Heard
from tests.trust.channels import NOW, new_keys, open_newest, publish, write_release


def signed(channel: Path, name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((channel / "metadata" / name).read_bytes())["signed"]
    return document


def test_the_first_release_makes_a_channel_that_opens(channel: Path, keys: Keys, tmp_path: Path) -> None:
    publish(channel, keys, "2026.11", 1)
    assert open_newest(channel, tmp_path / "state").release.name == "2026.11"


def test_earlier_releases_stay_listed(channel: Path, keys: Keys, tmp_path: Path) -> None:
    publish(channel, keys, "2026.11", 1)
    publish(channel, keys, "2026.12", 2)
    assert open_newest(channel, tmp_path / "state", release="2026.11").sequence == 1
    assert open_newest(channel, tmp_path / "state").sequence == 2


def test_only_the_timestamp_is_ever_rewritten(channel: Path, keys: Keys) -> None:
    publish(channel, keys, "2026.11", 1)
    before = {path: path.read_bytes() for path in channel.rglob("*") if path.is_file()}
    publish(channel, keys, "2026.12", 2)
    changed = [path.relative_to(channel) for path, data in before.items() if path.read_bytes() != data]
    assert changed == [Path("metadata/timestamp.json")]


def test_versions_increase_with_each_release(channel: Path, keys: Keys) -> None:
    for sequence in (1, 2, 3):
        publish(channel, keys, f"r{sequence}", sequence)
        timestamp = signed(channel, "timestamp.json")
        assert timestamp["version"] == timestamp["meta"]["snapshot.json"]["version"] == sequence


def test_expiries_are_those_of_the_adr(channel: Path, keys: Keys) -> None:
    publish(channel, keys, "r1", 1)
    lives = {
        name: signed(channel, name)["expires"]
        for name in ("1.root.json", "1.targets.json", "1.snapshot.json", "timestamp.json")
    }
    assert lives == {
        "1.root.json": "2028-11-19T12:00:00Z",
        "1.targets.json": "2027-11-20T12:00:00Z",
        "1.snapshot.json": "2027-11-20T12:00:00Z",
        "timestamp.json": "2026-12-20T12:00:00Z",
    }


def test_publishing_the_same_bytes_again_changes_nothing(channel: Path, keys: Keys) -> None:
    path = publish(channel, keys, "r1", 1)
    before = {path: path.read_bytes() for path in channel.rglob("*") if path.is_file()}
    publish_release_metadata(channel, keys, path, ReleaseName("r1"), 1, NOW + timedelta(days=1))
    assert {path: path.read_bytes() for path in channel.rglob("*") if path.is_file()} == before


def test_a_published_release_cannot_change(channel: Path, keys: Keys) -> None:
    publish(channel, keys, "r1", 1)
    with pytest.raises(UsageError, match="never changes"):
        publish(channel, keys, "r1", 2)


@pytest.mark.parametrize("sequence", [1, 3])
def test_a_sequence_that_does_not_rise_is_refused(channel: Path, keys: Keys, sequence: int) -> None:
    publish(channel, keys, "r1", 3)
    with pytest.raises(UsageError, match="sequence"):
        publish(channel, keys, "r2", sequence)


def test_a_release_json_of_another_name_is_not_signed(channel: Path, keys: Keys) -> None:
    path = write_release(channel, "r1", 1)
    with pytest.raises(IntegrityError, match="expected `r2`"):
        publish_release_metadata(channel, keys, path, ReleaseName("r2"), 1, NOW)
    assert not (channel / "metadata").exists()


def test_the_minisign_signature_covers_release_json_and_its_comment(channel: Path, keys: Keys) -> None:
    path = publish(channel, keys, "r1", 1)
    public = minisign.PublicKey.from_file(channel / "keys" / "minisign.pub")
    signature = minisign.Signature.from_file(f"{path}.minisig")
    public.verify_file(path, signature)
    assert signature.trusted_comment == "ptmtorrent release r1 sequence 1"


def test_other_keys_cannot_continue_a_channel(channel: Path, keys: Keys, tmp_path: Path) -> None:
    publish(channel, keys, "r1", 1)
    with pytest.raises(ConfigError, match="root key"):
        publish(channel, new_keys(tmp_path / "other"), "r2", 2)


@pytest.mark.parametrize("name", ["1.root.json", "timestamp.json", "1.snapshot.json", "1.targets.json"])
def test_foreign_metadata_is_never_signed_again(channel: Path, keys: Keys, name: str) -> None:
    publish(channel, keys, "r1", 1)
    path = channel / "metadata" / name
    path.write_bytes(path.read_bytes().replace(b'"version":1}', b'"version":7}'))
    with pytest.raises(TrustError, match="is invalid"):
        publish(channel, keys, "r2", 2)


def test_missing_metadata_is_never_guessed(channel: Path, keys: Keys) -> None:
    publish(channel, keys, "r1", 1)
    (channel / "metadata" / "1.targets.json").unlink()
    with pytest.raises(TrustError, match=r"1\.targets\.json"):
        publish(channel, keys, "r2", 2)


def test_the_timestamp_is_written_last(channel: Path, keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []

    def write(path: Path, data: bytes) -> None:
        written.append(path.name)
        write_file(path, data)

    monkeypatch.setattr(publisher, "write_file", write)
    monkeypatch.setattr(durable, "write_file", write)
    publish(channel, keys, "r1", 1)
    assert written[-3:] == ["1.targets.json", "1.snapshot.json", "timestamp.json"]
    assert sorted(written[:-3]) == ["1.root.json", "minisign.pub", "release.json.minisig"]


class PowerCut(BaseException):
    pass


@pytest.mark.parametrize("survived", range(6))
def test_a_crash_before_any_write_leaves_the_old_channel_and_running_again_finishes(
    channel: Path, keys: Keys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, survived: int
) -> None:
    publish(channel, keys, "r1", 1)
    done: list[Path] = []

    def write(path: Path, data: bytes) -> None:
        if len(done) == survived:
            raise PowerCut
        done.append(path)
        write_file(path, data)

    with monkeypatch.context() as patched:
        patched.setattr(publisher, "write_file", write)
        patched.setattr(durable, "write_file", write)
        try:
            publish(channel, keys, "r2", 2)
        except PowerCut:
            assert open_newest(channel, tmp_path / "one").release.name == "r1"
    publish(channel, keys, "r2", 2)
    assert open_newest(channel, tmp_path / "one").release.name == "r2"
    assert open_newest(channel, tmp_path / "two", release="r1").sequence == 1


@pytest.mark.parametrize("survived", range(6))
def test_a_crash_while_the_first_release_is_signed_can_be_finished(
    channel: Path, keys: Keys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, survived: int
) -> None:
    done: list[Path] = []

    def write(path: Path, data: bytes) -> None:
        if len(done) == survived:
            raise PowerCut
        done.append(path)
        write_file(path, data)

    with monkeypatch.context() as patched:
        patched.setattr(publisher, "write_file", write)
        patched.setattr(durable, "write_file", write)
        with pytest.raises(PowerCut):
            publish(channel, keys, "r1", 1)
    publish(channel, keys, "r1", 1, NOW + timedelta(hours=1))
    assert open_newest(channel, tmp_path / "state", now=NOW + timedelta(hours=1)).release.name == "r1"


def test_the_fingerprint_is_the_same_of_folder_and_root(channel: Path, keys: Keys) -> None:
    publish(channel, keys, "r1", 1)
    first = fingerprint(channel)
    publish(channel, keys, "r2", 2)
    assert first == fingerprint(channel) == fingerprint(read_first_root(channel))
    assert first.startswith("b3:")
    assert len(first) == 67


def test_a_renewed_channel_opens_after_it_would_have_expired(channel: Path, keys: Keys, tmp_path: Path) -> None:
    publish(channel, keys, "r1", 1)
    later = NOW + timedelta(days=40)
    with pytest.raises(TrustError, match="expired"):
        open_newest(channel, tmp_path / "state", now=later)

    expires = renew_roles(channel, keys, later)

    assert expires["timestamp"] == later + timedelta(days=30)
    assert open_newest(channel, tmp_path / "state", now=later).release.name == "r1"


def test_renewing_rewrites_the_timestamp_alone(channel: Path, keys: Keys) -> None:
    publish(channel, keys, "r1", 1)
    before = {path: path.read_bytes() for path in channel.rglob("*") if path.is_file()}
    renew_roles(channel, keys, NOW + timedelta(days=1))
    after = {path: path.read_bytes() for path in channel.rglob("*") if path.is_file()}
    assert before.keys() == after.keys()
    assert [path.name for path in before if before[path] != after[path]] == ["timestamp.json"]


def test_a_channel_without_a_release_cannot_be_renewed(channel: Path, keys: Keys) -> None:
    with pytest.raises(NotFound, match="no release"):
        renew_roles(channel, keys, NOW)


def test_other_keys_cannot_renew(channel: Path, keys: Keys, tmp_path: Path) -> None:
    publish(channel, keys, "r1", 1)
    with pytest.raises(ConfigError):
        renew_roles(channel, new_keys(tmp_path / "others"), NOW)


def test_a_snapshot_that_is_due_is_signed_again_and_the_list_is_not(channel: Path, keys: Keys, tmp_path: Path) -> None:
    publish(channel, keys, "r1", 1)
    later = NOW + timedelta(days=200)
    publish(channel, keys, "r2", 2, now=later)
    metadata = channel / "metadata"
    listed = roles.describe(2, (metadata / "2.targets.json").read_bytes())
    expiring = roles.sign_snapshot(keys, 3, listed, NOW)
    write_file(metadata / "3.snapshot.json", expiring)
    version = signed(channel, "timestamp.json")["version"] + 1
    timestamp = roles.sign_timestamp(keys, version, roles.describe(3, expiring), later)
    write_file(metadata / "timestamp.json", timestamp)
    held = renew_roles(channel, keys, later)
    assert signed(channel, "timestamp.json")["meta"]["snapshot.json"]["version"] == 4
    assert held["snapshot"] > later + timedelta(days=180)
    assert not (metadata / "3.targets.json").exists()
    assert open_newest(channel, tmp_path / "state", now=later).release.name == "r2"


def test_a_list_of_what_is_not_listed_is_never_signed(channel: Path, keys: Keys) -> None:
    publish(channel, keys, "r1", 1)
    before = {path: path.read_bytes() for path in channel.rglob("*") if path.is_file()}
    with pytest.raises(UsageError, match="`r2`"):
        sign_selection(channel, keys, (ReleaseName("r2"),), NOW)
    with pytest.raises(NotFound, match="`r2`"):
        drop_release(channel, keys, ReleaseName("r2"), NOW)
    assert {path: path.read_bytes() for path in channel.rglob("*") if path.is_file()} == before


def test_the_first_release_needs_the_root_key(channel: Path, keys: Keys) -> None:
    online = Keys({role: key for role, key in keys.signers.items() if role != "root"}, keys.minisign)
    with pytest.raises(ConfigError, match="root key"):
        publish(channel, online, "r1", 1)


def test_a_folder_that_is_no_channel_has_no_first_root(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="is not a channel"):
        read_first_root(tmp_path)
    (tmp_path / "metadata" / "1.root.json").mkdir(parents=True)
    with pytest.raises(StoreError, match=r"1\.root\.json"):
        read_first_root(tmp_path)


@pytest.mark.parametrize("data", [b"", b"{}", b'{"signed":{}}', b'{"signed":{"version":"x"}}', b"[1]"])
def test_a_timestamp_without_a_version_is_damaged(data: bytes) -> None:
    with pytest.raises(IntegrityError, match="damaged"):
        timestamp_version(data)


def test_the_version_of_a_timestamp_is_read_unverified(channel: Path, keys: Keys) -> None:
    publish(channel, keys, "r1", 1)
    assert timestamp_version((channel / "metadata" / "timestamp.json").read_bytes()) == 1


def test_a_snapshot_without_a_list_is_no_channel(channel: Path, keys: Keys) -> None:
    publish(channel, keys, "r1", 1)
    path = channel / "metadata" / "1.snapshot.json"
    path.write_bytes(path.read_bytes().replace(b'"targets.json"', b'"others.json"'))
    with pytest.raises(IntegrityError, match="does not name a targets document"):
        read_state(LocalReader(channel))


def test_a_root_of_another_version_than_its_place_is_refused(channel: Path, keys: Keys) -> None:
    publish(channel, keys, "r1", 1)
    first = Metadata[Root].from_bytes((channel / "metadata" / "1.root.json").read_bytes())
    first.signed.version = 2
    (channel / "metadata" / "2.root.json").write_bytes(roles.sign_next_root(keys, first.signed, NOW))
    with pytest.raises(TrustError, match="is invalid: root 2 has the version 3") as caught:
        publish(channel, keys, "r2", 2)
    assert "nothing was signed" in (caught.value.hint or "")


@pytest.mark.parametrize("name", ["1.targets.json", "1.snapshot.json"])
def test_the_state_of_a_channel_without_a_document_is_an_error_that_says_what_to_copy(
    channel: Path, keys: Keys, name: str
) -> None:
    publish(channel, keys, "r1", 1)
    assert read_channel_state(channel)
    (channel / "metadata" / name).unlink()
    with pytest.raises(IntegrityError, match=f"the metadata of the channel .* is damaged: .*{name}") as caught:
        read_channel_state(channel)
    assert "copy the numbered documents of `metadata/`" in (caught.value.hint or "")


def test_the_state_of_a_channel_elsewhere_is_that_of_its_folder_but_for_the_roots(channel: Path, keys: Keys) -> None:
    publish(channel, keys, "r1", 1)
    publish(channel, keys, "r2", 2)
    own = read_channel_state(channel)
    assert own is not None
    assert own.files[0] == "metadata/1.root.json"
    assert read_state(LocalReader(channel)) == msgspec.structs.replace(own, files=own.files[1:])


def test_a_clock_behind_the_newest_release_is_warned_of(channel: Path, keys: Keys) -> None:
    publish(channel, keys, "r1", 1)
    state = read_channel_state(channel)
    assert state is not None
    heard = Heard()
    warn_of_clock(channel, state, NOW - timedelta(seconds=30), heard)
    assert heard.records == []
    warn_of_clock(channel, state, NOW - timedelta(hours=1), heard)
    assert ["release `r1` has the time 2026-11-20T12:00:00Z" in message for message in heard.warnings] == [True]
    (channel / "releases" / "r1" / "release.json").write_bytes(b"{}")
    warn_of_clock(channel, state, NOW - timedelta(hours=1), heard)
    assert len(heard.records) == 1


DAY = timedelta(days=1)


@pytest.mark.parametrize(
    ("role", "left", "hint", "spelled"),
    [
        ("root", 31 * DAY, "renew", ""),
        ("root", 30 * DAY, "renew", " (in 30 days; renew)"),
        ("targets", DAY, "", " (in 1 day)"),
        ("snapshot", timedelta(hours=1), "", " (in 0 days)"),
        ("timestamp", 8 * DAY, "renew", ""),
        ("timestamp", 7 * DAY, "", " (in 7 days)"),
        ("timestamp", 0 * DAY, "renew", " (expired; renew)"),
        ("root", -3 * DAY, "", " (expired)"),
    ],
)
def test_an_expiry_is_warned_of_once_it_is_due(role: str, left: timedelta, hint: str, spelled: str) -> None:
    assert spell_expiry(role, NOW, NOW - left, hint=hint) == f"2026-11-20T12:00:00Z{spelled}"


def test_a_channel_has_the_expiries_of_the_roles_that_are_in_use(channel: Path, keys: Keys) -> None:
    assert read_expiries(channel) == {}
    publish(channel, keys, "r1", 1)
    every = read_expiries(channel)
    assert sorted(every) == ["root", "snapshot", "targets", "timestamp"]
    (channel / "metadata" / "timestamp.json").unlink()
    assert read_expiries(channel) == {"root": every["root"]}
