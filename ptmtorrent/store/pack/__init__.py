"""The pack format: encoded objects go in, an immutable file that is named by its hash comes out.

::

    format (bytes) -> writer (a part grows, is sealed) -> hashes (stored beside the index)
                   -> reader (by footer, or by forward scan)

`format` is pure: bytes in, bytes out (docs/formats/pack.md); its classes say which objects may share a pack. `hashes`
computes all hashes of a pack in one pass, and stores them.

The invariant: a part only grows by whole records, and a sealed pack never changes. A reader needs nothing but the file.
"""
