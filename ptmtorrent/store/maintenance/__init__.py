"""Engines of maintenance: what `workflows/maintain` calls to check, repair, count and delete.

::

    check    quick_check (index, sizes, footers) -> verify_pack (every byte)
    repair   verify_pack -> pack_draft (a copy, patched until it hashes to its name) -> salvage
    gc       references (which objects are needed) -> gc_marks (since when a pack is not)

A pack and what is expected of it come in; damage, named by region and object, or a repaired pack comes out.
`salvage` works on an open `Store`; the other files do not import it, because recovery uses `verify_pack` too.

The invariant: a pack file is never changed in place. A repaired copy replaces it only when it hashes to its name.
"""
