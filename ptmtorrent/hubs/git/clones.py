"""Bare clones of git remotes, each at one commit: fetched once, then listed, proven and read without the network.

A clone is deleted when its packages are captured. When all clones together exceed a limit, the least recently used ones
are deleted, and fetched again if they are needed. So disk use is bounded, and no file is ever checked out.
"""

import hashlib
import os
import shutil
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import msgspec

from ptmtorrent.disk.durable import disk_errors, ensure_dir
from ptmtorrent.errors import HubError
from ptmtorrent.hubs.client.session import Session
from ptmtorrent.hubs.git.objects import (
    MAX_DOCUMENT_BYTES,
    Objects,
    blob_sizes,
    check_proof,
    git_modes,
    open_objects,
    pointer_ids,
)
from ptmtorrent.hubs.git.process import HISTORY_MEMORY_BYTES, Git
from ptmtorrent.hubs.git.trees import Snapshot, hub_files, read_snapshot
from ptmtorrent.hubs.port import HubFile
from ptmtorrent.model.ids import path_bytes

MAX_CLONES_BYTES = 1 << 30
"""Limit of all clones together (1 GiB); clones in use are not deleted."""

MAX_OPEN_FOLDERS = 8
"""Limit of clones with a running git process."""

BUSY_SECONDS = 1.0
"""How long `release` waits for a clone in use: long enough for a read to finish, but not for a fetch."""

_DONE = "complete"
_REFS = "/info/refs?service=git-upload-pack"


class Remote(msgspec.Struct, frozen=True, kw_only=True):
    """A commit of the git remote at `url`. `package` is the name of its user, as shown in errors."""

    url: str
    commit: str
    package: str


@dataclass(eq=False)
class _Bare:
    """One bare clone. A reader holds `lock`; `turn` grows with every use; `users` are the packages that need it."""

    folder: Path
    lock: threading.Lock = field(default_factory=threading.Lock)
    users: set[str] = field(default_factory=set)
    turn: int = 0
    bytes: int = 0
    sizes: dict[str, int] | None = None
    objects: Objects | None = None
    running: ExitStack = field(default_factory=ExitStack)

    def end(self) -> None:
        """Kill the git process that reads the folder."""
        self.objects = None
        self.running.close()

    def remove(self) -> None:
        """Delete the folder, its completion mark first, so that a partly deleted clone is never used."""
        self.end()
        self.sizes, self.bytes = None, 0
        with disk_errors(self.folder):
            (self.folder / _DONE).unlink(missing_ok=True)
            if self.folder.exists():
                shutil.rmtree(self.folder)


