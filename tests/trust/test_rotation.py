"""Keys that are rotated, lost and stolen: what clients accept, from a pinned first root, over years."""

import json
import shutil
from datetime import timedelta
from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Root

from ptmtorrent.disk.durable import write_file
from ptmtorrent.errors import ConfigError, IntegrityError, NotFound, TrustError, UsageError
from ptmtorrent.model.moments import Clock
from ptmtorrent.paths import Home
from ptmtorrent.trust import roles, rotation
from ptmtorrent.trust.client import VerifiedRelease
from ptmtorrent.trust.fingerprints import fingerprint, read_first_root
from ptmtorrent.trust.keys import Keys, init_keys, load_keys
from ptmtorrent.trust.own import read_published
from ptmtorrent.trust.publisher import renew_roles
from ptmtorrent.workflows.keys.revoke import revoke
from ptmtorrent.workflows.keys.rotate import Rotation, rotate
from ptmtorrent.workflows.keys.sign import sign
from ptmtorrent.workflows.keys.staging import Staged
from tests.trust.channels import NOW, open_newest, publish

STAGED = "staged/2.root.json"


class Maintainer:
    """A home with a channel of release r1, and a client that was pinned at its birth."""

    def __init__(self, folder: Path) -> None:
        self.home = Home(root=folder / "home")
        self.home.store.mkdir(parents=True)
        self.state = folder / "state"
        self.now = NOW
        init_keys(self.home.keys, None)
        publish(self.channel, self.keys, "r1", 1)
        self.pinned = read_first_root(self.channel)

    @property
    def channel(self) -> Path:
        return self.home.channel

    @property
    def keys(self) -> Keys:
        return load_keys(self.home.keys, lambda: None, all_roles=False)

    @property
    def clock(self) -> Clock:
        return lambda: self.now

    def rotate(self, role: str, *, keys: int | None = None, threshold: int | None = None) -> Staged:
        request = Rotation(role=role, keys=keys, threshold=threshold)
        return rotate(self.home, self.keys, request, clock=self.clock)

    def revoke(self, keyid: str) -> Staged:
        return revoke(self.home, self.keys, keyid, clock=self.clock)

    def root(self) -> Root:
        newest = read_published(self.channel, self.keys).root
        assert newest is not None
        return newest

    def read(self, channel: Path | None = None) -> VerifiedRelease:
        return open_newest(channel or self.channel, self.state, root=self.pinned, now=self.now)


@pytest.fixture
def maintainer(tmp_path: Path) -> Maintainer:
    return Maintainer(tmp_path)


@pytest.mark.parametrize("role", ["root", "targets", "snapshot", "timestamp"])
def test_a_rotation_replaces_the_keys_and_clients_follow(maintainer: Maintainer, role: str) -> None:
    before = maintainer.root().roles
    assert maintainer.read().sequence == 1
    assert maintainer.rotate(role).file is None
    after = maintainer.root().roles
    assert [set(before[each].keyids) & set(after[each].keyids) == set() for each in before] == [
        each == role for each in before
    ]
    assert after[role].threshold == before[role].threshold
    assert maintainer.read().sequence == 1
    publish(maintainer.channel, maintainer.keys, "r2", 2)
    assert maintainer.read().sequence == 2
    assert fingerprint(maintainer.channel) == fingerprint(maintainer.pinned)
    assert not (maintainer.home.keys / STAGED).exists()


def test_a_retired_key_signs_beside_the_new_one_while_it_is_in_the_folder(maintainer: Maintainer) -> None:
    """A directory that has not got the new root yet accepts its signature; readers of the new root ignore it."""
    [old] = maintainer.root().roles["timestamp"].keyids
    maintainer.rotate("timestamp")
    [new] = maintainer.root().roles["timestamp"].keyids
    path = maintainer.channel / "metadata" / "timestamp.json"
    renew_roles(maintainer.channel, maintainer.keys, NOW)
    assert [each["keyid"] for each in json.loads(path.read_bytes())["signatures"]] == [new, old]
    (maintainer.home.keys / "timestamp.pem").unlink()
    renew_roles(maintainer.channel, maintainer.keys, NOW)
    assert [each["keyid"] for each in json.loads(path.read_bytes())["signatures"]] == [new]
    assert maintainer.read().sequence == 1


