"""A local folder, or a folder of folders, as a hub: captures private collections like any other hub.

A package is the topmost folder that holds a file: `--endpoint /data` with `/data/team/model/config.json` has the
package `dir:team/model`. Its revision is the hash of its content (ADR 0020), so an unchanged folder is not captured
again, and a change during the capture is detected. A folder whose files have the sizes, inodes and times that they had
when it was captured is not read again. Links are not followed; `.git` is skipped. A file or folder
that cannot be read, a pipe and a device are listed as missing. Of several packages, a folder that cannot be read fails
alone.
"""

import hashlib
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from itertools import dropwhile, islice
from pathlib import Path

import msgspec
from blake3 import blake3

from ptmtorrent.errors import HubError, IntegrityError, NotFound, UsageError
from ptmtorrent.facts.licences import is_evidence, limit_of
from ptmtorrent.hubs.client.session import Session
from ptmtorrent.hubs.port import (
    MAX_FILES,
    UNDOCUMENTED,
    Described,
    Foreseen,
    HubFile,
    Listed,
    Located,
    Page,
    Query,
    mode_and_link,
    set_aside_unsafe,
    with_licence,
)
from ptmtorrent.hubs.registry import HubOptions
from ptmtorrent.model.ids import check_path, path_bytes
from ptmtorrent.model.manifest import EXECUTABLE_MODE, LINK_MODE, REGULAR_MODE, Identity
from ptmtorrent.model.text import count

PAGE = 1000
LEFT_OUT = {".git"}
MAX_DEPTH = 128
SETTLED_SECONDS = 2.0
"""Age of a change from which on the next change has another time, on any filesystem (FAT has steps of two seconds)."""
_CHUNK_BYTES = 1 << 20

Found = tuple[str, Sequence[os.DirEntry[str]] | None]
"""The folder of a package, and what is in it; None for a folder that cannot be read, which fails as a package."""


def make(options: HubOptions, session: Session) -> "FolderHub":
    """Return the adapter."""
    return FolderHub(options.endpoint, session, called=options.called)


