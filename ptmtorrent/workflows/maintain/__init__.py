"""Maintenance of the store: `info` counts, `check` inspects, `repair` restores, `gc` deletes.

::

    info    captured -> references -> counts
    check   check_index -> inspect -> released, captured, prove_commit -> report
    repair  damaged_packs (inspect) -> repair_pack (sources) -> channel_links -> salvage_pack -> fetch_lost -> report
    gc      captured, released -> references -> gc marks -> delete

Each verb takes a `Home` and emits one record per pack, part or package, then returns a summary. `info` and `check`
change nothing and run beside writers; `repair` and `gc` hold the store exclusively. `captured` reads the newest
captures and their manifests, `released` the packs of our own releases: together they define what is needed. `inspect`
examines one pack, `damaged_packs` selects those to repair, and `sources` reads their bytes from a channel.

The engines are in `store/maintenance` and `store/recovery`. The invariant: a pack gets its name only when its bytes
hash to it, and its file is deleted or moved only after the index has durably dropped it.
"""
