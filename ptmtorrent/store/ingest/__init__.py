"""Ingest: a file comes in, its objects go to open packs, and a `StoredFile` comes out.

::

    files (open, hash, check) -> encode_pool (read and encode in parallel) -> writer -> index
                                     delta_base

`files` compares a file with its listed hash. `encode_pool` bounds the pieces in memory, keeps file order, and encodes
an object by itself or as a delta, whose base `delta_base` finds by key or sketch. `writer` owns the open parts of one
process, and the index rows that are not durable yet.

The invariant: nothing is stored of a file that fails its check, and a commit makes parts durable before index rows.
"""
