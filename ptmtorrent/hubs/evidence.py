"""The licence that the files of a package state, for hubs that state none themselves (`facts/licence_files.py`)."""

import posixpath
from collections.abc import Callable, Sequence

import msgspec

from ptmtorrent.facts.licence_files import choose_evidence, licence_in_files, limit_of
from ptmtorrent.hubs.port import HubFile, Listed

Read = Callable[[HubFile], bytes | None]
"""Returns all bytes of a file of at most `limit_of` bytes, or None if they cannot be had before the download."""


def with_licence(listed: Listed, files: Sequence[HubFile], read: Read) -> Listed:
    """Return `listed` with the licence that its cards and licence texts state, unless the hub states one."""
    rows = {file.path: file for file in files if file.answer is None}
    chosen, more = choose_evidence(rows)
    found = {path: _read(rows, path, read) for path in chosen}
    licence = listed.licence or licence_in_files(found, more=more)
    return msgspec.structs.replace(listed, licence=licence, licence_in_files=False)


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
