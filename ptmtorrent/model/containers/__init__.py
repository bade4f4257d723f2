"""Parsers of the files that hold weights: names, dtypes, shapes, positions and byte order of their tensors.

In goes a `ByteSource`; out come `Tensor` values. A format is recognised by its content, never by a name. Nothing is
imported, called or evaluated that a file names, and no numbers are read. The cutters use these parsers; so may whatever
else wants to know what is in a file.

Order of reading: `source` (what all take and give) and `reading` (a cursor over a header), `dtypes`; then one format:
`safetensors`, `gguf`, `npy`, `zip_directory` with `torch_zip` over `torch_pickle`, `onnx_fields`.

Invariants: a parser reads a bounded part of a file, in memory that has a bound whatever the file says, and raises
nothing but `NotThisFormat`. Offsets and lengths that it returns may lie outside the file: the caller checks.
"""