@dataclass
class Clones:
    """Bare clones below `work`, one per remote and commit, with all earlier commits if `history` is set.

    Thread-safe. `close` kills running processes; the folders stay for the next process.
    """

    git: Git
    work: Path
    history: bool = False
    max_bytes: int = MAX_CLONES_BYTES
    _bares: dict[str, _Bare] = field(default_factory=dict)
    _turn: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def bind_session(self, session: Session) -> None:
        """Kill git when the stop of `session` is set; give it the logins of `session`, and refuse what that refuses."""
        self.git.stopped, self.git.check_address = session.is_stopped, session.check_address
        self.git.follow = partial(follow, session)
        if self.history:
            self.git.memory_bytes = HISTORY_MEMORY_BYTES
        self.git.logins = session.logins

    def files(self, remote: Remote, under: str = "") -> tuple[list[HubFile], Snapshot]:
        """Return the files of the commit below `under`, proven to belong to it, and the objects that prove it.

        Raises:
            IntegrityError: an object does not match its id; otherwise as `Git.fetch`, `read_snapshot` and `hub_files`.
        """
        with self._open(remote) as (objects, bare):
            snapshot = read_snapshot(objects, remote.commit, under)
            if bare.sizes is None:
                bare.sizes = blob_sizes(self.git, bare.folder, remote.package)
            files, odd = hub_files(objects, snapshot.found, bare.sizes, remote.package)
        snapshot = msgspec.structs.replace(snapshot, proof=(*snapshot.proof, *odd.values()))
        check_files(remote.commit, snapshot.proof, files, under)
        return files, snapshot

    def snapshot(self, remote: Remote) -> Snapshot:
        """Return all paths of the commit.

        Raises:
            As `Git.fetch` and `read_snapshot`.
        """
        with self._open(remote) as (objects, _):
            return read_snapshot(objects, remote.commit)

    def read(self, remote: Remote, oid: str, limit: int = MAX_DOCUMENT_BYTES) -> bytes:
        """Return the verified blob `oid`.

        Raises:
            HubError: it is longer than `limit`; otherwise as `Git.fetch` and `Objects.read`.
        """
        with self._open(remote) as (objects, _):
            return objects.read(oid, "blob", limit)

    def pieces(self, remote: Remote, oid: str) -> Generator[bytes]:
        """Yield the bytes of the blob `oid`; they are verified once the generator ends without an error.

        Raises:
            IntegrityError: the bytes do not match the id; otherwise as `Git.fetch` and `Objects.pieces`.
        """
        with self._open(remote) as (objects, _):
            yield from objects.pieces(oid)

    def bundle(self, remote: Remote) -> Generator[bytes]:
        """Yield the history up to the commit, as the bytes of a git bundle.

        Raises:
            As `Git.fetch` and `Git.bundle`.
        """
        with self._open(remote) as (_, bare):
            yield from self.git.bundle(bare.folder, remote.package)

    def release(self, remote: Remote) -> None:
        """Remove the package from the commit's users; delete the clone when it has none left and is not being read."""
        bare = self._bare(remote)
        bare.users.discard(remote.package)
        if not bare.users:
            self._apply_to_idle([bare], _Bare.remove, BUSY_SECONDS)

    def close(self) -> None:
        """Kill every running git process."""
        for bare in self._all():
            with bare.lock:
                bare.end()

    @contextmanager
    def _open(self, remote: Remote) -> Iterator[tuple[Objects, _Bare]]:
        """Yield the objects of a commit, fetching it if needed. Other threads wait for the same clone."""
        bare = self._bare(remote)
        with bare.lock:
            bare.users.add(remote.package)
            self._fill(bare, remote)
            if bare.objects is None:
                bare.objects = bare.running.enter_context(open_objects(self.git, bare.folder))
            try:
                yield bare.objects, bare
            except BaseException:
                bare.end()  # the answer to the last request may still be in the pipe
                raise
        self._trim(bare)

    def _fill(self, bare: _Bare, remote: Remote) -> None:
        if not (bare.folder / _DONE).exists():
            bare.remove()
            ensure_dir(self.work)
            self.git.fetch(remote.url, remote.commit, bare.folder, remote.package, history=self.history)
            with disk_errors(bare.folder):
                (bare.folder / _DONE).touch()
        bare.bytes = bare.bytes or _bytes_in(bare.folder)

    def _trim(self, used: _Bare) -> None:
        """Enforce the limits on clones and processes; clones that are being read are skipped."""
        others = [bare for bare in sorted(self._all(), key=lambda bare: -bare.turn) if bare is not used]
        self._apply_to_idle([bare for bare in others if bare.objects is not None][MAX_OPEN_FOLDERS - 1 :], _Bare.end)
        total, surplus = used.bytes, []
        for bare in others:
            total += bare.bytes
            if total > self.max_bytes and bare.bytes:
                surplus.append(bare)
        self._apply_to_idle(surplus, _Bare.remove)

    @staticmethod
    def _apply_to_idle(bares: Sequence[_Bare], action: Callable[[_Bare], None], seconds: float = 0.0) -> None:
        for bare in bares:
            if bare.lock.acquire(timeout=seconds):
                try:
                    action(bare)
                finally:
                    bare.lock.release()

    def _bare(self, remote: Remote) -> _Bare:
        name = hashlib.sha256(f"{remote.url}\n{remote.commit}\n{self.history}".encode()).hexdigest()[:40]
        with self._lock:
            self._adopt()
            bare = self._bares.setdefault(name, _Bare(self.work / f"{name}.git"))
            self._turn += 1
            bare.turn = self._turn
        return bare

    def _adopt(self) -> None:
        """Include the clones that earlier processes left; they count as least recently used."""
        if self._bares or not self.work.is_dir():
            return
        for folder in self.work.glob("*.git"):
            self._bares[folder.stem] = _Bare(folder, bytes=_bytes_in(folder))

    def _all(self) -> list[_Bare]:
        with self._lock:
            return list(self._bares.values())


def follow(session: Session, url: str, what: str) -> str:
    """Return the address of the remote that requests to the one at `url` are redirected to.

    Raises:
        HubError: it is no address of a remote, or one that `session` refuses; otherwise as `Session.open`.
    """
    with session.open(f"{url.rstrip('/')}{_REFS}", {}, budget="", what=what) as reply:
        found = str(reply.url)
    if not found.endswith(_REFS):
        raise HubError(f"{what}: the remote redirects to `{found[:200]}`, which is not a git remote")
    return found.removesuffix(_REFS)


def _bytes_in(folder: Path) -> int:
    with disk_errors(folder):
        return sum(os.lstat(Path(top, name)).st_size for top, _, names in os.walk(folder) for name in names)


def check_files(commit: str, proof: Sequence[tuple[str, bytes]], files: Sequence[HubFile], under: str = "") -> None:
    """Check that `files` belong to the upstream commit; an LFS file is represented by its pointer (`pointer_ids`).

    Raises:
        IntegrityError: naming the first file that does not belong to it; HubError: a file has no git or LFS id.
    """
    rows = {path_bytes(file.path): (git_modes(file.mode, file.size or 0), _git_ids(file, proof)) for file in files}
    check_proof(commit, proof, rows, under.encode())


def _git_ids(file: HubFile, proof: Sequence[tuple[str, bytes]]) -> frozenset[str]:
    kind, _, oid = (file.oid or "").partition(":")
    if kind == "git":
        return frozenset({oid})
    if kind == "sha256" and file.size is not None:
        return pointer_ids(proof, oid, file.size)
    raise HubError(f"`{file.path}` has no git or LFS id")
