"""The store's index: the pack and offset of every object, the files that are known, and the captures.

::

    file (SQLite: tables, transactions)
    run_format (bytes) -> run (mapped, searched) -> run_writer (from rows, or merged) -> runs (list, flush, merge)
    runs (columns: many objects at once) -> objects -> known_files -> index (sketches, captures)

It is derived data: everything in it but the sketches can be rebuilt from the packs. Most objects lie in runs:
immutable files in `index/`, sorted by id, merged in levels (docs/formats/store-index.md). SQLite, in WAL mode, lists
the runs, and has what changes: packs, open parts, the newest objects, files, captures, sketches. A commit appends.

The invariant: a run is durable before SQLite lists it, and is removed after SQLite no longer does. Not thread-safe:
the store calls it under its lock.
"""

from ptmtorrent.store.index.index import Index, open_index
from ptmtorrent.store.index.run import Found
from ptmtorrent.store.index.runs import STAGED_ROWS

__all__ = ["STAGED_ROWS", "Found", "Index", "open_index"]
