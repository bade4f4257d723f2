"""The port a hub plugs into: list, describe, files, locate. One fetch engine serves all of them.

An adapter translates once, at the border: foreign records become these, foreign exceptions become
`HubError`, `RateLimited`, `AuthError` or `NotFound`. It never retries and never sleeps.
"""

import posixpath
import re
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

import msgspec

from ptmtorrent.facts.licences import choose_evidence, licence_in_files, limit_of, stating
from ptmtorrent.hubs.client.session import Session
from ptmtorrent.model.ids import check_paths, may_be_written, show_path
from ptmtorrent.model.manifest import LINK_MODE, REGULAR_MODE, FileSource, Identity, MissingReason, stays_inside

MAX_FILES = 100_000
"""Limit of files in a package, which is above what fits in a manifest (16 MiB, at least 280 bytes a file)."""

NewSession = Callable[..., Session]
"""Returns a session of the run, with the stop, the budgets and the callback of the run besides the given fields."""

_NAMING = re.compile(r"sha256:[0-9a-f]{64}|git:[0-9a-f]{40}")


class Found(msgspec.Struct, frozen=True):
    """A fact that was read in the files of a package: the field of the uniform record, its value and its source."""

    field: str
    value: str | tuple[str, ...]
    source: str


class Listed(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One package as the hub's listing shows it. `raw` is the hub's own record, byte for byte JSON.

    `access` is `public`, `gated`, `private`, `disabled`, or `gone` for a name asked for that the hub does not have,
    `hidden` where the hub does not say whether it has it, and `unreadable` if the record cannot be read; counts the hub
    did not give are None. Several licences are joined with ` AND `; with `licence_in_files` the licence is what the
    files of the commit state, known once the package is described. A package that was asked for by a name it had before
    says which, in `formerly`. A hub that has no commits before it reads all files may give a `stamp`, which changes
    with whatever they may have changed by.
    `place` is the real path of a local folder: another one of the same name is another package. `found` are facts that
    the files of the package state, known once it is described; they take precedence over those in `raw`.
    """

    name: str
    access: str = "public"
    commit: str | None = None
    hub_id: str | None = None
    author: str | None = None
    author_id: str | None = None
    downloads: int | None = None
    likes: int | None = None
    licence: str | None = None
    licence_in_files: bool = False
    task: str | None = None
    library: str | None = None
    tags: tuple[str, ...] = ()
    modified: str | None = None
    raw: str = ""
    formerly: str | None = None
    stamp: str | None = None
    place: str | None = None
    found: tuple[Found, ...] = ()


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """One page of a listing. `cursor` continues it in another process; None ends it."""

    packages: tuple[Listed, ...]
    cursor: str | None


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """What to list. `min_downloads` lets a hub that can sort stop early; `ids` names packages outright.

    With `files`, records say what the hub can say of the files of a package in a listing, for `Hub.foresee`.
    """

    ids: tuple[str, ...] = ()
    min_downloads: int | None = None
    limit: int | None = None
    files: bool = False


class Foreseen(msgspec.Struct, frozen=True, kw_only=True):
    """What a listing says of the files of a package, None for what it does not say.

    `calls` are the requests that asking the hub for the files takes; None if that is not known.
    """

    files: int | None = None
    bytes: int | None = None
    calls: int | None = None


class HubFile(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A file the hub says a package has, with the hash it promises.

    `oid` is `sha256:<64 hex>` for LFS files, `git:<40 hex>` for git blobs, None where a hub gives no hash.
    `md5:<32 hex>` and `sha256-prefix:<8 to 63 hex>` are checked as well, but say too little to name bytes by.
    `link` is where a symbolic link (mode 120000) leads; its bytes are that text. With `answer` the bytes are no file of
    the package but something the hub says of it, kept under that name; `path` is then one that no package can have.
    `xet` is the file's name in Xet storage, if it is there. With `missing` the hub knows that the file cannot be had,
    and it is not requested.
    """

    path: str
    size: int | None
    oid: str | None
    source: FileSource
    mode: int = 0o100644
    link: str | None = None
    answer: str | None = None
    xet: str | None = None
    missing: MissingReason | None = None

    @property
    def name_of_bytes(self) -> str | None:
        """The oid when it names these bytes and no others: then one download serves all who want them."""
        return self.oid if self.oid is not None and _NAMING.fullmatch(self.oid) else None


def set_aside_unsafe(files: Sequence[HubFile]) -> list[HubFile]:
    """Return the files of a package; those with a name that no reader would write, such as `.git/config`, are missing.

    Raises:
        IntegrityError: a path is not allowed in a manifest, or occurs twice.
    """
    safe = [may_be_written(file.path) for file in files]
    check_paths(
        (file.path for file, fine in zip(files, safe, strict=True) if fine),
        (file.path for file, fine in zip(files, safe, strict=True) if not fine),
    )
    unsafe = partial(msgspec.structs.replace, missing="unsafe-name", link=None)
    return [file if fine else unsafe(file) for file, fine in zip(files, safe, strict=True)]


def mode_and_link(path: str, mode: int, text: bytes | None) -> tuple[int, str | None]:
    """Return what to say of the file at `path`, whose link's `text` is given if it is one and that is not too long.

    A link that leads out of its package, or to a name that is not UTF-8, is an ordinary file whose bytes are its text.
    """
    if mode != LINK_MODE:
        return mode, None
    try:
        target = (text or b"").decode()
    except UnicodeDecodeError:
        return REGULAR_MODE, None
    return (LINK_MODE, target) if stays_inside(path, target) else (REGULAR_MODE, None)


class Described(msgspec.Struct, frozen=True, kw_only=True):
    """A package pinned to a commit. `answers` are the hub's own documents to keep, by name, byte for byte."""

    identity: Identity
    listed: Listed
    answers: tuple[tuple[str, bytes], ...]


class Located(msgspec.Struct, frozen=True, kw_only=True):
    """Where the bytes of a file are now. Asked for again when a request answers 401 or 403, or after `expires`.

    `headers` go to the origin of `url` alone. `budget` is the class of request the hub counts this as. With `path` the
    bytes are a local file already, with `pieces` they come from this process, from the first on: nothing is requested.
    `ranged` gives them from any on by another protocol; where it fails, or gave wrong ones, `url` is asked.
    `alternates` are tried in order, without `headers`, when the file cannot be had from `url`. `failed` is why no
    better place than `url` is given, in case that fails too. `elsewhere` says that a package names `url`, on a host
    that is not the hub's: if that cannot be reached, it costs this file and says nothing of the hub.
    """

    url: str = ""
    path: Path | None = None
    pieces: Callable[[], Generator[bytes]] | None = None
    ranged: Callable[[int], Generator[bytes]] | None = None
    headers: dict[str, str] = {}
    alternates: tuple[str, ...] = ()
    failed: str = ""
    expires: datetime | None = None
    budget: str = ""
    elsewhere: bool = False


InPlace = Callable[["Described", HubFile], Path | None]
"""Returns where a file of a package lies on this machine; None for bytes that lie nowhere, as those of a link.

A hub with such files has this as its method `place`.
"""


class Hub(Protocol):
    """What every hub can do.

    `endpoint` tells two hubs of one kind apart; `session` is what the engine downloads with, so that everything spends
    from the same budgets. All methods may raise `HubError` and its kin, `AuthError`, `NotFound`, `IntegrityError` for
    a path no manifest may hold, and nothing else.
    """

    name: str
    prefix: str
    endpoint: str
    session: Session

    @property
    def quotas(self) -> Mapping[str, tuple[int, int]]:
        """The requests that the hub documents, per how many seconds, by class; its replies may state others."""
        ...

    def listing(self, query: Query, cursor: str | None) -> Iterator[Page]:
        """Yield pages from `cursor` on, most popular first where the hub knows popularity.

        Another process may go on with the cursor of any page. Packages no query asks for may be among them.
        """
        ...

    def foresee(self, listed: Listed) -> Foreseen:
        """Return what the listing says of the files of a package. Sends no request.

        Raises the error of `describe` if the listing shows already that the package cannot be had.
        """
        ...

    def describe(self, listed: Listed) -> Described:
        """Pin the package to a commit."""
        ...

    def files(self, described: Described) -> tuple[list[HubFile], tuple[tuple[str, bytes], ...]]:
        """Return every file at the pinned commit, and the hub's answers that said so."""
        ...

    def locate(self, described: Described, file: HubFile) -> Located:
        """Return where to get `file` from now."""
        ...

    def release(self, described: Described) -> None:
        """Drop what is kept on this machine for the package alone: it is captured, or given up for this run."""
        ...

    def close(self) -> None:
        """End what runs for this hub, and close its connections; it is of no use afterwards."""
        ...


UNDOCUMENTED: Mapping[str, tuple[int, int]] = MappingProxyType({})
"""The quotas of a hub that documents none."""

MakeHub = Callable[[NewSession], Hub]
"""Returns an adapter whose session is made by the given function."""


Read = Callable[[HubFile], bytes | None]
"""Returns all bytes of a file of at most `limit_of` bytes, or None if they cannot be had before the download."""


def with_licence(listed: Listed, files: Sequence[HubFile], read: Read) -> Listed:
    """Return `listed` with the licence that its cards and licence texts state, unless the hub states one."""
    rows = {file.path: file for file in files if file.answer is None}
    chosen, more = choose_evidence(rows)
    read_files = {} if listed.licence else {path: _read(rows, path, read) for path in chosen}
    licence = licence_in_files(read_files, more=more)
    found = listed.found
    if licence is not None:
        source = ", ".join(f"files/{show_path(path)}" for path in stating(read_files))
        found = (*found, Found("licence", licence, source))
    return msgspec.structs.replace(listed, licence=listed.licence or licence, licence_in_files=False, found=found)


def _read(rows: dict[str, HubFile], path: str, read: Read) -> bytes | None:
    """Return the bytes of a file, or of the file that a link leads to."""
    file = rows[path]
    if file.link is not None:
        target = rows.get(posixpath.normpath(posixpath.join(posixpath.dirname(path), file.link)))
        if target is None or target.link is not None:
            return None
        file = target
    if file.size is None or file.size > limit_of(path):
        return None
    return read(file)
