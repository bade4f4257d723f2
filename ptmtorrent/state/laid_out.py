"""The ledger: the files that fetches wrote, so that a second run moves and hashes nothing, and the folders they are in.

A row of a file is valid as long as the file has the size and modification time that it had when it was verified.
Losing the ledger costs only time: files without a row are hashed, and refs of a cache are left where they point.

What a fetch is about to write is announced, durably, before it writes anything of the package: a file that a killed
fetch wrote and did not record is recognised by its bytes.

By which subset a package was chosen (`""`: by its name) is in `chosen`, with the release that lacks it there, once a
fetch found that; `fetch --prune` removes such packages.

A folder has one row: the package in it, and the snapshot of the newest fetch. A file whose snapshot is another one is
left over from an older fetch. `Neighbours` refuses a folder inside that of another package, or around it.
"""

import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any

import msgspec

from ptmtorrent.disk.database import Database, InDatabase
from ptmtorrent.errors import StoreError
from ptmtorrent.model.bounds import decode_json
from ptmtorrent.model.records import Opened

_SCHEMA = """
CREATE TABLE IF NOT EXISTS files (
    path BLOB PRIMARY KEY, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
    blake3 TEXT NOT NULL, package TEXT NOT NULL, snapshot TEXT NOT NULL
) WITHOUT ROWID
"""
_FOLDERS = """
CREATE TABLE IF NOT EXISTS folders (
    folder BLOB PRIMARY KEY, package TEXT NOT NULL, snapshot TEXT, files INTEGER NOT NULL
) WITHOUT ROWID
"""
_ANNOUNCED = """
CREATE TABLE IF NOT EXISTS announced (
    path BLOB NOT NULL, size INTEGER NOT NULL, blake3 TEXT NOT NULL, package TEXT NOT NULL, snapshot TEXT NOT NULL,
    PRIMARY KEY (path, blake3)
) WITHOUT ROWID
"""
_ORIGINS = "CREATE TABLE IF NOT EXISTS origins (folder BLOB PRIMARY KEY, opened TEXT NOT NULL) WITHOUT ROWID"
_MARKS = "CREATE TABLE IF NOT EXISTS marks (path BLOB PRIMARY KEY, text TEXT NOT NULL) WITHOUT ROWID"
_MISSING = "CREATE TABLE IF NOT EXISTS missing (folder BLOB PRIMARY KEY, what TEXT NOT NULL) WITHOUT ROWID"
_CHOSEN = """
CREATE TABLE IF NOT EXISTS chosen (
    folder BLOB NOT NULL, subset TEXT NOT NULL, gone TEXT NOT NULL, PRIMARY KEY (folder, subset)
) WITHOUT ROWID
"""
_COLUMNS = "path, size, mtime_ns, blake3, package, snapshot"


class LaidOut(msgspec.Struct, frozen=True, kw_only=True):
    """A file that was verified and written: its path, and its size, time and hash at that time."""

    path: Path
    size: int
    mtime_ns: int
    blake3: str
    package: str
    snapshot: str


class PackageFolder(msgspec.Struct, frozen=True, kw_only=True):
    """A folder that a package is in, its snapshot (None if the layout keeps several), and the files that it has.

    Both are unknown, "" and 0, of a folder that an earlier version of this program filled from several snapshots.
    `opened` is the release that the newest fetch read, None if that was not recorded.
    """

    folder: Path
    package: str
    snapshot: str | None
    files: int
    opened: Opened | None = None


