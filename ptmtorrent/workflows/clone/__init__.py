"""Clone: from a hub's listing to snapshots in the store.

::

    list -> plan -> known (order) -> outcomes (lease) -> download_queue -> store_queue -> manifest -> outcomes

`clone` is the verb; a dry run is an `estimate` from the listing, unless it is exact. `list` freezes the listing and
`plan` asks the hub for the files of each package; both are kept in the clone journal. `capture_loop` takes leased
packages, downloads what the store lacks (`download_queue`, parts in the spool), stores it and commits it in groups
(`store_queue`), writes manifest and capture (`manifest`) and records the package (`outcomes`).
`known` is what the store holds already and from which local folders, and which of its files a file is likely a later
version of, `upstream_changes` what became of it upstream, `cluster/` the same loop on the workers of a cluster.

A crash is survived by the write order: objects, manifest, capture, commit of the store, rows of the journal, and only
then are parts deleted from the spool.
"""
