"""Layouts: where the files of a package are written, as a Hugging Face cache or as a plain folder.

::

    port -> folders -> hf_cache

In comes a manifest and one of its files; out goes a `Destination`: a path, and where the layout has one a link to it.
`port` defines the protocol. `folders` has the layout of plain folders and the checks of paths that already exist, and
`hf_cache` the layout of Hugging Face's cache. Layouts decide paths; the fetch workflow writes the files.

Invariant: no component of a path below the root of a layout is a symbolic link, so nothing is written elsewhere.
"""
