"""Text as a stream can show it: one line a cell, without control characters, in the stream's encoding."""

import re
from typing import TextIO

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def escape(text: str, *, keep: str = "") -> str:
    """Return `text` with its control characters written as escapes, except those in `keep`."""
    return _CONTROL.sub(lambda found: found[0] if found[0] in keep else ascii(found[0])[1:-1], text)


def printable(text: str, stream: TextIO) -> str:
    """Return `text` as `stream` can encode it: surrogates and characters its encoding lacks become escapes."""
    encoding = stream.encoding or "utf-8"
    return text.encode(encoding, errors="backslashreplace").decode(encoding)
