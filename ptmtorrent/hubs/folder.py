"""A local folder, or a folder of folders, as a hub: captures private collections like any other hub.

A package is the topmost folder that holds a file: `--endpoint /data` with `/data/team/model/config.json` has the
package `dir:team/model`. Its revision is the hash of its content (ADR 0020), so an unchanged folder is not captured
again, and a change during the capture is detected. Links are not followed; `.git` is skipped.
"""

import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
from blake3 import blake3

from ptmtorrent.errors import HubError, IntegrityError, NotFound, UsageError
from ptmtorrent.facts.licence_files import is_evidence, limit_of
from ptmtorrent.hubs.client.session import Session
from ptmtorrent.hubs.evidence import with_licence
from ptmtorrent.hubs.port import MAX_FILES, Described, HubFile, Listed, Located, Page, Query, mode_and_link
from ptmtorrent.hubs.registry import HubOptions
from ptmtorrent.model.ids import check_path, check_paths, path_bytes
from ptmtorrent.model.manifest import EXECUTABLE_MODE, LINK_MODE, REGULAR_MODE, Identity
from ptmtorrent.model.text import count

LEFT_OUT = {".git"}
MAX_DEPTH = 128
_CHUNK_BYTES = 1 << 20


def make(options: HubOptions, session: Session) -> "FolderHub":
    """Return the adapter."""
    return FolderHub(options.endpoint, session)


