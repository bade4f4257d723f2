"""A file being assembled in a layout's `incoming` folder, from objects in any order.

An unfinished file has its full length from the start (sparse), and objects are written at their offsets. What an
earlier run wrote is hashed before it counts. Its hashes are taken while its parts are written, as far as these come in
order. Only `assemble` changes an `Assembly`.
"""

import errno
import hashlib
import os
import stat
from collections.abc import Callable
from functools import cached_property
from pathlib import Path

import msgspec
from blake3 import blake3

from ptmtorrent.disk.durable import disk_errors, disk_errors_but_missing, open_regular, read_at
from ptmtorrent.errors import PtmError
from ptmtorrent.layouts.folders import (
    Ground,
    is_executable,
    is_unshared_file,
    read_link,
    same_content,
    same_file,
    spelled,
    survey,
)
from ptmtorrent.layouts.port import Destination, Layout
from ptmtorrent.model.ids import ObjectId, object_id
from ptmtorrent.model.manifest import FileEntry
from ptmtorrent.state.laid_out import Ledger

LINK = ".link"
"""The end of the name of a link that has no place yet, beside an unfinished file."""

Part = tuple[ObjectId, int, int]
"""`(object, offset in the file, size in bytes)`."""


class Owner(msgspec.Struct, frozen=True, kw_only=True):
    """Decides what may be replaced in the folder of a package: what is as a fetch left it, or any file with `force`.

    `folder` is where folders and files make way for each other, None where only files are replaced. `folds`: the disk
    takes names that differ in case alone for one.
    """

    ledger: Ledger
    folder: Path | None
    force: bool
    folds: bool

    def owns(self, path: Path) -> bool:
        """Return whether a path is as a fetch left it."""
        if is_as_fetched(self.ledger, path):
            return True
        return self.folds and self.folder is not None and is_as_fetched(self.ledger, spelled(self.folder, path))


def unfinished(layout: Layout, target: Path, digest: str) -> Path:
    """Return where the file of `target` that has the BLAKE3 hash `digest` is put together."""
    root = str(layout.root)
    place = str(target)[len(root) + (root != "/") :]
    name = blake3(f"{place}\0{digest}".encode(errors="surrogateescape")).hexdigest(length=20)
    return layout.incoming() / name


def is_as_fetched(ledger: Ledger, path: Path) -> bool:
    """Return whether nothing changed a file since a fetch wrote it; one with another time is hashed."""
    if ledger.knows(path):
        return True
    row = ledger.row(path)
    return row is not None and bool(row.blake3) and same_content(path, row.size, row.blake3)


