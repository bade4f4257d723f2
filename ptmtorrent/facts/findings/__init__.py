"""What the files of a package do when they are loaded, found without loading them.

In goes a `ByteSource` for each file; out come findings (`model/findings.py`). Formats are recognised by content.

Order of reading: `found` (what a rule gives, and the bounds), `sniff` (what a file is); then what is read: `pickles`
with `names` (globals and what they are known for), `archives`, `headers` (GGUF, ONNX, Keras, safetensors, numpy),
`templates`, `code`; `corroborate` (scanners of other projects), `scan` (all of it over a package); `child` (the process
in which all of that runs) and `scanner` (starts it, feeds it, and stops it).

Invariant: nothing of a package is imported, unpickled, rendered or executed. The child reads files only through its
pipe, has no network, writes nothing, and ends when it exceeds its time or memory, which is itself a finding.
"""