def test_a_reader_of_either_root_accepts_what_lies_there_between_the_two_writes(
    maintainer: Maintainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(path: Path, data: bytes, **more: int) -> None:
        if path.name == "2.root.json" and path.parent.name == "metadata":
            raise KeyboardInterrupt
        write_file(path, data, **more)

    monkeypatch.setattr(rotation, "write_file", stop)
    with pytest.raises(KeyboardInterrupt):
        maintainer.rotate("timestamp")
    assert maintainer.read().sequence == 1
    monkeypatch.undo()
    done = sign(maintainer.home, maintainer.home.keys / STAGED, lambda: None, clock=maintainer.clock)
    assert done is not None
    assert done.file is None
    assert maintainer.read().sequence == 1
    assert maintainer.root().version == 2


def test_a_run_after_a_crash_writes_the_root_that_the_timestamp_needs(
    maintainer: Maintainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    (maintainer.home.keys / "timestamp.pem").unlink()  # it was lost, and signs nothing any more

    def stop(path: Path, data: bytes, **more: int) -> None:
        if path.name == "2.root.json" and path.parent.name == "metadata":
            raise KeyboardInterrupt
        write_file(path, data, **more)

    monkeypatch.setattr(rotation, "write_file", stop)
    with pytest.raises(KeyboardInterrupt):
        maintainer.rotate("timestamp")
    monkeypatch.undo()
    with pytest.raises(TrustError):
        maintainer.read()
    done = sign(maintainer.home, maintainer.home.keys / STAGED, lambda: None, clock=maintainer.clock)
    assert done is not None
    assert done.file is None
    assert maintainer.read().sequence == 1


def test_one_of_two_signatures_is_not_visible_and_two_are(maintainer: Maintainer, tmp_path: Path) -> None:
    other = Home(root=tmp_path / "other")
    other.keys.mkdir(parents=True)
    for number in (2, 3):
        shutil.move(maintainer.home.keys / f"root-{number}.pem", other.keys / f"root-{number}.pem")
    before = {path: path.read_bytes() for path in maintainer.channel.rglob("*") if path.is_file()}
    staged = maintainer.rotate("timestamp")
    assert staged.file == maintainer.home.keys / STAGED
    assert (staged.signatures.old, staged.signatures.new, staged.signatures.suffice) == (1, 1, False)
    assert {path: path.read_bytes() for path in maintainer.channel.rglob("*") if path.is_file()} == before
    with pytest.raises(ConfigError, match="waits for signatures"):
        maintainer.rotate("snapshot")
    renew_roles(maintainer.channel, maintainer.keys, NOW)
    assert maintainer.read().sequence == 1
    passed = shutil.copy(staged.file, tmp_path / "passed.json")
    assert sign(other, passed, lambda: None, clock=maintainer.clock) is None
    done = sign(maintainer.home, passed, lambda: None, clock=maintainer.clock)
    assert done is not None
    assert done.file is None
    assert maintainer.root().version == 2
    assert maintainer.read().sequence == 1
    assert not staged.file.exists()


def test_a_staged_root_that_does_not_follow_is_refused(maintainer: Maintainer, tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match="has version 1"):
        sign(maintainer.home, copy_of_first_root(maintainer, tmp_path), lambda: None, clock=maintainer.clock)
    with pytest.raises(NotFound):
        sign(maintainer.home, tmp_path / "missing.json", lambda: None, clock=maintainer.clock)
    (tmp_path / "text.json").write_text("{}")
    with pytest.raises(IntegrityError):
        sign(maintainer.home, tmp_path / "text.json", lambda: None, clock=maintainer.clock)


def copy_of_first_root(maintainer: Maintainer, folder: Path) -> Path:
    path = folder / "copy.json"
    path.write_bytes(maintainer.pinned)
    return path


def test_a_root_with_too_few_signatures_is_not_published(maintainer: Maintainer) -> None:
    following = roles.next_root(maintainer.root(), NOW)
    data = roles.sign_with(following, maintainer.keys.signers["root"][:1])
    with pytest.raises(TrustError, match="1 of 2 old"):
        rotation.publish_root(maintainer.channel, maintainer.keys, data, NOW)
    assert not (maintainer.channel / "metadata" / "2.root.json").exists()


def test_a_revoked_key_is_replaced_in_its_role_alone(maintainer: Maintainer) -> None:
    before = maintainer.root().roles
    stolen = before["root"].keyids[0]
    assert maintainer.revoke(stolen[:10]).file is None
    after = maintainer.root().roles
    assert set(before["root"].keyids) - set(after["root"].keyids) == {stolen}
    assert len(after["root"].keyids) == 3
    assert [after[each].keyids == before[each].keyids for each in ("targets", "snapshot", "timestamp")] == [True] * 3
    with pytest.raises(NotFound, match="lists no key"):
        maintainer.revoke(stolen)
    with pytest.raises(UsageError, match="too short"):
        maintainer.revoke("ab")


def test_a_lost_root_key_is_replaced_without_it(maintainer: Maintainer) -> None:
    lost = next(iter(maintainer.keys.signers["root"])).public_key.keyid
    (maintainer.home.keys / "root-1.pem").unlink()
    assert maintainer.revoke(lost).file is None
    assert lost not in maintainer.root().roles["root"].keyids
    assert maintainer.read().sequence == 1


def test_thresholds_and_numbers_of_keys_change(maintainer: Maintainer) -> None:
    maintainer.rotate("targets", keys=2, threshold=2)
    assert (maintainer.root().roles["targets"].threshold, len(maintainer.root().roles["targets"].keyids)) == (2, 2)
    publish(maintainer.channel, maintainer.keys, "r2", 2)
    assert maintainer.read().sequence == 2
    with pytest.raises(UsageError, match="cannot be required"):
        maintainer.rotate("snapshot", keys=1, threshold=2)
    one = next(maintainer.home.keys.glob("targets-*.pem"))
    one.unlink()
    with pytest.raises(ConfigError, match="needs 2 keys, and 1 are at hand"):
        publish(maintainer.channel, maintainer.keys, "r3", 3)


def test_a_key_elsewhere_signs_by_its_uri(maintainer: Maintainer, tmp_path: Path) -> None:
    signer = CryptoSigner.generate_ecdsa()
    (tmp_path / "far.pem").write_bytes(signer.private_bytes)
    public = tmp_path / "far.pub"
    public.write_text(signer.public_key.keyval["public"])
    request = Rotation(role="timestamp", signer=f"file2:{tmp_path}/far.pem", public_key=public)
    assert rotate(maintainer.home, maintainer.keys, request, clock=maintainer.clock).file is None
    (maintainer.home.keys / "timestamp.pem").unlink()
    renew_roles(maintainer.channel, maintainer.keys, NOW)
    assert maintainer.read().sequence == 1
    (tmp_path / "far.pem").unlink()
    with pytest.raises(ConfigError, match="cannot be opened"):
        _ = maintainer.keys


def test_a_uri_needs_a_public_key(maintainer: Maintainer) -> None:
    with pytest.raises(UsageError, match="--public-key"):
        rotate(maintainer.home, maintainer.keys, Rotation(role="root", signer="hsm:"), clock=maintainer.clock)


@pytest.mark.parametrize("stolen", ["timestamp", "snapshot", "targets"])
def test_clients_recover_from_a_fast_forward_with_a_stolen_key(
    maintainer: Maintainer, tmp_path: Path, stolen: str
) -> None:
    """The thief of the keys up to `stolen` states the highest versions, and with targets the highest sequence."""
    keys, huge = maintainer.keys, 2**31
    hostile = shutil.copytree(maintainer.channel, tmp_path / "hostile")
    published = read_published(hostile, keys)
    about, targets = published.snapshot, published.about_targets
    assert about is not None
    assert targets is not None
    if stolen == "targets":
        data = roles.sign_targets(keys, huge, {}, 2**53, 0, NOW)
        (hostile / "metadata" / f"{huge}.targets.json").write_bytes(data)
        targets = roles.describe(huge, data)
    if stolen in {"snapshot", "targets"}:
        data = roles.sign_snapshot(keys, huge, targets, NOW)
        (hostile / "metadata" / f"{huge}.snapshot.json").write_bytes(data)
        about = roles.describe(huge, data)
    (hostile / "metadata" / "timestamp.json").write_bytes(roles.sign_timestamp(keys, huge, about, NOW))
    if stolen == "targets":
        with pytest.raises(NotFound, match="no release"):
            maintainer.read(hostile)
    else:
        maintainer.read(hostile)
    with pytest.raises(TrustError, match="older than"):
        maintainer.read()
    for role in {"timestamp": ["timestamp"], "snapshot": ["snapshot", "timestamp"]}.get(
        stolen, ["targets", "snapshot", "timestamp"]
    ):
        maintainer.rotate(role)
    assert maintainer.read().sequence == 1
    with pytest.raises(TrustError):
        maintainer.read(hostile)


def test_a_thief_of_one_root_key_changes_nothing(maintainer: Maintainer, tmp_path: Path) -> None:
    hostile = shutil.copytree(maintainer.channel, tmp_path / "hostile")
    thief = [CryptoSigner.generate_ed25519() for _ in range(3)]
    following = roles.next_root(maintainer.root(), NOW)
    rotation.change_role(
        following, "root", tuple(following.roles["root"].keyids), [each.public_key for each in thief], 2
    )
    forged = roles.sign_with(following, [*thief, maintainer.keys.signers["root"][0]])
    (hostile / "metadata" / "2.root.json").write_bytes(forged)
    with pytest.raises(TrustError, match="signature"):
        maintainer.read(hostile)
    assert maintainer.read().sequence == 1


def test_ten_years_with_rotations_a_stolen_and_a_lost_key(maintainer: Maintainer) -> None:
    sequence = 1
    for month in range(3, 121, 3):
        maintainer.now = NOW + timedelta(days=30 * month)
        if month in {30, 84}:
            maintainer.rotate("root")
        if month == 42:
            maintainer.revoke(maintainer.root().roles["timestamp"].keyids[0])
        if month == 66:
            lost = next(iter(maintainer.keys.of(maintainer.root()).signers["root"])).public_key.keyid
            next(maintainer.home.keys.glob(f"root-{lost[:12]}.pem")).unlink()
            maintainer.revoke(lost)
        if month % 6 == 0:
            sequence += 1
            publish(maintainer.channel, maintainer.keys, f"r{sequence}", sequence, maintainer.now)
        expires = renew_roles(maintainer.channel, maintainer.keys, maintainer.now)
        assert min(expires.values()) > maintainer.now + timedelta(days=29)
        if month % 24 == 0:
            assert maintainer.read().sequence == sequence
    new = open_newest(maintainer.channel, maintainer.state / "new", root=maintainer.pinned, now=maintainer.now)
    assert new.sequence == sequence == 21
    assert maintainer.root().version > 4
    roots = sorted(int(path.name.split(".")[0]) for path in (maintainer.channel / "metadata").glob("*.root.json"))
    assert roots == list(range(1, maintainer.root().version + 1))
