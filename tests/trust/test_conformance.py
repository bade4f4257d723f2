"""Every case class of the public TUF conformance suite, rebuilt against our client in this process.

Classes and expectations: theupdateframework/tuf-conformance; the specification sections are TUF 1.0.31.
"""

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ptmtorrent.trust import conformance
from tests.static import serve_folder
from tests.trust.conftest import TOP
from tests.trust.repository import NOW, Client, TufRepository

GOLDEN = Path(__file__).parents[1] / "golden"
FIRST = [("root", 2), ("timestamp", None), ("snapshot", 1), ("targets", 1)]
PAST = NOW - timedelta(days=5)


# Basics


def test_a_refresh_asks_for_each_role_once_and_keeps_what_it_read(client: Client, repository: TufRepository) -> None:
    assert client.refresh() == 0
    assert repository.asked == FIRST
    assert client.trusted() == dict.fromkeys(TOP, 1)
    for role in TOP:
        assert (client.metadata / f"{role}.json").read_bytes() == repository.published[role][0]


def test_a_download_refreshes_first(client: Client, repository: TufRepository) -> None:
    assert client.download("missing") == 1
    assert repository.asked == FIRST
    assert client.trusted() == dict.fromkeys(TOP, 1)


@pytest.mark.parametrize("damage", ["version", "signature"])
def test_a_damaged_initial_root_asks_for_nothing(tmp_path: Path, repository: TufRepository, damage: str) -> None:
    root = json.loads(repository.published["root"][0])
    if damage == "version":
        del root["signed"]["version"]
    else:
        root["signatures"][0]["sig"] = "00" * 64
    assert Client(tmp_path, repository, json.dumps(root).encode()).refresh() == 1
    assert repository.asked == []


def test_another_timestamp_of_the_same_version_is_not_kept(client: Client, repository: TufRepository) -> None:
    assert client.refresh() == 0
    repository.timestamp.snapshot_meta.version = 100
    repository.publish("timestamp", bump=False)
    assert client.refresh() == 0
    assert (client.metadata / "timestamp.json").read_bytes() == repository.published["timestamp"][0]


def test_targets_of_another_hash_are_refused(client: Client, repository: TufRepository) -> None:
    repository.with_hashes = True
    repository.publish_all("targets")
    assert client.refresh() == 0
    repository.publish("targets")
    repository.snapshot.meta["targets.json"].hashes = {"sha256": "0" * 64}
    repository.publish_all()
    assert client.refresh() == 1
    assert client.trusted()["targets"] == 2


def test_targets_of_another_version_are_refused(client: Client, repository: TufRepository) -> None:
    assert client.refresh() == 0
    repository.publish("targets")
    repository.published["targets"][1] = repository.published["targets"][0]
    repository.publish_all()
    assert client.refresh() == 1
    assert client.trusted()["targets"] == 1


def test_fields_that_the_client_does_not_know_are_signed_too(client: Client, repository: TufRepository) -> None:
    repository.root.unrecognized_fields["custom"] = "value"
    keyid = repository.root.roles["root"].keyids[0]
    repository.root.keys[keyid].unrecognized_fields["extra"] = {"a": 1}
    repository.root.roles["root"].unrecognized_fields["another"] = "value"
    repository.publish("root")
    assert client.refresh() == 0
    assert client.trusted()["root"] == 2


def test_a_snapshot_without_targets_is_refused(client: Client, repository: TufRepository) -> None:
    del repository.snapshot.meta["targets.json"]
    repository.publish_all()
    assert client.refresh() == 1
    assert "targets" not in client.trusted()


def test_a_repository_without_consistent_snapshots_is_read_without_versions(
    client: Client, repository: TufRepository
) -> None:
    repository.root.consistent_snapshot = False
    repository.publish("root")
    repository.add_target("targets", "file", b"content")
    repository.publish_all("targets")
    assert client.download("file") == 0
    assert repository.asked == [("root", 2), ("root", 3), ("timestamp", None), ("snapshot", None), ("targets", None)]
    assert repository.asked_targets == ["file"]


