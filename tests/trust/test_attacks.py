"""Hostile mirrors: for any change, a client gets the signed release or fails with exit code 60."""

import json
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tuf.api.metadata import Metadata, Root

from ptmtorrent.channel.paths import release_path
from ptmtorrent.errors import NotFound, TrustError
from ptmtorrent.model import canonical
from ptmtorrent.model.ids import ReleaseName
from ptmtorrent.trust import fetcher, roles
from ptmtorrent.trust.client import open_archived, open_fresh
from ptmtorrent.trust.fingerprints import read_first_root
from ptmtorrent.trust.keys import Keys
from tests.trust.channels import NOW, FolderReader, new_keys, new_release, open_newest, publish

SIGNED = ("timestamp.json", "2.snapshot.json", "2.targets.json")


class LyingReader(FolderReader):
    """Serves `lies` in place of the files in the folder."""

    def __init__(self, folder: Path, lies: dict[str, bytes]) -> None:
        super().__init__(folder)
        self.lies = lies

    def read(self, path: str, *, limit: int) -> bytes:
        return self.lies[path] if path in self.lies else super().read(path, limit=limit)


@pytest.fixture(scope="module")
def old_and_new(tmp_path_factory: pytest.TempPathFactory, keys: Keys) -> tuple[Path, Path]:
    """A channel with release r1, and the same channel later, with r2."""
    folder = tmp_path_factory.mktemp("mirrors")
    publish(folder / "new", keys, "r1", 1)
    shutil.copytree(folder / "new", folder / "old")
    publish(folder / "new", keys, "r2", 2)
    return folder / "old", folder / "new"


