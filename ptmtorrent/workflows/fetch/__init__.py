"""Fetch: from a verified release to packages on disk, every byte checked before it is visible.

::

    select -> reuse -> plan -> disk_space -> transfer (reading/) -> assemble -> report

`fetch` is the verb and its run, which reads from left to right. `select` turns members of the release into
rows of packages, files and objects, and keeps the manifests; a file becomes a value, its `Assembly`, while it is
written. `reuse` finds objects that are available locally, `disk_space` refuses what would not fit, and clears at the
end what this fetch and those of other snapshots left. The run consumes the objects that `reading.transfer` yields:
`assemble` writes them into files, verifies these, makes groups of them durable and names them; `report` enters them
into the ledger and reports every package. Only `assemble` changes an `Assembly`, the value of `assembly`.
"""