def test_damaged_documents_of_the_client_are_fetched_again(client: Client, repository: TufRepository) -> None:
    assert client.refresh() == 0
    for role in ("timestamp", "snapshot", "targets"):
        (client.metadata / f"{role}.json").write_bytes(b"{")
    repository.asked.clear()
    assert client.refresh() == 0
    assert repository.asked == FIRST


# Expiry (5.3.10, 5.4.4, 5.5.6, 5.6.6)


def test_an_expired_root_is_kept_and_ends_the_refresh(client: Client, repository: TufRepository) -> None:
    assert client.refresh() == 0
    repository.root.expires = PAST
    repository.publish("root")
    repository.publish_all("targets")
    assert client.refresh() == 1
    assert client.trusted() == {**dict.fromkeys(TOP, 1), "root": 2}


def test_an_expired_root_on_the_way_to_a_valid_one_is_passed(client: Client, repository: TufRepository) -> None:
    valid = repository.root.expires
    repository.root.expires = PAST
    repository.publish("root")
    repository.root.expires = valid
    repository.publish("root")
    assert client.refresh() == 0
    assert client.trusted()["root"] == 3


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
def test_an_expired_role_is_refused(client: Client, repository: TufRepository, role: str) -> None:
    assert client.refresh() == 0
    repository.documents[role].expires = PAST
    repository.publish_all("targets")
    assert client.refresh() == 1
    assert client.trusted()[role] == 1


def test_expired_documents_of_the_client_lead_to_newer_ones(client: Client, repository: TufRepository) -> None:
    repository.timestamp.expires = NOW + timedelta(days=7)
    repository.publish("timestamp")
    assert client.refresh() == 0
    repository.timestamp.expires = NOW + timedelta(days=21)
    repository.publish_all("targets")
    assert client.refresh(days=18) == 0
    assert client.trusted() == {"root": 1, "snapshot": 2, "targets": 2, "timestamp": 3}


def test_an_expired_timestamp_of_the_client_still_forbids_a_rollback(client: Client, repository: TufRepository) -> None:
    repository.timestamp.expires = NOW + timedelta(days=7)
    repository.publish("timestamp")
    assert client.refresh() == 0
    repository.timestamp.version, repository.timestamp.expires = 1, NOW + timedelta(days=30)
    repository.publish("timestamp", bump=False)
    assert client.refresh(days=18) == 1
    assert client.trusted()["timestamp"] == 2


def test_an_expired_delegated_role_is_not_used(client: Client, repository: TufRepository) -> None:
    repository.delegate("targets", "A", expires=PAST)
    repository.add_target("A", "file", b"content")
    repository.publish_all("A", "targets")
    assert client.refresh() == 0
    assert client.download("file") == 1
    assert client.downloaded() == []
    assert client.trusted() == {"root": 1, "snapshot": 2, "targets": 2, "timestamp": 2}


@pytest.mark.parametrize("renewed", [False, True])
def test_a_delegated_role_expires_after_it_was_read(
    client: Client, repository: TufRepository, *, renewed: bool
) -> None:
    repository.delegate("targets", "A", expires=NOW + timedelta(days=7))
    repository.add_target("A", "first", b"1")
    repository.add_target("A", "second", b"2")
    repository.publish_all("A", "targets")
    assert client.download("first") == 0
    if renewed:
        repository.role("A").expires = NOW + timedelta(days=21)
        repository.publish_all("A")
    assert client.download("second", days=18) == (0 if renewed else 1)
    assert client.downloaded() == ([b"1", b"2"] if renewed else [b"1"])


# Rollback and fast-forward (5.4.3, 5.5.5, 5.3.11)


