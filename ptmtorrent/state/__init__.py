"""The state of a home besides its store: SQLite files that a run leaves for the next one.

::

    clone_journal    what each clone has listed, planned and done; `clone_outcomes`: how each package ended last
    laid_out         the ledger of files that fetches wrote; no package inside the folder of another one
    rate_windows     the request windows of hubs
    upstream_flags   changes upstream to captured packages
    places           the folders that local packages were captured from
    release_state    what is known of the packages of the newest release
    verified_files   files of channels that were read whole and verified

Each file has one owner and is opened through `disk.database`; `clone_outcomes` has tables in the file of the journal.

Invariant: losing a file costs only time, requests or a warning. The store is the only record of what is captured.
"""
