"""A TUF repository in memory that a test changes and publishes, and our client driven by the suite's command line."""

from collections.abc import Iterable
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import TypeVar
from urllib.parse import unquote

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import (
    TOP_LEVEL_ROLE_NAMES,
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    SuccinctRoles,
    TargetFile,
    Targets,
    Timestamp,
)

from ptmtorrent.errors import IntegrityError, NotFound
from ptmtorrent.trust import conformance

Kind = TypeVar("Kind", Root, Timestamp, Snapshot, Targets)

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
EXPIRY = NOW + timedelta(days=30)
SIGNERS = [CryptoSigner.generate_ed25519() for _ in range(24)]
"""Keys that all repositories share."""


class TufRepository:
    """Documents as a test edits them (`root`, `targets`, ...), and what was published of each, by version."""

    def __init__(self) -> None:
        self.documents: dict[str, Root | Timestamp | Snapshot | Targets] = {
            "targets": Targets(expires=EXPIRY),
            "snapshot": Snapshot(expires=EXPIRY),
            "timestamp": Timestamp(expires=EXPIRY),
            "root": Root(expires=EXPIRY),
        }
        self.published: dict[str, list[bytes]] = {}
        self.signers: dict[str, list[CryptoSigner]] = {}
        self.files: dict[str, bytes] = {}
        self.asked: list[tuple[str, int | None]] = []
        self.asked_targets: list[str] = []
        self.with_hashes = False
        self._unused = list(SIGNERS)
        for role in sorted(TOP_LEVEL_ROLE_NAMES):
            self.add_key(role)
        self.publish("targets", "snapshot", "timestamp", "root")

    @property
    def root(self) -> Root:
        return self._document("root", Root)

    @property
    def timestamp(self) -> Timestamp:
        return self._document("timestamp", Timestamp)

    @property
    def snapshot(self) -> Snapshot:
        return self._document("snapshot", Snapshot)

    @property
    def targets(self) -> Targets:
        return self.role("targets")

    def role(self, name: str) -> Targets:
        return self._document(name, Targets)

    def new_signer(self) -> CryptoSigner:
        return self._unused.pop()

    def add_key(self, role: str, signer: CryptoSigner | None = None) -> CryptoSigner:
        signer = signer or self.new_signer()
        self.root.add_key(signer.public_key, role)
        self.signers.setdefault(role, []).append(signer)
        return signer

    def rotate(self, role: str) -> None:
        self.root.roles[role].keyids.clear()
        self.signers[role] = []
        self.add_key(role)

    def publish(self, *roles: str, bump: bool = True) -> None:
        """Sign the next version of each of `roles` and serve it; who refers to one is changed, not published."""
        for role in roles:
            document = self.documents[role]
            if bump and role in self.published:
                document.version += 1
            metadata = Metadata(deepcopy(document))
            for signer in self.signers[role]:
                metadata.sign(signer, append=True)
            data = metadata.to_bytes()
            self.published.setdefault(role, []).append(data)
            about = MetaFile(document.version)
            if self.with_hashes:
                about = MetaFile(document.version, len(data), {"sha256": sha256(data).hexdigest()})
            if role == "snapshot":
                self.timestamp.snapshot_meta = about
            elif role not in {"root", "timestamp"}:
                self.snapshot.meta[f"{role}.json"] = about

    def publish_all(self, *roles: str) -> None:
        """Publish `roles`, and snapshot and timestamp after them."""
        self.publish(*roles, "snapshot", "timestamp")

    def add_target(self, role: str, path: str, data: bytes) -> None:
        self.role(role).targets[path] = TargetFile.from_data(path, data, ["sha256"])
        self.files[path] = data

    def delegate(  # the fields of a delegation
        self,
        delegator: str,
        name: str,
        paths: Iterable[str] = ("*",),
        *,
        terminating: bool = False,
        expires: datetime = EXPIRY,
        signer: CryptoSigner | None = None,
    ) -> None:
        parent = self.role(delegator)
        parent.delegations = parent.delegations or Delegations({}, roles={})
        assert parent.delegations.roles is not None
        parent.delegations.roles[name] = DelegatedRole(name, [], 1, terminating, list(paths))
        self.documents.setdefault(name, Targets(expires=expires))
        known = self.signers.setdefault(name, [])
        if signer is not None or not known:
            known[:] = [signer or self.new_signer()]
        parent.add_key(known[0].public_key, name)

    def delegate_bins(self, bits: int) -> None:
        signer = self.new_signer()
        bins = SuccinctRoles([], 1, bits, "bin")
        self.targets.delegations = Delegations({}, None, bins)
        self.targets.add_key(signer.public_key)
        for name in bins.get_roles():
            self.documents[name] = Targets(expires=EXPIRY)
            self.signers[name] = [signer]

    def _document(self, name: str, kind: type[Kind]) -> Kind:
        document = self.documents[name]
        assert isinstance(document, kind)
        return document


