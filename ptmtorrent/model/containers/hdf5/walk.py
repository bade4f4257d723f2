r"""Walks from the superblock of an HDF5 file down to its datasets.

::

    "\x89HDF\r\n\x1a\n" | version | ... | base address u64 | ... | root group
"""

from collections.abc import Iterator

from ptmtorrent.model.containers.hdf5.blocks import Blocks, number
from ptmtorrent.model.containers.hdf5.datasets import tensors_of
from ptmtorrent.model.containers.hdf5.groups import links_of
from ptmtorrent.model.containers.hdf5.headers import read_messages
from ptmtorrent.model.containers.source import MAX_NAMED, ByteSource, NotThisFormat, Tensor

MAGIC = b"\x89HDF\r\n\x1a\n"
MAX_PATH_BYTES = 4096
_SUPERBLOCK_BYTES = 96
_WIDTHS = b"\x08\x08"


def read_hdf5(source: ByteSource) -> Iterator[Tensor]:
    """Yield the datasets, in the order of the groups.

    Raises:
        NotThisFormat: a damaged structure, or more of them than the bounds allow.
    """
    blocks = Blocks(source)
    todo = [("", _root(blocks))]
    seen = {todo[0][1]}
    tensors = 0
    while todo:
        path, address = todo.pop()
        messages = list(read_messages(blocks, address))
        for tensor in tensors_of(blocks, path, messages):
            tensors += 1
            if tensors > MAX_NAMED:
                raise NotThisFormat
            yield tensor
        for name, child in links_of(blocks, messages):
            if child in seen:  # a second name, or a circle
                continue
            seen.add(child)
            inner = f"{path}/{name}" if path else name
            if len(seen) > MAX_NAMED or len(inner) > MAX_PATH_BYTES:
                raise NotThisFormat
            todo.append((inner, child))


def _root(blocks: Blocks) -> int:
    """Return the address of the root group's object header."""
    head = blocks.signed(0, MAGIC, min(_SUPERBLOCK_BYTES, blocks.size))
    version = number(head, 8, 1)
    if version in {0, 1} and head[13:15] == _WIDTHS:
        base = 24 if version == 0 else 28
        root = number(head, base + 40)
    elif version in {2, 3} and head[9:11] == _WIDTHS:
        base, root = 12, number(head, 36)
    else:
        raise NotThisFormat
    if number(head, base):
        raise NotThisFormat
    return root
