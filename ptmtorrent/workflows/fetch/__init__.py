"""Fetch: from a verified release to packages on disk, every byte checked before it is visible.

::

    select -> reuse -> plan -> disk_space -> transfer (reading/) -> assemble -> report -> package_folders

`fetch` is the verb; `run` is one run of it and reads from left to right. `select` turns members of the release into
files to write, `reuse` finds objects that are available locally, `disk_space` refuses what would not fit. The run
consumes the objects that `reading.transfer` yields: `assemble` writes them into files and names each file once its
whole hash is right, `report` report every package. `package_folders` keeps one package out of another, and older
snapshots out of newer ones. Only `assemble` changes an `Assembly`.
"""
