"""Child in the environment of the peers: what codecs without a program of their own do with each file of a folder.

usage: python codec_peer.py glyd|zipnn compress|decompress FROM TO
"""

import sys
from pathlib import Path
from typing import Any


def codec(name: str) -> tuple[Any, Any]:
    """Return the functions that compress and decompress bytes."""
    if name == "glyd":
        import glyd

        return (lambda data: glyd.compress(data, level="max")), glyd.decompress
    from zipnn import ZipNN

    own = ZipNN(input_format="byte", bytearray_dtype="bfloat16", threads=2)
    return own.compress, own.decompress


def main() -> None:
    """Run the command line."""
    name, verb, source, target = sys.argv[1:]
    work = codec(name)[verb == "decompress"]
    for path in sorted(Path(source).iterdir()):
        (Path(target) / path.name).write_bytes(work(path.read_bytes()))


if __name__ == "__main__":
    main()