class Ledger(InDatabase):
    """The ledger in the file `path`, created when missing. For one thread.

    Raises:
        StoreError: it cannot be read or written; removing it is safe.
    """

    def __init__(self, path: Path) -> None:
        self._rows = Database(
            path,
            name="the ledger",
            schema=_SCHEMA,
            synchronous="NORMAL",
            hint=f"remove `{path}`: files that are there are then hashed once more",
            copied=True,
        )
        self._rows.run(_FOLDERS)
        self._rows.run(_MARKS)
        self._rows.run(_ORIGINS)
        self._rows.run(_ANNOUNCED)
        self._rows.run(_MISSING)
        self._rows.run(_CHOSEN)
        self._add_folders()

    def holds(self, path: Path, size: int, blake3: str) -> bool:
        """Return whether `path` is unchanged since it was written with these bytes."""
        row = self._rows.first("SELECT size, mtime_ns, blake3 FROM files WHERE path = ?", os.fsencode(path))
        try:
            found = path.lstat()
        except OSError:
            return False
        return row == (size, found.st_mtime_ns, blake3) and found.st_size == size and _is_ours(found.st_mode)

    def knows(self, path: Path) -> bool:
        """Return whether `path` is unchanged since a fetch wrote it, whatever its bytes."""
        row = self._rows.first("SELECT size, mtime_ns FROM files WHERE path = ?", os.fsencode(path))
        try:
            found = path.lstat()
        except OSError:
            return False
        return row == (found.st_size, found.st_mtime_ns) and _is_ours(found.st_mode)

    def row(self, path: Path) -> LaidOut | None:
        """Return the row of a file; None if no fetch wrote it."""
        row = self._rows.first(f"SELECT {_COLUMNS} FROM files WHERE path = ?", os.fsencode(path))  # noqa: S608  # constant names
        return None if row is None else _laid_out(row)

    def record(self, path: Path, *, blake3: str, package: str, snapshot: str) -> None:
        """Record that `path`, as it is now, holds the verified bytes `blake3`."""
        try:
            found = os.lstat(path)
        except OSError as error:
            raise StoreError(
                f"`{path}` disappeared while it was written: {error.strerror}", hint="run the same command again"
            ) from error
        values = (os.fsencode(path), found.st_size, found.st_mtime_ns, blake3, package, snapshot)
        self._rows.run(
            f"INSERT INTO files ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET size = excluded.size, "  # noqa: S608  # constant names
            "mtime_ns = excluded.mtime_ns, blake3 = excluded.blake3, package = excluded.package, "
            "snapshot = CASE WHEN blake3 = excluded.blake3 THEN snapshot ELSE excluded.snapshot END",
            *values,
        )

    def together(self) -> AbstractContextManager[None]:
        """Return a context in which everything is recorded at once, or nothing: locks are taken once for it."""
        return self._rows.transaction()

    def forget(self, path: Path) -> None:
        """Remove the row of a file."""
        self._rows.run("DELETE FROM files WHERE path = ?", os.fsencode(path))

    def record_damage(self, path: Path) -> None:
        """Record that the bytes of a file are wrong although nothing changed it, so that a fetch may replace it."""
        self._rows.run("UPDATE files SET blake3 = '' WHERE path = ?", os.fsencode(path))

    def announce(self, files: Iterable[tuple[Path, int, str, str, str]]) -> None:
        """Record, durably, that files of these paths, sizes, hashes, packages and snapshots are about to be written."""
        rows = ((os.fsencode(path), *others) for path, *others in files)
        with self._rows.transaction(durable=True):
            self._rows.run_many(
                "INSERT OR REPLACE INTO announced (path, size, blake3, package, snapshot) VALUES (?, ?, ?, ?, ?)", rows
            )

    def announced(self, below: Path, snapshot: str | None = None) -> list[LaidOut]:
        """Return what was announced below a folder, of one snapshot or of all; each with the time 0."""
        rows = self._rows.all(
            "SELECT path, size, 0, blake3, package, snapshot FROM announced"
            " WHERE path >= ? AND path < ? AND snapshot = coalesce(?, snapshot)",
            *(_inside(below), _after(below), snapshot),
        )
        return [_laid_out(row) for row in rows]

    def forget_announced(self, below: Path, snapshot: str | None = None) -> None:
        """Remove what was announced below a folder, of one snapshot or of all: it is all there, or of no use."""
        self._rows.run(
            "DELETE FROM announced WHERE path >= ? AND path < ? AND snapshot = coalesce(?, snapshot)",
            *(_inside(below), _after(below), snapshot),
        )

    def has_others(self, below: Path, snapshot: str) -> bool:
        """Return whether files of other snapshots are recorded below a folder."""
        bounds = (_inside(below), _after(below), snapshot)
        found = self._rows.first("SELECT 1 FROM files WHERE path >= ? AND path < ? AND snapshot <> ? LIMIT 1", *bounds)
        return found is not None

    def files(self, below: Path | None = None) -> list[LaidOut]:
        """Return every row, or those of the files below a folder, sorted by path."""
        bounds = (b"", b"\xff") if below is None else (_inside(below), _after(below))
        rows = self._rows.all(f"SELECT {_COLUMNS} FROM files WHERE path >= ? AND path < ? ORDER BY path", *bounds)  # noqa: S608  # constant names
        return [_laid_out(row) for row in rows]

    def count_files(self) -> int:
        """Return how many files are recorded."""
        [(count,)] = self._rows.all("SELECT count(*) FROM files")
        return int(count)

    def mark(self, path: Path) -> str | None:
        """Return the text that a fetch last wrote to a small file that others may change, None for no such file."""
        row = self._rows.first("SELECT text FROM marks WHERE path = ?", os.fsencode(path))
        return None if row is None else str(row[0])

    def put_mark(self, path: Path, text: str) -> None:
        """Record that a fetch wrote `text` to the file."""
        if self.mark(path) != text:
            self._rows.run("INSERT OR REPLACE INTO marks (path, text) VALUES (?, ?)", os.fsencode(path), text)

    def put_folder(self, found: PackageFolder) -> None:
        """Record what a folder is; a row of the same folder is replaced."""
        values = (os.fsencode(found.folder), found.package, found.snapshot, found.files)
        self._rows.run("INSERT OR REPLACE INTO folders (folder, package, snapshot, files) VALUES (?, ?, ?, ?)", *values)
        if found.opened is not None:
            opened = msgspec.json.encode(found.opened).decode()
            self._rows.run("INSERT OR REPLACE INTO origins (folder, opened) VALUES (?, ?)", values[0], opened)

    def folders(self) -> list[PackageFolder]:
        """Return every folder that a package was laid out in, sorted by path; some may be gone since."""
        rows = self._rows.all(
            "SELECT folder, package, snapshot, files, opened FROM folders LEFT JOIN origins USING (folder) "
            "ORDER BY folder"
        )
        return [
            PackageFolder(
                folder=Path(os.fsdecode(folder)),
                package=package,
                snapshot=snapshot,
                files=files,
                opened=_opened(opened),
            )
            for folder, package, snapshot, files, opened in rows
        ]

    def put_missing(self, folder: Path, what: str) -> None:
        """Record, in words, which files of the package in a folder could not be had or written; "" for none."""
        key = os.fsencode(folder)
        row = self._rows.first("SELECT what FROM missing WHERE folder = ?", key)
        if what != (row[0] if row else ""):
            self._rows.run("DELETE FROM missing WHERE folder = ?", key)
            if what:
                self._rows.run("INSERT INTO missing VALUES (?, ?)", key, what)

    def missing(self) -> dict[Path, str]:
        """Return the folders of packages that are not whole because files could not be had or written, with these."""
        rows = self._rows.all("SELECT folder, what FROM missing")
        return {Path(os.fsdecode(folder)): what for folder, what in rows}

    def put_chosen(self, folder: Path, subset: str) -> None:
        """Record that the package in a folder was chosen by a subset that has it, or, with "", by its name."""
        if self.chosen(folder).get(subset) != "":
            self._rows.run("INSERT OR REPLACE INTO chosen VALUES (?, ?, '')", os.fsencode(folder), subset)

    def chosen(self, folder: Path) -> dict[str, str]:
        """Return the subsets that the package in a folder was chosen by, each with the release that lacks it, or ""."""
        rows = self._rows.all("SELECT subset, gone FROM chosen WHERE folder = ?", os.fsencode(folder))
        return dict(rows)

    def put_gone(self, folder: Path, subset: str, release: str, *, everywhere: bool) -> None:
        """Record that a subset of a release lacks the package in a folder; `everywhere`: and so do all others."""
        key = os.fsencode(folder)
        with self._rows.transaction():
            self._rows.run("INSERT OR REPLACE INTO chosen VALUES (?, ?, ?)", key, subset, release)
            if everywhere:
                self._rows.run("UPDATE chosen SET gone = ? WHERE folder = ?", release, key)

    def dropped(self) -> dict[Path, tuple[str, str]]:
        """Return the folders of packages that no subset has that chose them: one of these, and the release."""
        rows = self._rows.all("SELECT folder, max(subset), max(gone), min(gone) FROM chosen GROUP BY folder")
        return {Path(os.fsdecode(folder)): (subset, gone) for folder, subset, gone, least in rows if least}

    def forget_folder(self, folder: Path) -> None:
        """Remove what is recorded of a folder and of the files in it, which are gone."""
        key = os.fsencode(folder)
        with self._rows.transaction():
            for table in ("folders", "origins", "missing", "chosen"):
                self._rows.run(f"DELETE FROM {table} WHERE folder = ?", key)  # noqa: S608  # constant names
            self._rows.run("DELETE FROM files WHERE path >= ? AND path < ?", _inside(folder), _after(folder))

    def belongs(self, folder: PackageFolder, same: Mapping[Path, str]) -> None:
        """Record the folder, and that its files with the hashes of `same` are of its snapshot too."""
        rows = [row for row in self.files(folder.folder) if row.snapshot != folder.snapshot]
        mine = [row for row in rows if same.get(row.path) == row.blake3]
        with self._rows.transaction():
            self.put_folder(folder)
            self._rows.run_many(
                "UPDATE files SET snapshot = ?, package = ? WHERE path = ?",
                ((folder.snapshot, folder.package, os.fsencode(row.path)) for row in mine),
            )

    def _add_folders(self) -> None:
        """Find the folders of files that a version without such rows recorded."""
        if self._rows.first("SELECT 1 FROM folders") or not self._rows.first("SELECT 1 FROM files"):
            return
        snapshots: dict[tuple[Path, str], set[str]] = {}
        for row in self.files():
            folder = _folder_of(row)
            if folder is not None:
                snapshots.setdefault((folder, row.package), set()).add(row.snapshot)
        for (folder, package), found in snapshots.items():
            several = folder.name.startswith(_HF_CACHE)
            snapshot = None if several else found.pop() if len(found) == 1 else ""
            self.put_folder(PackageFolder(folder=folder, package=package, snapshot=snapshot, files=0))