class FolderHub:
    """The packages below the folder `endpoint`, or that folder itself if it holds files."""

    name = "dir"
    prefix = "dir"

    def __init__(self, endpoint: str, session: Session | None = None) -> None:
        self.endpoint = str(Path(endpoint).absolute()) if endpoint else ""
        self.session = session or Session()
        self._found: dict[str, list[HubFile]] = {}

    def listing(self, query: Query, cursor: str | None) -> Iterator[Page]:
        """Yield one page with every package, by name.

        Raises:
            UsageError: no folder was named; NotFound: it does not exist; HubError: it cannot be read.
        """
        del cursor
        if not self.endpoint or not Path(self.endpoint).is_dir():
            hint = "name the folder to capture: `--endpoint FOLDER`"
            if not self.endpoint:
                raise UsageError("`clone dir` needs a folder", hint=hint)
            raise NotFound(f"`{self.endpoint}` is not a folder", hint=hint)
        names = query.ids or [self._name(folder) for folder in self._packages()]
        yield Page(packages=tuple(self._listed(name) for name in names), cursor=None)

    def describe(self, listed: Listed) -> Described:
        """Pin the package to its current content, and read its licence from it. Reads every byte.

        Raises:
            NotFound: the folder does not exist; IntegrityError: a name that is not allowed in a manifest; HubError: an
                entry cannot be read, or is neither a file nor a link nor a folder.
        """
        package = f"`{self.prefix}:{listed.name}`"
        check_path(listed.name)
        if listed.access != "public":
            raise NotFound(f"{package} was not found: `{self.endpoint}` has no such folder with files")
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
        files = self._found[key]
        return files, (("files", msgspec.json.encode([_row(file) for file in files])),)

    def locate(self, described: Described, file: HubFile) -> Located:
        """Return the path of the file, or the target of a link as its bytes.

        Raises:
            NotFound: the file no longer exists.
        """
        place = self._folder(described.identity.name) / file.path
        if place.is_symlink():
            data = path_bytes(str(place.readlink()))
            return Located(pieces=lambda: (piece for piece in (data,)))
        if not place.is_file():
            raise NotFound(f"`{described.identity.package}` file `{file.path}` no longer exists")
        return Located(path=place)

    def release(self, described: Described) -> None:
        """Drop the package's list of files."""
        self._found.pop(_key(described), None)

    def close(self) -> None:
        """Close the session, which this hub never uses."""
        self.session.close()

    def _packages(self) -> Iterator[Path]:
        waiting = [(Path(self.endpoint), 0)]
        while waiting:
            folder, depth = waiting.pop()
            entries = _entries(folder)
            if _holds_files(entries):
                yield folder
            elif depth < MAX_DEPTH:
                below = [entry for entry in entries if entry.name not in LEFT_OUT and not entry.is_symlink()]
                waiting += [(Path(entry.path), depth + 1) for entry in reversed(below)]

    def _name(self, folder: Path) -> str:
        top = Path(self.endpoint)
        name = folder.name if folder == top else folder.relative_to(top).as_posix()
        return os.fsencode(name).decode(errors="backslashreplace")

    def _listed(self, name: str) -> Listed:
        try:
            check_path(name)
            here = self._folder(name).is_dir()
        except IntegrityError:
            here = True  # `describe` raises the error for a name that is not allowed
        return Listed(
            name=name, access="public" if here else "gone", raw=msgspec.json.encode({"folder": name}).decode()
        )

    def _folder(self, name: str) -> Path:
        """Return the folder of a package; a path that does not exist if a link leads to it."""
        top = Path(self.endpoint)
        if name == top.name and _holds_files(_entries(top)):
            return top
        place = top
        for step in name.split("/"):
            place = place / step
            if place.is_symlink():
                return top / name / ".none"
        return place

    def _read(self, folder: Path, package: str, evidence: dict[str, bytes]) -> list[HubFile]:
        """Return all files, and add the bytes of cards and licence texts to `evidence`."""
        files: list[HubFile] = []
        waiting = [(folder, 0)]
        while waiting:
            here, depth = waiting.pop()
            for entry in _entries(here):
                if entry.is_dir(follow_symlinks=False):
                    if entry.name not in LEFT_OUT:
                        waiting.append((Path(entry.path), depth + 1))
                    continue
                files.append(self._file(Path(entry.path), folder, package, evidence))
            if len(files) > MAX_FILES or depth > MAX_DEPTH:
                raise HubError(f"{package} has more than {count(MAX_FILES, 'file')} or {MAX_DEPTH} levels of folders")
        check_paths(file.path for file in files)
        return sorted(files, key=lambda file: os.fsencode(file.path))

    def _file(self, place: Path, folder: Path, package: str, evidence: dict[str, bytes]) -> HubFile:
        path = place.relative_to(folder).as_posix()
        what = f"{package} file `{path}`"
        try:
            if place.is_symlink():
                text = path_bytes(str(place.readlink()))
                mode, link = mode_and_link(path, LINK_MODE, text)
                oid = f"sha256:{hashlib.sha256(text).hexdigest()}"
                return HubFile(path=path, size=len(text), oid=oid, source="url", mode=mode, link=link)
            limit = limit_of(path) if is_evidence(path) else 0
            size, oid, mode, head = self._hash(place, what, limit)
        except OSError as error:
            raise HubError(f"{what} cannot be read: {error.strerror}") from error
        if 0 < size <= limit:
            evidence[path] = head
        return HubFile(path=path, size=size, oid=f"sha256:{oid}", source="url", mode=mode)

    def _hash(self, place: Path, what: str, limit: int) -> tuple[int, str, int, bytes]:
        """Return size, SHA-256, mode and first `limit` bytes of a regular file.

        Pipes and devices, which may never end, are refused.
        """
        descriptor = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as stream:
            mode = os.fstat(descriptor).st_mode
            if not stat.S_ISREG(mode):
                raise HubError(f"{what} is not a regular file or a link")
            digest, size, head = hashlib.sha256(), 0, b""
            while piece := stream.read(_CHUNK_BYTES):
                self.session.stop.raise_if_set("reading a folder")
                digest.update(piece)
                size += len(piece)
                head += piece[: max(0, limit - len(head))]
        return size, digest.hexdigest(), EXECUTABLE_MODE if mode & 0o100 else REGULAR_MODE, head


def _entries(folder: Path) -> list[os.DirEntry[str]]:
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
    return os.fsencode(file.path).decode(errors="backslashreplace"), file.mode, file.size, file.oid


def _key(described: Described) -> str:
    return f"{described.identity.name} {described.identity.commit}"
