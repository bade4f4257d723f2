"""The disk: durable writes, locks, files that are being received, and SQLite databases.

::

    durable -> locks, partial, database, elapsed

`durable` writes, renames and syncs files. `locks` grants one process, or several, the right to write below a folder.
`partial` writes a file that a later run can continue. `database` opens SQLite files. `elapsed` tells how
long a file has been abandoned. Every other package writes files through this one.

Invariants: a name appears only after its bytes are durable, and an `OSError` or SQLite error leaves this package as
`NoSpace` or `StoreError`.
"""