_Key = tuple[int, int]
"""Device and number of a folder."""


class Neighbours:
    """The folders of packages, of earlier runs by the ledger and of this one: none may be inside another one.

    Folders are compared as the disk knows them, by device and number, so that a link, a name in another case or a
    second mount of a disk leads to the same answer.

    `folds`: the disk takes names that differ in case alone for one.
    """

    def __init__(self, ledger: Ledger, *, folds: bool) -> None:
        self._ledger = ledger
        self.folds = folds
        self._there: dict[_Key, PackageFolder] = {}
        self._above: dict[_Key, list[PackageFolder]] = {}
        self._claimed: dict[str, str] = {}
        self._claimed_above: dict[str, str] = {}
        for found in ledger.folders():
            keys = _keys(Path(os.path.realpath(found.folder)))
            if (own := next(keys, None)) is not None and _key(found.folder) == own:
                self._there[own] = found
                for key in keys:
                    self._above.setdefault(key, []).append(found)

    def claim(self, real: str, folder: Path, package: str) -> None:
        """Reserve `folder`, which is `real` without links, for a package.

        Raises:
            StoreError: it is inside the folder of another package, or around it, or is that folder.
        """
        name, above = self._names(real)
        self._refuse_claimed(name, above, folder, package)
        if self._there:
            self._refuse_earlier(Path(real), folder, package)
        self._claimed[name] = package
        for place in above:
            if place in self._claimed_above:
                break  # and so are all above it
            self._claimed_above[place] = package

    def _refuse_claimed(self, name: str, above: list[str], folder: Path, package: str) -> None:
        other = next((self._claimed[place] for place in above if place in self._claimed), None)
        other = other or self._claimed_above.get(name)
        if other is None and self._claimed.get(name, package) != package:
            other = self._claimed[name]
        if other is not None:
            raise _nested(package, folder, other, "which this run lays out")

    def _refuse_earlier(self, real: Path, folder: Path, package: str) -> None:
        for place, key in ((place, _key(place)) for place in (real, *real.parents)):
            found = self._there.get(key) if key else None
            if found is not None and (place != real or found.package != package) and self._is_there(found):
                raise _nested(package, folder, found.package, f"which is in `{found.folder}`")
        key = _key(real)
        inner = next(filter(self._is_there, self._above.get(key, ()) if key else ()), None)
        if inner is not None:
            raise _nested(package, folder, inner.package, f"which is in `{inner.folder}`")

    def _is_there(self, found: PackageFolder) -> bool:
        return any(os.path.lexists(file.path) for file in self._ledger.files(found.folder))

    def _names(self, real: str) -> tuple[str, list[str]]:
        """Return the name of a folder and those above it, innermost first, as the disk compares them."""
        name = real.casefold() if self.folds else real
        above: list[str] = []
        end = name.rfind("/")
        while end > 0:
            above.append(name[:end])
            end = name.rfind("/", 0, end)
        return name, above


