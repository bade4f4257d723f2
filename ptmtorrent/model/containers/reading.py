"""Reads a header of unknown length from front to back, a window at a time; missing bytes raise `NotThisFormat`."""

import struct
from typing import Any, Literal

from ptmtorrent.model.containers.source import ByteSource, NotThisFormat

WINDOW_BYTES = 64 << 10
_VARINT_BYTES = 10
_LENGTHS = {
    ("little", 8): struct.Struct("<Q"),
    ("big", 8): struct.Struct(">Q"),
    ("little", 4): struct.Struct("<I"),
    ("big", 4): struct.Struct(">I"),
}


class Reader:
    """A cursor in bytes `start` to `end` of a source. Nothing beyond `end` is ever read.

    Integers have the byte order `order`, which may be set at any time.
    """

    def __init__(self, source: ByteSource, start: int, end: int, window: int = WINDOW_BYTES) -> None:
        self.at = start
        self.end = end
        self.order: Literal["little", "big"] = "little"
        self._source = source
        self._window = window
        self._held = b""
        self._held_at = start

    def take(self, length: int) -> bytes:
        """Return the next `length` bytes.

        Raises:
            NotThisFormat: there are fewer.
        """
        start = self.at - self._held_at
        if not 0 <= start <= len(self._held) - length:
            self._fill(length)
            start = 0
        self.at += length
        return self._held[start : start + length]

    def skip(self, length: int) -> None:
        """Advance by `length` bytes without reading them.

        Raises:
            NotThisFormat: there are fewer.
        """
        if length > self.end - self.at:
            raise NotThisFormat
        self.at += length

    def skip_texts(self, count: int, width: int = 8) -> None:
        """Advance by `count` texts, each behind its length in `width` bytes: a vocabulary has millions.

        Raises:
            NotThisFormat: there are fewer.
        """
        form = _LENGTHS[self.order, width]
        while count:
            start = self.at - self._held_at
            if not 0 <= start <= len(self._held) - width:
                self._fill(width)
                start = 0
            last = len(self._held) - width
            while count and start <= last:
                start += width + form.unpack_from(self._held, start)[0]
                count -= 1
            self.at = self._held_at + start
            if self.at > self.end:
                raise NotThisFormat

    def u32(self) -> int:
        """Return an integer of 4 bytes."""
        return int.from_bytes(self.take(4), self.order)

    def u64(self) -> int:
        """Return an integer of 8 bytes."""
        return int.from_bytes(self.take(8), self.order)

    def unsigned(self, width: int) -> int:
        """Return an integer of `width` bytes."""
        return int.from_bytes(self.take(width), self.order)

    def fields(self, form: struct.Struct) -> tuple[Any, ...]:
        """Return the fields of a fixed layout."""
        return form.unpack(self.take(form.size))

    def varint(self) -> int:
        """Return a protobuf varint: at most 64 bits, seven per byte, least significant first.

        Raises:
            NotThisFormat: it is longer than 10 bytes.
        """
        value = 0
        for shift in range(0, 7 * _VARINT_BYTES, 7):
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value & 0xFFFF_FFFF_FFFF_FFFF
        raise NotThisFormat

    def _fill(self, length: int) -> None:
        if length > self.end - self.at:
            raise NotThisFormat
        self._held = self._source.read(self.at, min(max(length, self._window), self.end - self.at))
        self._held_at = self.at
        if len(self._held) < length:
            raise NotThisFormat