class MetadataReader:
    """Serves the documents of a repository by version, and the newest of those that are asked for without one."""

    def __init__(self, repository: TufRepository) -> None:
        self.location = "memory"
        self._repository = repository

    def read(self, path: str, *, limit: int) -> bytes:
        version, _, rest = path.partition(".")
        name = rest.removesuffix(".json") if version.isdigit() else path.removesuffix(".json")
        number = int(version) if version.isdigit() else None
        self._repository.asked.append((name, number))
        return _bounded(self._find(unquote(name), number), limit)

    def read_range(self, path: str, offset: int, length: int) -> bytes:
        raise AssertionError((path, offset, length))

    def _find(self, name: str, number: int | None) -> bytes:
        versions = self._repository.published.get(name, [])
        if number is None:
            return versions[-1]
        if not 1 <= number <= len(versions):
            raise NotFound(f"{number}.{name}.json")
        return versions[number - 1]


class TargetReader(MetadataReader):
    """Serves the targets of a repository, with the hash in front of the name where snapshots are consistent."""

    def read(self, path: str, *, limit: int) -> bytes:
        self._repository.asked_targets.append(path)
        folder, slash, name = path.rpartition("/")
        plain = name
        if self._repository.root.consistent_snapshot:
            digest, _, plain = name.partition(".")
            assert len(digest) == 64
        try:
            return _bounded(self._repository.files[f"{folder}{slash}{plain}"], limit)
        except KeyError as error:
            raise NotFound(path) from error


def _bounded(data: bytes, limit: int) -> bytes:
    if len(data) > limit:
        raise IntegrityError(f"longer than {limit} bytes")
    return data


class Client:
    """Our client below one folder, driven by the command line of the suite."""

    def __init__(self, folder: Path, repository: TufRepository, trusted: bytes | None = None) -> None:
        self.metadata = folder / "metadata"
        self.targets = folder / "targets"
        self.repository = repository
        root = folder / "initial.json"
        root.write_bytes(trusted or repository.published["root"][0])
        self.initialised = self._run("init", str(root), now=NOW)

    def refresh(self, *, days: int = 0) -> int:
        return self._run("--metadata-url", "memory:metadata", "refresh", now=NOW + timedelta(days=days))

    def download(self, *names: str, days: int = 0) -> int:
        wanted = [word for name in names for word in ("--target-name", name)]
        where = ["--target-base-url", "memory:targets", "--target-dir", str(self.targets)]
        return self._run(
            "--metadata-url", "memory:metadata", *wanted, *where, "download", now=NOW + timedelta(days=days)
        )

    def trusted(self) -> dict[str, int]:
        """Return the version of each role that the client trusts."""
        found = {}
        for path in sorted(self.metadata.glob("*.json")):
            found[unquote(path.name.removesuffix(".json"))] = Metadata.from_file(str(path)).signed.version
        return found

    def downloaded(self) -> list[bytes]:
        return sorted(path.read_bytes() for path in self.targets.rglob("*") if path.is_file())

    def _run(self, *arguments: str, now: datetime) -> int:
        return conformance.main(
            ["--metadata-dir", str(self.metadata), *arguments], clock=lambda: now, open_url=self._open
        )

    def _open(self, url: str) -> MetadataReader:
        kind = TargetReader if url.endswith("targets") else MetadataReader
        return kind(self.repository)