_HF_CACHE = "models--"


def _folder_of(row: LaidOut) -> Path | None:
    """Return the outermost folder of `row.path` that has the name of its package, in either layout."""
    hub, _, name = row.package.partition(":")
    ends = ((hub, *name.split("/")), ("--".join((_HF_CACHE[:-2], *name.split("/"))),))
    parents = reversed(row.path.parents)
    return next((folder for folder in parents if any(folder.parts[-len(end) :] == end for end in ends)), None)


def _opened(text: str | None) -> Opened | None:
    """Return the release of a folder; None where it is not recorded, or as another version wrote it."""
    with suppress(ValueError, RecursionError):
        return None if text is None else decode_json(text, Opened)
    return None


def _laid_out(row: tuple[Any, ...]) -> LaidOut:
    path, size, mtime_ns, blake3, package, snapshot = row
    return LaidOut(
        path=Path(os.fsdecode(path)), size=size, mtime_ns=mtime_ns, blake3=blake3, package=package, snapshot=snapshot
    )


def _inside(folder: Path) -> bytes:
    return os.fsencode(folder).rstrip(b"/") + b"/"


def _after(folder: Path) -> bytes:
    return os.fsencode(folder).rstrip(b"/") + b"0"  # what follows a slash


def _is_ours(mode: int) -> bool:
    return stat.S_ISREG(mode) or stat.S_ISLNK(mode)


def _nested(package: str, folder: Path, other: str, where: str) -> StoreError:
    return StoreError(
        f"`{package}` is not laid out in `{folder}`: one of this folder and that of `{other}`, {where}, is inside the"
        " other; lay it out elsewhere with `--to`",
        hint="lay it out elsewhere with `--to`",
    )


def _keys(real: Path) -> Iterator[_Key]:
    return (key for place in (real, *real.parents) if (key := _key(place)) is not None)


def _key(place: Path) -> _Key | None:
    try:
        found = place.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