def test_an_older_timestamp_is_refused(client: Client, repository: TufRepository) -> None:
    repository.publish("timestamp")
    assert client.refresh() == 0
    repository.timestamp.version = 1
    repository.publish("timestamp", bump=False)
    assert client.refresh() == 1
    assert client.trusted()["timestamp"] == 2
    assert repository.asked[-1] == ("timestamp", None)


@pytest.mark.parametrize("with_hashes", [False, True])
def test_an_older_snapshot_is_refused(client: Client, repository: TufRepository, *, with_hashes: bool) -> None:
    repository.with_hashes = with_hashes
    repository.publish_all()
    assert client.refresh() == 0
    repository.snapshot.version = 1
    repository.publish("snapshot", bump=False)
    repository.publish("timestamp")
    assert client.refresh() == 1
    assert (client.trusted()["timestamp"], client.trusted()["snapshot"]) == (2, 2)
    assert repository.asked[-1] == ("timestamp", None)


def test_an_older_snapshot_that_no_timestamp_names_is_not_read(client: Client, repository: TufRepository) -> None:
    repository.publish_all()
    assert client.refresh() == 0
    repository.snapshot.version = 1
    assert client.refresh() == 0
    assert client.trusted()["snapshot"] == 2
    assert repository.asked[-1] == ("timestamp", None)


@pytest.mark.parametrize("with_hashes", [False, True])
def test_older_targets_are_refused(client: Client, repository: TufRepository, *, with_hashes: bool) -> None:
    repository.with_hashes = with_hashes
    repository.publish_all("targets")
    assert client.refresh() == 0
    repository.targets.version = 1
    repository.publish("targets", bump=False)
    repository.publish_all()
    assert client.refresh() == 1
    assert (client.trusted()["snapshot"], client.trusted()["targets"]) == (2, 2)


def test_a_snapshot_that_drops_a_role_is_refused(client: Client, repository: TufRepository) -> None:
    repository.delegate("targets", "A")
    repository.publish_all("A", "targets")
    assert client.refresh() == 0
    del repository.snapshot.meta["A.json"]
    repository.publish_all("targets")
    assert client.refresh() == 1
    assert client.trusted()["snapshot"] == 2


def test_a_snapshot_of_another_version_than_named_is_refused(client: Client, repository: TufRepository) -> None:
    assert client.refresh() == 0
    repository.publish("snapshot")
    repository.published["snapshot"][1] = repository.published["snapshot"][0]
    repository.publish("timestamp")
    assert client.refresh() == 1
    assert client.trusted()["snapshot"] == 1


@pytest.mark.parametrize(
    ("role", "rotated"),
    [("timestamp", ["timestamp"]), ("snapshot", ["snapshot", "timestamp"]), ("targets", ["snapshot"])],
)
def test_a_client_recovers_from_a_fast_forward_by_rotation(
    client: Client, repository: TufRepository, role: str, rotated: list[str]
) -> None:
    repository.documents[role].version = 99_998
    order = ["targets", "snapshot", "timestamp"]
    for each in order:
        repository.publish(each)
        if each == role:
            repository.published[each] += [repository.published[each][-1]] * (99_999 - len(repository.published[each]))
    assert client.refresh() == 0
    assert client.trusted()[role] == 99_999
    for each in rotated:
        repository.rotate(each)
    repository.publish("root")
    repository.documents[role].version = 1
    repository.published[role] = []
    for each in order[order.index(role) :]:
        repository.publish(each, bump=each != role)
    assert client.refresh() == 0
    assert client.trusted()[role] == 1


# Targets


@pytest.mark.parametrize("path", ["file.txt", "path/to/a/file.txt"])
def test_a_target_is_downloaded_by_its_hash(client: Client, repository: TufRepository, path: str) -> None:
    repository.add_target("targets", path, b"content")
    repository.publish_all("targets")
    assert client.refresh() == 0
    assert client.downloaded() == []
    assert client.download(path) == 0
    assert client.downloaded() == [b"content"]
    folder, slash, name = path.rpartition("/")
    assert len(repository.asked_targets) == 1
    assert repository.asked_targets[0].startswith(f"{folder}{slash}")
    assert repository.asked_targets[0].endswith(f".{name}")