class FolderHub:
    """The packages below the folder `endpoint`, or that folder itself if it holds files.

    The folder is `called` by its own name unless another one is given, which then begins the names of packages in it.
    """

    name = "dir"
    prefix = "dir"

    def __init__(self, endpoint: str, session: Session | None = None, *, called: str | None = None) -> None:
        self.endpoint = str(Path(endpoint).absolute()) if endpoint else ""
        self._called = called
        self.session = session or Session()
        self._found: dict[str, list[HubFile]] = {}
        self._open_listing: tuple[str | None, Iterator[Found]] = (None, iter(()))

    def listing(self, query: Query, cursor: str | None) -> Iterator[Page]:
        """Yield every package, folder by folder, by name.

        Raises:
            UsageError: no folder was named; NotFound: it does not exist; HubError: it cannot be read.
        """
        if not self.endpoint or not Path(self.endpoint).is_dir():
            hint = "name the folder to capture: `--endpoint FOLDER`"
            if not self.endpoint:
                raise UsageError("`clone dir` needs a folder", hint=hint)
            raise NotFound(f"`{self.endpoint}` is not a folder", hint=hint)
        if query.ids:
            yield Page(packages=tuple(self._listed(name) for name in query.ids), cursor=None)
            return
        packages = self._continue_after(cursor)
        while True:
            found = [(self._name(folder), folder, entries) for folder, entries in islice(packages, PAGE)]
            cursor = found[-1][0] if len(found) == PAGE else None
            self._open_listing = (cursor, packages)
            listed = (
                _new_listed(name, "public", self._stamp(folder, entries), _real(folder))
                for name, folder, entries in found
            )
            yield Page(packages=tuple(listed), cursor=cursor)
            if cursor is None:
                return

    def _continue_after(self, cursor: str | None) -> Iterator[Found]:
        """Yield the packages after the one that `cursor` names; all of them if it is gone."""
        (last, packages), self._open_listing = self._open_listing, (None, iter(()))
        if cursor is None or last == cursor:
            return self._packages() if cursor is None else packages
        after = dropwhile(lambda found: self._name(found[0]) != cursor, self._packages())
        return after if next(after, None) is not None else self._packages()

    @property
    def quotas(self) -> Mapping[str, tuple[int, int]]:
        """A folder has no limits."""
        return UNDOCUMENTED

    def foresee(self, listed: Listed) -> Foreseen:
        """Return what the filesystem says of the files, none of which is read.

        Raises:
            NotFound: the folder does not exist; HubError: it cannot be read.
        """
        self._check_name(listed.name)
        self._check_access(listed)
        folder = str(self._folder(listed.name))
        try:
            sizes = [size for _, _, size, *_ in _facts(folder, _entries(folder))]
        except OSError as error:
            raise HubError(f"`{folder}` cannot be read: {error.strerror}") from error
        return Foreseen(files=len(sizes), bytes=sum(sizes), calls=0)

    def _check_name(self, name: str) -> None:
        """Refuse a name that no package can have.

        Raises:
            HubError: naming the folder, and how to capture it under another name.
        """
        try:
            check_path(name)
        except IntegrityError as error:
            raise HubError(
                f"a folder in `{self.endpoint}` gives no name of a package: {error.message}",
                hint="capture it by itself under another one: ptmtorrent clone dir --endpoint FOLDER --as NAME",
            ) from error

    def _check_access(self, listed: Listed) -> None:
        if listed.access != "public":
            raise NotFound(
                f"`{self.prefix}:{listed.name}` was not found: `{self.endpoint}` has no such folder with files"
            )

    def describe(self, listed: Listed) -> Described:
        """Pin the package to its current content, and read its licence from it. Reads every byte.

        Raises:
            NotFound: the folder does not exist; IntegrityError: a name that is not allowed in a manifest; HubError: it
                cannot be read, or no package can have its name.
        """
        package = f"`{self.prefix}:{listed.name}`"
        self._check_name(listed.name)
        self._check_access(listed)
        evidence: dict[str, bytes] = {}
        files = self._read(self._folder(listed.name), package, evidence)
        revision = blake3(msgspec.json.encode([_row(file) for file in files])).hexdigest()
        self._found[f"{listed.name} {revision}"] = files
        identity = Identity(hub=self.prefix, name=listed.name, commit=revision)
        answers = (("record", listed.raw.encode()),)
        listed = with_licence(listed, files, lambda file: evidence.get(file.path))
        return Described(identity=identity, listed=listed, answers=answers)

    def files(self, described: Described) -> tuple[list[HubFile], tuple[tuple[str, bytes], ...]]:
        """Return the files of the revision; the raw answer is the list that the revision is the hash of.

        Raises:
            NotFound: the folder has changed since it was described; otherwise as `describe`.
        """
        key = _key(described)
        if key not in self._found and self.describe(described.listed).identity != described.identity:
            raise NotFound(f"`{described.identity.package}` has changed since it was listed", hint="clone it again")
        files = self._found.pop(key)
        return files, (("files", msgspec.json.encode([_row(file) for file in files])),)

    def locate(self, described: Described, file: HubFile) -> Located:
        """Return the path of the file, or the target of a link as its bytes.

        Raises:
            NotFound: the file no longer exists.
        """
        place = self.place(described, file)
        if place is not None:
            return Located(path=place)
        data = path_bytes(str((self._folder(described.identity.name) / file.path).readlink()))
        return Located(pieces=lambda: (piece for piece in (data,)))

    def place(self, described: Described, file: HubFile) -> Path | None:
        """Return the path of the file, from where it is stored; None for a link; see `InPlace`.

        Raises:
            NotFound: the file no longer exists.
        """
        place = self._folder(described.identity.name) / file.path
        if place.is_symlink():
            return None
        if not place.is_file():
            raise NotFound(f"`{described.identity.package}` file `{file.path}` no longer exists")
        return place

    def release(self, described: Described) -> None:
        """Drop the package's list of files."""
        self._found.pop(_key(described), None)

    def close(self) -> None:
        """Close the session, which this hub never uses."""
        self.session.close()

    def _packages(self) -> Iterator[Found]:
        waiting = [(self.endpoint, 0)]
        while waiting:
            folder, depth = waiting.pop()
            try:
                entries = _entries(folder)
            except HubError:
                if not depth:
                    raise
                yield folder, None
                continue
            if _holds_files(entries):
                yield folder, entries
            elif depth < MAX_DEPTH:
                below = [entry for entry in entries if entry.name not in LEFT_OUT and not entry.is_symlink()]
                waiting += [(entry.path, depth + 1) for entry in reversed(below)]

    def _name(self, folder: str) -> str:
        top = self.endpoint
        below = folder[len(top) :].lstrip("/")
        name = "/".join(filter(None, (self._called, below))) or Path(folder).name
        return name if name.isascii() else os.fsencode(name).decode(errors="backslashreplace")

    def _stamp(self, folder: str, entries: Sequence[os.DirEntry[str]] | None) -> str | None:
        """Return a hash of what the filesystem says of all files; None if that may not show the next change.

        A file that is written twice within a tick of the filesystem's clock keeps its times.
        """
        if entries is None:
            return None
        try:
            rows = list(islice(_facts(folder, entries), MAX_FILES + 1))
        except (HubError, OSError):
            return None  # `describe` raises the error
        newest = max((max(row[-2:]) for row in rows), default=0)
        if len(rows) > MAX_FILES or newest >= (self.session.clock().timestamp() - SETTLED_SECONDS) * 1e9:
            return None
        return blake3(msgspec.msgpack.encode(rows)).hexdigest()

    def _listed(self, name: str) -> Listed:
        try:
            check_path(name)
            here = self._folder(name).is_dir()
        except IntegrityError:
            here = True  # `describe` raises the error for a name that is not allowed
        return _new_listed(name, "public" if here else "gone", None, _real(self._folder(name)) if here else None)

    def _folder(self, name: str) -> Path:
        """Return the folder of a package; a path that does not exist if a link leads to it."""
        top = Path(self.endpoint)
        if name == (self._called or top.name) and _holds_files(_entries(top)):
            return top
        if self._called is not None:
            start, _, rest = name.partition(f"{self._called}/")
            if start or not rest:
                return top / name / ".none"
            name = rest
        place = self.endpoint
        for step in name.split("/"):
            place = f"{place}/{step}"
            if os.path.islink(place):  # noqa: PTH114  # asked for each file: a `Path` for each step takes much longer
                return top / name / ".none"
        return Path(place)

    def _read(self, folder: Path, package: str, evidence: dict[str, bytes]) -> list[HubFile]:
        """Return all files, and add the bytes of cards and licence texts to `evidence`."""
        files: list[HubFile] = []
        waiting = [(folder, 0)]
        while waiting:
            here, depth = waiting.pop()
            try:
                entries = _entries(here)
            except HubError:
                if not depth:
                    raise
                files.append(_lost(str(here)[len(str(folder)) :].lstrip("/")))
                continue
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    if entry.name not in LEFT_OUT:
                        waiting.append((Path(entry.path), depth + 1))
                    continue
                files.append(self._file(Path(entry.path), folder, evidence))
            if len(files) > MAX_FILES or depth > MAX_DEPTH:
                raise HubError(f"{package} has more than {count(MAX_FILES, 'file')} or {MAX_DEPTH} levels of folders")
        return sorted(set_aside_unsafe(files), key=lambda file: os.fsencode(file.path))

    def _file(self, place: Path, folder: Path, evidence: dict[str, bytes]) -> HubFile:
        """Return a file, with what the filesystem says of it alone if it cannot be read or has no bytes of its own."""
        path = str(place)[len(str(folder)) :].lstrip("/")
        try:
            if place.is_symlink():
                text = path_bytes(str(place.readlink()))
                mode, link = mode_and_link(path, LINK_MODE, text)
                oid = f"sha256:{hashlib.sha256(text).hexdigest()}"
                return HubFile(path=path, size=len(text), oid=oid, source="url", mode=mode, link=link)
            limit = limit_of(path) if is_evidence(path) else 0
            size, oid, mode, head = self._hash(place, limit)
        except _NoFile:
            return _lost(path)
        except OSError:
            return _lost(path, _size_of(place))
        if 0 < size <= limit:
            evidence[path] = head
        return HubFile(path=path, size=size, oid=f"sha256:{oid}", source="url", mode=mode)

    def _hash(self, place: Path, limit: int) -> tuple[int, str, int, bytes]:
        """Return size, SHA-256, mode and first `limit` bytes of a regular file.

        Raises:
            OSError: it cannot be read; `_NoFile` for pipes and devices, which may never end.
        """
        descriptor = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as stream:
            mode = os.fstat(descriptor).st_mode
            if not stat.S_ISREG(mode):
                raise _NoFile
            digest, size, head = hashlib.sha256(), 0, b""
            while piece := stream.read(_CHUNK_BYTES):
                self.session.stop.raise_if_set("reading a folder")
                digest.update(piece)
                size += len(piece)
                head += piece[: max(0, limit - len(head))]
        return size, digest.hexdigest(), EXECUTABLE_MODE if mode & 0o100 else REGULAR_MODE, head