class Assembly:
    """One file that is wanted at `destination.target`, and the parts of it that are still missing.

    `in_target` are missing parts that the present file at the target has at the same offset, as an older version of it
    does. `ground` is what lies in its place. `here` is set once the target is verified, `error` once it cannot be.
    `row` is its row in the selection. `is_new` is set once this run created the unfinished file.
    """

    def __init__(
        self,
        row: int,
        destination: Destination,
        entry: FileEntry,
        parts: Callable[[], tuple[Part, ...]],
        incoming: Path,
    ) -> None:
        """`parts` is called when the parts are first asked for."""
        self.row = row
        self.destination = destination
        self.size = entry.size
        self.blake3 = entry.blake3
        self.incoming = incoming
        self.links = {destination.link} if destination.link else set()
        self.in_target: frozenset[int] = frozenset()
        self.ground = Ground()
        self.here = False
        self.is_new = False
        self.error: PtmError | None = None
        self._hashed = 0
        self._find_parts = parts

    @cached_property
    def parts(self) -> tuple[Part, ...]:
        """The objects that the file is made of, in order."""
        return self._find_parts()

    @cached_property
    def missing(self) -> set[int]:
        """The parts that are still missing, by number; empty ones never are."""
        return {number for number, (_, _, length) in enumerate(self.parts) if length}

    @cached_property
    def hashes(self) -> "FileHashes":
        """The hashes of the file, as far as its parts were taken in order."""
        return FileHashes(self.size, self.destination.claimed_hash)

    def wrote(self, number: int, data: bytes) -> None:
        """Record that a part is written; hash it where the file is hashed up to there."""
        self.missing.discard(number)
        identifier, offset, length = self.parts[number]
        if offset == self.hashes.bytes:
            self.hashes.take(data, is_proven=length == self.size and identifier == self.blake3)
            self._hashed = number + 1

    def catch_up(self, data: bytes) -> None:
        """Hash the bytes of `next_written`, read back."""
        self.hashes.take(data)
        self._hashed += 1

    def next_written(self) -> Part | None:
        """Return the part that follows the hashed ones, if it was written before them."""
        while self._hashed < len(self.parts) and not self.parts[self._hashed][2]:
            self._hashed += 1
        if self._hashed == len(self.parts) or self._hashed in self.missing:
            return None
        return self.parts[self._hashed]

    @property
    def is_begun(self) -> bool:
        """Whether an earlier run left something of the file, or something else is in its place."""
        lacks_all = len(self.missing) == sum(1 for _, _, length in self.parts if length)
        return not lacks_all or not self.ground.is_free or os.path.lexists(self.incoming)

    @property
    def missing_links(self) -> list[Path]:
        """The links to the file that are missing or wrong.

        Raises:
            StoreError: one cannot be read.
        """
        return [link for link in self.links if not self._leads_here(link)]

    def _leads_here(self, link: Path) -> bool:
        """Return whether `link` is a link to the file, or, as other programs write it, a copy of it."""
        text = read_link(link)
        if text is None:
            return link.is_file() and same_file(link, self.size, self.blake3)
        return text == self.text_of(link) or link.resolve() == self.target.resolve()

    def text_of(self, link: Path) -> str:
        """Return what a link to the file should say."""
        return os.path.relpath(self.target, link.parent)

    @property
    def is_executable(self) -> bool:
        """Whether the file should be executable."""
        return bool(self.destination.mode & stat.S_IXUSR)

    @property
    def has_wrong_mode(self) -> bool:
        """Whether the finished file is executable and should not be, or the other way round.

        Raises:
            StoreError: it cannot be read.
        """
        if self.destination.claimed_hash is not None or self.destination.link_text is not None:
            return False  # a cache says nothing of modes, and links have none
        return is_executable(self.target) != self.is_executable

    @property
    def target(self) -> Path:
        """The path of the finished file."""
        return self.destination.target

    @property
    def allocated(self) -> int:
        """Bytes that the unfinished file takes on disk."""
        try:
            return min(self.size, self.incoming.lstat().st_blocks * 512)
        except OSError:
            return 0

    def add_link(self, link: Path) -> None:
        """Add a relative link that a layout wants to the file."""
        self.links.add(link)

    def examine(self, owner: Owner, package: str, snapshot: str) -> None:
        """Find out whether the target is finished already, and which parts earlier runs left; errors go to `error`.

        A target that the ledger does not know is hashed, and recorded as part of `package` when it is right.
        """
        if self.here or self.error:
            return
        ledger = owner.ledger
        try:
            if not ledger.holds(self.target, self.size, self.blake3):
                if not self._is_right():
                    self.ground = survey(owner.folder or self.target.parent, self.target, owner.owns, force=owner.force)
                    self._recheck()
                    return
                ledger.record(self.target, blake3=self.blake3, package=package, snapshot=snapshot)
            self.here = True
        except PtmError as error:
            self.error = error

    def _is_right(self) -> bool:
        """Return whether the target is the link or has the bytes that it should have."""
        text = read_link(self.target)
        if self.destination.link_text is not None or text is not None:
            return text is not None and text == self.destination.link_text
        return self.target.is_file() and same_file(self.target, self.size, self.blake3)

    def _recheck(self) -> None:
        """Find the parts that an earlier run wrote correctly, and those that the present target has.

        Raises:
            StoreError: one of the files cannot be read.
        """
        if is_unshared_file(self.incoming):
            self.missing -= self._right_parts(self.incoming)
        if self.destination.link_text is None and self.ground.has_file:
            self.in_target = frozenset(self._right_parts(self.target))

    def _right_parts(self, path: Path) -> set[int]:
        """Return the missing parts that `path` has at their offsets."""
        try:
            with disk_errors_but_missing(path):
                descriptor = open_regular(path, os.O_NOFOLLOW)
        except FileNotFoundError:
            return set()
        try:
            with disk_errors(path):
                return {number for number in self.missing if _holds(descriptor, self.parts[number])}
        finally:
            os.close(descriptor)


def set_mode(path: Path, *, executable: bool) -> None:
    """Make an executable file executable for all who may read it, as the umask decided. Raises `OSError`."""
    mode = stat.S_IMODE(path.stat().st_mode)
    wanted = mode & 0o666 | ((mode & 0o444) >> 2 if executable else 0)
    if mode != wanted:
        path.chmod(wanted)


class FileHashes:
    """The BLAKE3 hash of a file, and the hash that its name states, of its first `bytes`, which come in order."""

    def __init__(self, size: int, claimed: str | None) -> None:
        self.bytes = 0
        self._blake3 = blake3()
        self._is_proven = False
        kind, _, self._claimed = (claimed or "").partition(":")
        self._other = hashlib.sha256() if kind == "sha256" else hashlib.sha1(usedforsecurity=False)
        if kind == "git":
            self._other.update(b"blob %d\0" % size)

    def take(self, data: bytes, *, is_proven: bool = False) -> None:
        """Hash the next bytes; `is_proven`: they are the whole file, and its BLAKE3 hash was checked."""
        self.bytes += len(data)
        self._is_proven = is_proven
        if not is_proven:
            self._blake3.update(data)
        if self._claimed:
            self._other.update(data)

    def fault(self, file: Assembly) -> str | None:
        """Return what is wrong with a file whose bytes were all taken; None when it is right."""
        if not self._is_proven and self._blake3.hexdigest() != file.blake3:
            return f"`{file.target}` does not hash to what its manifest says, although all its objects do"
        if self._claimed and self._other.hexdigest() != self._claimed:
            return f"`{file.target}` does not have the hash that its name states"
        return None


def _holds(descriptor: int, part: Part) -> bool:
    identifier, offset, length = part
    return _has_data(descriptor, offset, length) and object_id(read_at(descriptor, offset, length)) == identifier


def _has_data(descriptor: int, offset: int, length: int) -> bool:
    """Return whether anything was written there: a hole of a sparse file need not be hashed."""
    try:
        return os.lseek(descriptor, offset, os.SEEK_DATA) < offset + length
    except OSError as error:
        if error.errno == errno.ENXIO:
            return False
        raise
