"""Reads the sorted table that LevelDB and TensorFlow write.

::

    blocks | index block | footer: handles, padded to 40 bytes, magic
    block: (shared varint, rest varint, value varint, rest of the key, value) ... | restarts u32 ... | count u32
           and behind it: compression u8, checksum u32

Source: LevelDB, `doc/table_format.md`. Compressed blocks are refused: TensorFlow writes none.
"""

from collections.abc import Iterator

from ptmtorrent.model.containers.protobuf import read_varint
from ptmtorrent.model.containers.source import MAX_NAMED, ByteSource, NotThisFormat

MAGIC = (0xDB4775248B80FB57).to_bytes(8, "little")
FOOTER_BYTES = 48
MAX_TABLE_BYTES = 16 << 20
MAX_KEY_BYTES = 4096
_TRAILER_BYTES = 5

_Handle = tuple[int, int]


def read_sstable(source: ByteSource) -> Iterator[tuple[bytes, bytes]]:
    """Yield keys and values in the order of the table.

    Raises:
        NotThisFormat: malformed, compressed, or more than 16 MiB or 100,000 rows.
    """
    if not FOOTER_BYTES <= source.size <= MAX_TABLE_BYTES:
        raise NotThisFormat
    footer = source.read(source.size - FOOTER_BYTES, FOOTER_BYTES)
    if not footer.endswith(MAGIC):
        raise NotThisFormat
    _, at = _handle(footer, 0)
    index, _ = _handle(footer, at)
    rows, total = 0, 0
    for _, value in _rows(_block(source, index)):
        handle, _ = _handle(value, 0)
        total += handle[1]
        if total > MAX_TABLE_BYTES:
            raise NotThisFormat
        for row in _rows(_block(source, handle)):
            rows += 1
            if rows > MAX_NAMED:
                raise NotThisFormat
            yield row


def _handle(data: bytes, at: int) -> tuple[_Handle, int]:
    offset, at = read_varint(data, at)
    length, at = read_varint(data, at)
    return (offset, length), at


def _block(source: ByteSource, handle: _Handle) -> bytes:
    offset, length = handle
    if offset + length + _TRAILER_BYTES > source.size:
        raise NotThisFormat
    data = source.read(offset, length + 1)
    if len(data) != length + 1 or data[-1]:
        raise NotThisFormat
    return data[:-1]


def _rows(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    if len(block) < 4:
        raise NotThisFormat
    end = len(block) - 4 - 4 * int.from_bytes(block[-4:], "little")
    key, at = b"", 0
    while at < end:
        shared, at = read_varint(block, at)
        rest, at = read_varint(block, at)
        length, at = read_varint(block, at)
        if shared > len(key) or shared + rest > MAX_KEY_BYTES or at + rest + length > end:
            raise NotThisFormat
        key = key[:shared] + block[at : at + rest]
        at += rest
        yield key, block[at : at + length]
        at += length
