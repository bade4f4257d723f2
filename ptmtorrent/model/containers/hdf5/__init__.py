"""Finds the datasets of an HDF5 file: contiguous ones, and the chunks of those that are not compressed.

::

    superblock > object header of the root group > links > object header of a dataset > dataspace, datatype, layout

In goes a `ByteSource`; out come tensors, named by their path in the file, a chunk each where a dataset has several.

Order of reading: `blocks` (bounded reads of structures), `headers` (an object and its messages), `datasets` (messages
to dtype, shape and position), `chunks` (their indexes), `groups` (links, old and new), `heaps` (names of many links),
`walk` (from the superblock down).

Addresses and lengths have 8 bytes, as every library of the last decades writes them. Datasets that are compressed,
external, virtual or indexed by structures of resizable ones are passed over.

Source: HDF5 File Format Specification, version 3.0.
"""

from ptmtorrent.model.containers.hdf5.walk import MAGIC, read_hdf5

__all__ = ["MAGIC", "read_hdf5"]
