"""Recovery of the store: bring index, packs and unsealed parts into agreement.

::

    open for writing   recover -> reopen (unsealed parts) -> recheck (objects) -> quarantine (damaged parts)
                               -> reindex (packs that the index does not list)
    rebuild the index  recover -> reindex (forward scan of all packs)
    adopt a pack       import_pack (verify, move, index)

A store folder in any state that a crash can leave comes in; an index that agrees with the packs, and parts that a
writer can continue, come out. `recover` runs when the first writer opens the store. `import_pack` takes in a pack from
a channel.

The invariant: sealed packs are only read. Nothing that was committed is deleted: a damaged part moves to `damaged/`
after its whole objects are durable in a new part.
"""