def test_a_target_that_is_here_is_not_downloaded_again(client: Client, repository: TufRepository) -> None:
    repository.add_target("targets", "file", b"content")
    repository.add_target("targets", "other", b"more")
    repository.publish_all("targets")
    assert client.download("file", "other") == 0
    assert client.download("file") == 0
    assert len(repository.asked_targets) == 2


@pytest.mark.parametrize("served", [b"malicious", b"contenT", b"", b"content and more", b"content" * 10_000])
def test_other_bytes_are_not_kept(client: Client, repository: TufRepository, served: bytes) -> None:
    repository.add_target("targets", "first", b"content")
    repository.add_target("targets", "second", b"content")
    repository.publish_all("targets")
    assert client.download("first") == 0
    repository.files = dict.fromkeys(repository.files, served)
    client.download("first")
    assert client.download("second") == 1
    assert client.downloaded() == [b"content"]


def test_a_target_follows_its_signed_changes_alone(client: Client, repository: TufRepository) -> None:
    for number in range(4):
        repository.add_target("targets", "file", f"content {number}".encode())
        repository.publish_all("targets")
        assert client.download("file") == 0
        assert client.downloaded() == [f"content {number}".encode()]
        repository.files["file"] = b"unsigned"
        repository.publish_all("targets")
        client.download("file")
        assert client.downloaded() == [f"content {number}".encode()]


# The program itself


def test_the_program_asks_a_web_server_for_names_quoted_once(tmp_path: Path, repository: TufRepository) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    for document in repository.documents.values():
        document.expires = now + timedelta(days=1)
    repository.delegate("targets", "a/b", ["path/*"], expires=now + timedelta(days=1))
    repository.add_target("a/b", "path/file", b"content")
    repository.published.clear()
    repository.publish("a/b", "targets", "snapshot", "timestamp", "root", bump=False)
    digest = repository.role("a/b").targets["path/file"].hashes["sha256"]
    # The server decodes once what it is asked for, and so `1.a%2Fb.json` is a file in a folder.
    site = {f"metadata/1.{role}.json": versions[0] for role, versions in repository.published.items()}
    site |= {"metadata/timestamp.json": repository.published["timestamp"][0], f"targets/path/{digest}.file": b"content"}
    for path, data in site.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(data)
    folder = ["--metadata-dir", str(tmp_path / "state")]
    assert conformance.main([*folder, "init", str(tmp_path / "metadata" / "1.root.json")]) == 0
    with serve_folder(tmp_path) as url:
        where = [*folder, "--metadata-url", f"{url}/metadata"]
        to = ["--target-base-url", f"{url}/targets", "--target-dir", str(tmp_path / "got"), "download"]
        assert conformance.main([*where, "--target-name", "missing", *to]) == 1
        command = [sys.executable, "-m", "ptmtorrent.trust.conformance", *where, "--target-name", "path/file", *to]
        subprocess.run(command, capture_output=True, timeout=60, check=True)
    assert [path.read_bytes() for path in (tmp_path / "got").iterdir()] == [b"content"]


def test_a_static_repository_in_a_folder_is_read(tmp_path: Path, repository: TufRepository) -> None:
    channel = GOLDEN / "channel"
    folder = ["--metadata-dir", str(tmp_path / "state")]
    assert conformance.main([*folder, "init", str(channel / "metadata" / "1.root.json")]) == 0
    where = [*folder, "--metadata-url", (channel / "metadata").as_uri()]
    assert conformance.main([*where, "refresh"], clock=lambda: NOW) == 0
    assert conformance.main([*where, "refresh"], clock=lambda: NOW + timedelta(days=400)) == 1
    assert conformance.main([*folder, "refresh"], clock=lambda: NOW) == 1
    assert repository.asked == []
