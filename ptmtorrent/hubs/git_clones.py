"""One git remote at one commit: fetched once into a folder, then listed, proven and read without the network."""

import hashlib
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ptmtorrent.errors import HubError, NotFound
from ptmtorrent.hubs.git import Git
from ptmtorrent.hubs.git_objects import Objects, blob_sizes, check_proof, file_mode, open_objects
from ptmtorrent.hubs.git_trees import Snapshot, hub_files, read_snapshot
from ptmtorrent.hubs.port import HubFile
from ptmtorrent.model.names import check_path
from ptmtorrent.model.pointers import pointer_git_id

_DONE = "complete"


@dataclass
class Clones:
    """Bare clones below `work`, one for each remote and commit. Threads may share it."""

    git: Git
    work: Path
    history: bool = False
    _locks: dict[str, threading.Lock] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def at(self, url: str, commit: str, what: str) -> Path:
        """Return the bare folder that holds `commit`, fetching it when it is not there.

        Raises:
            NotFound: the remote has no such commit any more; else as `Git.fetch`.
        """
        folder = self._folder(url, commit)
        with self._lock:
            lock = self._locks.setdefault(folder.name, threading.Lock())
        with lock:
            if not (folder / _DONE).exists():
                self.work.mkdir(parents=True, exist_ok=True)
                self.git.fetch(url, commit, folder, what, history=self.history)
                (folder / _DONE).touch()
        return folder

    @contextmanager
    def objects(self, url: str, commit: str, what: str) -> Iterator[tuple[Objects, Path]]:
        """Give the objects of `commit` and the folder they are in."""
        folder = self.at(url, commit, what)
        with open_objects(self.git, folder) as objects:
            yield objects, folder

    def files(self, url: str, commit: str, what: str, under: str = "") -> tuple[list[HubFile], Snapshot]:
        """Return the files of `commit` below `under`, proven to belong to it, and the objects that say so.

        Raises:
            IntegrityError: an object is not what its id says; else as `read_snapshot` and `hub_files`.
        """
        with self.objects(url, commit, what) as (objects, folder):
            snapshot = read_snapshot(objects, commit, under)
            files = hub_files(objects, snapshot.found, blob_sizes(self.git, folder, what), what)
        check_files(commit, snapshot.proof, files, under)
        return files, snapshot

    def blob(self, url: str, commit: str, oid: str, what: str) -> Path:
        """Return a local file with the bytes of the blob `oid`."""
        with self.objects(url, commit, what) as (objects, folder):
            target = folder / f"file-{oid}"
            if not target.exists():
                fresh = folder / f"file-{oid}-{threading.get_ident()}.part"
                objects.copy(oid, fresh)
                fresh.replace(target)
        return target

    def _folder(self, url: str, commit: str) -> Path:
        name = hashlib.sha256(f"{url}\n{commit}\n{self.history}".encode()).hexdigest()[:40]
        return self.work / f"{name}.git"


def check_files(commit: str, proof: Sequence[tuple[str, bytes]], files: Sequence[HubFile], under: str = "") -> None:
    """Check that `files` belong to the upstream commit; an LFS file's pointer follows from its oid and size.

    Raises:
        IntegrityError: naming the first file that does not; HubError: a file without a git or LFS id.
    """
    rows = {file.path.encode(errors="surrogateescape"): (file_mode(file.mode), _git_id(file)) for file in files}
    check_proof(commit, proof, rows, under.encode())


def _git_id(file: HubFile) -> str:
    kind, _, oid = (file.oid or "").partition(":")
    if kind == "git":
        return oid
    if kind == "sha256" and file.size is not None:
        return pointer_git_id(oid, file.size)
    raise HubError(f"`{file.path}` has no id that git would know")


def split_remote(text: str, schemes: tuple[str, ...]) -> tuple[str, str]:
    """Return the address of a remote and the name of its package: host and path, `.git` left out.

    Raises:
        NotFound: no address of these schemes; IntegrityError: a name no manifest may hold.
    """
    scheme, sign, rest = text.strip().rstrip("/").partition("://")
    host, _, path = rest.partition("/")
    unfit = not sign or scheme not in schemes or not path or "@" in host or set("?#") & set(rest)
    if unfit or any(ord(character) <= 0x20 for character in text.strip()):
        raise NotFound(f"`{text}` is no address of a git remote", hint=f"write {' or '.join(schemes)}://HOST/PATH")
    name = f"{host.replace(':', '+')}/{path.removesuffix('.git')}".lstrip("/")
    check_path(name)
    return f"{scheme}://{rest}", name
