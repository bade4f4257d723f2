"""Layouts: where the files of a package are written, as a Hugging Face cache or as a plain folder.

::

    port -> folders -> hf_cache, plain_dir

In comes a manifest and one of its files; out goes a `Destination`: a path, and where the layout has one a link to it.
`port` defines the protocol, `folders` the checks of paths that already exist, `hf_cache` and `plain_dir` implement one
layout each. Layouts decide paths; the fetch workflow writes the files.

Invariant: no component of a path below the root of a layout is a symbolic link, so nothing is written elsewhere.
"""