def flip(path: Path, position: int, mask: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= mask
    path.write_bytes(data)


@pytest.mark.parametrize("name", [f"metadata/{name}" for name in SIGNED] + ["releases/r2/release.json"])
def test_one_flipped_byte_is_never_accepted(old_and_new: tuple[Path, Path], tmp_path: Path, name: str) -> None:
    channel = shutil.copytree(old_and_new[1], tmp_path / "mirror")
    original = (channel / name).read_bytes()
    for position in range(0, len(original), 3):
        flip(channel / name, position, 0x01)
        # A flipped version may name a missing file, which is refused too.
        with pytest.raises((TrustError, NotFound)):
            open_newest(channel, tmp_path / "state")
        (channel / name).write_bytes(original)
    assert open_newest(channel, tmp_path / "state").sequence == 2


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_damage_gives_the_signed_release_or_a_project_error(
    old_and_new: tuple[Path, Path], tmp_path: Path, data: st.DataObject
) -> None:
    channel = old_and_new[1]
    name = "metadata/" + data.draw(st.sampled_from(SIGNED))
    honest = bytearray((channel / name).read_bytes())
    start = data.draw(st.integers(0, len(honest)))
    end = data.draw(st.integers(start, min(len(honest), start + 40)))
    honest[start:end] = data.draw(st.binary(max_size=40) | st.sampled_from([b"", b"[" * 5000, b"9" * 5000, b"null"]))
    reader = LyingReader(channel, {name: bytes(honest)})
    try:
        found = open_fresh(reader, root=read_first_root(channel), state=tmp_path / "state", now=NOW, release=None)
    except (TrustError, NotFound):
        return
    assert found.release == new_release("r2", 2)


@pytest.mark.parametrize("name", [*SIGNED, "../releases/r2/release.json"])
@pytest.mark.parametrize(
    "damage", [lambda data: data[:-1], lambda data: data + b" " * (1 << 20), lambda _: b"", lambda data: data + b"}"]
)
def test_short_and_long_files_are_never_accepted(
    old_and_new: tuple[Path, Path], tmp_path: Path, name: str, damage: Callable[[bytes], bytes]
) -> None:
    channel = shutil.copytree(old_and_new[1], tmp_path / "mirror")
    path = channel / "metadata" / name
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(TrustError):
        open_newest(channel, tmp_path / "state")


def test_an_endless_next_root_is_read_no_further_than_its_bound(old_and_new: tuple[Path, Path], tmp_path: Path) -> None:
    channel = shutil.copytree(old_and_new[1], tmp_path / "mirror")
    (channel / "metadata" / "2.root.json").write_bytes(b" " * 512_001)
    with pytest.raises(TrustError, match="longer than 512000 bytes"):
        open_newest(channel, tmp_path / "state")


def test_a_channel_signed_by_other_keys_is_not_trusted(old_and_new: tuple[Path, Path], tmp_path: Path) -> None:
    impostor = tmp_path / "impostor"
    publish(impostor, new_keys(tmp_path / "their-keys"), "r2", 2)
    with pytest.raises(TrustError, match="signature"):
        open_newest(impostor, tmp_path / "state", root=read_first_root(old_and_new[1]))


@pytest.mark.parametrize("role", ["targets", "snapshot", "timestamp"])
def test_the_key_of_one_role_cannot_sign_for_another(
    old_and_new: tuple[Path, Path], keys: Keys, tmp_path: Path, role: str
) -> None:
    forged = Keys(signers={**keys.signers, role: keys.signers["root"]}, minisign=keys.minisign)
    channel = tmp_path / "forged"
    shutil.copytree(old_and_new[0], channel)
    metadata = channel / "metadata"
    targets = roles.sign_targets(forged, 9, {}, 0, 0, NOW)
    snapshot = roles.sign_snapshot(forged, 9, roles.describe(9, targets), NOW)
    (metadata / "9.targets.json").write_bytes(targets)
    (metadata / "9.snapshot.json").write_bytes(snapshot)
    (metadata / "timestamp.json").write_bytes(roles.sign_timestamp(forged, 9, roles.describe(9, snapshot), NOW))
    with pytest.raises(TrustError, match="signature"):
        open_newest(channel, tmp_path / "state")


def test_a_next_root_that_the_old_one_did_not_sign_is_refused(old_and_new: tuple[Path, Path], tmp_path: Path) -> None:
    channel = shutil.copytree(old_and_new[1], tmp_path / "mirror")
    stranger = new_keys(tmp_path / "stranger")
    root = json.loads(roles.sign_first_root(stranger, NOW))
    root["signed"]["version"] = 2
    (channel / "metadata" / "2.root.json").write_bytes(json.dumps(root).encode())
    with pytest.raises(TrustError, match="signature"):
        open_newest(channel, tmp_path / "state")


def test_a_next_root_that_the_old_one_signed_is_followed(
    old_and_new: tuple[Path, Path], keys: Keys, tmp_path: Path
) -> None:
    channel = shutil.copytree(old_and_new[1], tmp_path / "mirror")
    metadata = channel / "metadata"
    fresh = Keys(
        signers={**keys.signers, "timestamp": new_keys(tmp_path / "k").signers["timestamp"]}, minisign=keys.minisign
    )
    root = Metadata[Root].from_bytes(roles.sign_first_root(fresh, NOW))
    root.signed.version = 2
    for signer in keys.signers["root"]:
        root.sign(signer, append=True)
    (metadata / "2.root.json").write_bytes(root.to_bytes())
    with pytest.raises(TrustError, match="signature"):
        open_newest(channel, tmp_path / "state")
    snapshot = roles.describe(2, (metadata / "2.snapshot.json").read_bytes())
    (metadata / "timestamp.json").write_bytes(roles.sign_timestamp(fresh, 3, snapshot, NOW))
    assert open_newest(channel, tmp_path / "state").sequence == 2


def test_an_old_channel_is_refused_by_a_client_that_saw_a_newer_one(
    old_and_new: tuple[Path, Path], tmp_path: Path
) -> None:
    old, new = old_and_new
    open_newest(new, tmp_path / "state")
    with pytest.raises(TrustError, match="older"):
        open_newest(old, tmp_path / "state")


def test_an_old_channel_is_refused_even_when_the_local_metadata_was_lost(
    old_and_new: tuple[Path, Path], tmp_path: Path
) -> None:
    old, new = old_and_new
    open_newest(new, tmp_path / "state")
    (metadata,) = (tmp_path / "state").glob("*/metadata")
    shutil.rmtree(metadata)
    with pytest.raises(TrustError, match="sequence 1, but 2 was seen"):
        open_newest(old, tmp_path / "state")


def test_naming_an_old_release_is_not_a_rollback(old_and_new: tuple[Path, Path], tmp_path: Path) -> None:
    open_newest(old_and_new[1], tmp_path / "state")
    assert open_newest(old_and_new[1], tmp_path / "state", release="r1").sequence == 1


def test_an_old_channel_cannot_pass_once_its_timestamp_expired(old_and_new: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(TrustError, match="expired"):
        open_newest(old_and_new[0], tmp_path / "state", now=NOW + timedelta(days=31))


@pytest.mark.parametrize("name", ["snapshot.json", "targets.json"])
def test_old_and_new_metadata_do_not_mix(old_and_new: tuple[Path, Path], tmp_path: Path, name: str) -> None:
    old, new = old_and_new
    channel = shutil.copytree(new, tmp_path / "mixed")
    shutil.copyfile(old / "metadata" / f"1.{name}", channel / "metadata" / f"2.{name}")
    with pytest.raises(TrustError):
        open_newest(channel, tmp_path / "state")


def test_one_release_cannot_stand_for_another(old_and_new: tuple[Path, Path], tmp_path: Path) -> None:
    channel = shutil.copytree(old_and_new[1], tmp_path / "swapped")
    shutil.copyfile(channel / release_path(ReleaseName("r1")), channel / release_path(ReleaseName("r2")))
    with pytest.raises(TrustError):
        open_newest(channel, tmp_path / "state")


@pytest.mark.parametrize("field", ["written_by", "created"])
def test_a_content_root_covers_only_the_content(old_and_new: tuple[Path, Path], tmp_path: Path, field: str) -> None:
    """The content root does not cover author and time; it covers the members."""
    channel = shutil.copytree(old_and_new[1], tmp_path / "mirror")
    path = channel / "releases" / "r1" / "release.json"
    pin = new_release("r1", 1).content_root
    tree = json.loads(path.read_bytes())
    path.write_bytes(canonical.encode({**tree, field: "someone else"}))
    assert (
        open_archived(FolderReader(channel), pin, name="r1").release.members_root == new_release("r1", 1).members_root
    )
    tree["members_root"] = "1" * 64
    path.write_bytes(canonical.encode(tree))
    with pytest.raises(TrustError):
        open_archived(FolderReader(channel), pin, name="r1")


@pytest.mark.parametrize("name", ["2.root.json", "timestamp.json"])
def test_metadata_of_more_parts_than_memory_holds_is_refused_before_it_is_parsed(
    old_and_new: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    channel = shutil.copytree(old_and_new[1], tmp_path / "mirror")
    (channel / "metadata" / name).write_bytes(b"[" * 16_000)
    monkeypatch.setattr(fetcher, "MAX_METADATA_MEMORY", 1 << 16)
    with pytest.raises(TrustError, match=f"`metadata/{name}` is refused: .* would take"):
        open_newest(channel, tmp_path / "state")
