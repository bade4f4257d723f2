"""The store: files and objects go in, packs come out, and every object that is read back is verified.

::

    file -> ingest/ (cutters/ -> codecs/) -> pack/writer -> sealed pack -> index
    object <- pack/reader <- index

`store` is the interface to all of it, `stored` the part of it that reads. `pack/` is the format; `cutters/` split a
file into objects, `codecs/` encode them, and `ingest/` runs both in parallel. `index/` maps objects to packs and is
private to the store; `contents` is the view of it for maintenance, `lookup` finds many objects at once. `recovery/`
brings index and packs into agreement, `maintenance/` verifies, repairs and salvages packs, `foresight` tells what a
store that is not opened for writing would lose. `stored_file` describes a stored file and reads it as one source.
Imports go downwards: maintenance, store, stored, ingest, recovery, index, pack, codecs.

The invariant: packs hold everything, the index can be rebuilt from them. Bytes are durable before their hashes, and
hashes before the index, so that whatever the index lists can be read.
"""
