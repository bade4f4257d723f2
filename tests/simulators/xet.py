"""Xet storage, as far as reading goes: files are runs of chunks in xorbs, and `reconstructions` says which.

Every file is cut at fixed places into chunks that are kept as they are; a file is called what the hub calls it.
The unmodified `hf_xet` and `huggingface_hub` are its judges (tests/interop/test_odd_hub_clients.py).

Source: Xet protocol specification 1.1, "CAS API" and "Xorb format".
"""

import hashlib
import re
import time
from collections.abc import Callable, Sequence

from ptmtorrent.demo.contents import Content, InMemory
from ptmtorrent.demo.hub.exchange import Request, Response, json_response, refusal

CHUNK_BYTES = 1 << 16
XORB_CHUNKS = 16
TOKEN = "xet_sample"  # noqa: S105  # it opens generated files on this machine
TOKEN_SECONDS = 3600

_HEADER_BYTES = 8
_RANGE = re.compile(r"bytes=(\d+)-(\d*)")


class XetStore:
    """The storage; `find` gives the bytes of a file by its Xet hash.

    Its tokens are good for `seconds`; `tokens` are those that were shown to it. `flipped` turns a bit in every chunk.
    """

    def __init__(self, find: Callable[[str], Content | None]) -> None:
        self._find = find
        self.base = ""
        self.seconds = TOKEN_SECONDS
        self.tokens: set[str | None] = set()
        self.flipped = False

    def token(self) -> Response:
        """Answer the hub's `xet-read-token`."""
        until = int(time.time()) + self.seconds
        named = {"X-Xet-Cas-Url": self.base, "X-Xet-Access-Token": TOKEN, "X-Xet-Token-Expiration": str(until)}
        return json_response({"casUrl": self.base, "accessToken": TOKEN, "exp": until}, named)

    def answer(self, request: Request) -> Response:
        """Answer the storage's own address."""
        match request.parts:
            case ("v1", "reconstructions", name):
                return self._reconstruct(request, name)
            case ("xorbs", name, number):
                return Response(status=200, content=InMemory(self._xorb(name, int(number))), ranged=True)
        return refusal(404, "", "No such endpoint.")

    def _reconstruct(self, request: Request, name: str) -> Response:
        self.tokens.add(request.token)
        if request.token != TOKEN:
            return refusal(401, "", "Unauthorized")
        found = self._find(name)
        if found is None:
            return refusal(404, "", "No such file.")
        start, stop = _asked(request.range or "", found.size)
        if start >= max(1, found.size):
            return refusal(416, "", "Nothing there.")
        first, last = start // CHUNK_BYTES, max(start, stop - 1) // CHUNK_BYTES
        terms, places = [], {}
        for number in range(first // XORB_CHUNKS, last // XORB_CHUNKS + 1):
            base = number * XORB_CHUNKS
            low, high = max(first, base) - base, min(last, base + XORB_CHUNKS - 1) - base + 1
            data = _chunks(found, base + low, base + high)
            key = hashlib.sha256(f"{name} {number}".encode()).hexdigest()
            chunks = {"start": low, "end": high}
            terms.append({"hash": key, "unpacked_length": sum(map(len, data)), "range": chunks})
            before = low * (_HEADER_BYTES + CHUNK_BYTES)
            length = sum(_HEADER_BYTES + len(chunk) for chunk in data)
            where = {"start": before, "end": before + length - 1}
            places[key] = [{"range": chunks, "url": f"{self.base}/xorbs/{name}/{number}", "url_range": where}]
        return json_response(
            {"offset_into_first_range": start - first * CHUNK_BYTES, "terms": terms, "fetch_info": places}
        )

    def _xorb(self, name: str, number: int) -> bytes:
        found = self._find(name)
        assert found is not None
        chunks = _chunks(found, number * XORB_CHUNKS, (number + 1) * XORB_CHUNKS)
        turned = [bytes([chunk[0] ^ 1]) + chunk[1:] if self.flipped else chunk for chunk in chunks]
        return b"".join(_header(len(chunk)) + chunk for chunk in turned)


def _chunks(content: Content, first: int, stop: int) -> Sequence[bytes]:
    data = b"".join(content.chunks(first * CHUNK_BYTES, min(content.size, stop * CHUNK_BYTES)))
    return [data[at : at + CHUNK_BYTES] for at in range(0, len(data), CHUNK_BYTES)]


def _header(size: int) -> bytes:
    """Return the header of a chunk that is kept as it is: version, length here, scheme, length unpacked."""
    return b"\0" + size.to_bytes(3, "little") + b"\0" + size.to_bytes(3, "little")


def _asked(header: str, size: int) -> tuple[int, int]:
    match = _RANGE.fullmatch(header)
    if match is None:
        return 0, size
    return int(match[1]), min(size, int(match[2]) + 1) if match[2] else size
