"""Ingest: a file comes in, its objects go to open packs, and a `StoredFile` comes out.

::

    files (open, hash, check) -> encode_pool (read and encode in parallel) -> encoder -> writer -> pending -> index
                                                                                  delta_base <- similarity

`files` compares a file with its listed hash. `encode_pool` bounds the pieces in memory and keeps file order.
`encoder` stores an object by itself or as a delta; `delta_base` finds its base, `similarity` makes the sketches for
that. `writer` owns the open parts of one process, `pending` the index rows that are not durable yet.

The invariant: nothing is stored of a file that fails its check, and a commit makes parts durable before index rows.
"""