class _NoFile(OSError):
    """Neither a regular file nor a link."""


def _lost(path: str, size: int | None = None) -> HubFile:
    """Return the entry of a file, or of a folder with all that may be in it, that cannot be read."""
    return HubFile(path=path, size=size, oid=None, source="url", missing="unreadable")


def _size_of(place: Path) -> int | None:
    try:
        return place.lstat().st_size
    except OSError:
        return None


def _new_listed(name: str, access: str, stamp: str | None, place: str | None) -> Listed:
    raw = msgspec.json.encode({"folder": name}).decode()
    return Listed(name=name, access=access, raw=raw, stamp=stamp, place=place)


def _real(folder: Path | str) -> str:
    return os.fsencode(os.path.realpath(folder)).decode(errors="backslashreplace")


def _facts(folder: str, entries: Sequence[os.DirEntry[str]]) -> Iterator[tuple[bytes, int, int, int, int, int]]:
    """Yield path, mode, size, inode and times of each file below `folder`, which has `entries`, without reading any."""
    waiting: list[str] = []
    while True:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                waiting += [entry.path] if entry.name not in LEFT_OUT else []
            else:
                found = entry.stat(follow_symlinks=False)
                path, times = os.fsencode(entry.path[len(folder) :]), (found.st_mtime_ns, found.st_ctime_ns)
                yield path, found.st_mode, found.st_size, found.st_ino, *times
        if not waiting:
            return
        entries = _entries(waiting.pop())


def _entries(folder: Path | str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return sorted(found, key=lambda entry: os.fsencode(entry.name))
    except OSError as error:
        raise HubError(f"`{folder}` cannot be read: {error.strerror}") from error


def _holds_files(entries: Sequence[os.DirEntry[str]]) -> bool:
    return any(not _is_folder(entry) for entry in entries)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False  # a loop of links


def _row(file: HubFile) -> tuple[str, int, int | None, str | None]:
    # A backslash is doubled, so that a name with `\xff` in it is not taken for one with that byte.
    path = os.fsencode(file.path.replace("\\", "\\\\")).decode(errors="backslashreplace")
    return path, file.mode, file.size, file.oid


def _key(described: Described) -> str:
    return f"{described.identity.name} {described.identity.commit}"
