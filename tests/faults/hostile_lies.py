"""Answers of hubs that are well formed and untrue: pages, packs and refs without end, sizes, paths, addresses that lie.

A lie is called with a function that asks the proper hub, the request, an address inside the network, and `send`.
"""

import dataclasses
import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from tests.faults.hostile import OK, Request, Send

LARGE = 10 << 30
MANY_TERMS = 100_000
CHUNKED = OK + b"Content-Type: application/x-git-upload-pack-result\r\nTransfer-Encoding: chunked\r\n\r\n"


@dataclasses.dataclass(frozen=True)
class Answer:
    """A proper answer; `headers` are without those about the length of the body."""

    status: int
    headers: Sequence[tuple[str, str]]
    body: bytes

    def with_body(self, body: bytes) -> "Answer":
        """Return the same answer with another body."""
        return dataclasses.replace(self, body=body)

    def with_header(self, name: str, value: str) -> "Answer":
        """Return the same answer with one header set."""
        kept = [(each, text) for each, text in self.headers if each.lower() != name.lower()]
        return dataclasses.replace(self, headers=[*kept, (name, value)])

    def head(self, length: int) -> bytes:
        """Return status line and headers for a body of `length` bytes."""
        lines = [f"HTTP/1.1 {self.status} X", *(f"{name}: {value}" for name, value in self.headers)]
        return "\r\n".join([*lines, f"Content-Length: {length}", "", ""]).encode("latin-1")


Ask = Callable[[Request], Answer]
Lie = Callable[[Ask, Request, str, Send], None]


def _send(answer: Answer, send: Send) -> None:
    send(answer.head(len(answer.body)) + answer.body)


def _circle(ask: Ask, request: Request, inside: str, send: Send) -> None:
    """The next page is this one."""
    del inside
    link = f'<http://{request.headers["host"]}{request.target}>; rel="next"'
    _send(ask(request).with_header("Link", link), send)


def _no_end(ask: Ask, request: Request, inside: str, send: Send) -> None:
    """There is always a next page, with the same content under another address."""
    del inside
    found = re.search(r"[?&]at=(\d+)", request.target)
    plain = request.target.replace(found[0], "") if found else request.target
    number = int(found[1]) + 1 if found else 1
    link = f'<http://{request.headers["host"]}{plain}{"&" if "?" in plain else "?"}at={number}>; rel="next"'
    _send(ask(dataclasses.replace(request, target=plain)).with_header("Link", link), send)


def _no_token_end(ask: Ask, request: Request, inside: str, send: Send) -> None:
    """The next page has always another token."""
    del inside
    found = re.search(r"&pageToken=at(\d+)", request.target)
    plain = request.target.replace(found[0], "") if found else request.target
    answer = ask(dataclasses.replace(request, target=plain))
    number = int(found[1]) + 1 if found else 1
    _send(answer.with_body(json.dumps({**json.loads(answer.body), "nextPageToken": f"at{number}"}).encode()), send)


def _changed(change: Callable[[Any, str], Any]) -> Lie:
    """Return a lie that alters the JSON of an answer; `change` gets it with the address inside."""

    def lie(ask: Ask, request: Request, inside: str, send: Send) -> None:
        answer = ask(request)
        if answer.status == 200:
            answer = answer.with_body(json.dumps(change(json.loads(answer.body), inside)).encode())
        _send(answer, send)

    return lie


def _everywhere(value: Any, change: Callable[[str, Any], Any]) -> Any:  # any JSON
    """Return JSON with every value of a key replaced by what `change` makes of key and value."""
    if isinstance(value, dict):
        return {key: _everywhere(change(key, each), change) for key, each in value.items()}
    return [_everywhere(each, change) for each in value] if isinstance(value, list) else value


def _with_size(size: int) -> Lie:
    return _changed(lambda data, _: _everywhere(data, lambda key, old: size if key == "size" else old))


def _with_path(prefix: str) -> Lie:
    keys = {"path", "name"}
    return _changed(
        lambda data, _: _everywhere(
            data, lambda key, old: f"{prefix}{old}" if key in keys and isinstance(old, str) else old
        )
    )


def _with_addresses(data: Any, inside: str) -> Any:  # any JSON
    keys = {"href", "url", "casUrl", "src_url"}
    return _everywhere(data, lambda key, old: inside if key in keys and isinstance(old, str) else old)


def _long_terms(data: Any, inside: str) -> Any:  # any JSON
    del inside
    return _everywhere(data, lambda key, old: 1 << 40 if key == "unpacked_length" else old)


def _many_terms(data: Any, inside: str) -> Any:  # any JSON
    del inside
    return _everywhere(data, lambda key, old: old * MANY_TERMS if key == "terms" else old)


def _wide_terms(data: Any, inside: str) -> Any:  # any JSON
    del inside
    return _everywhere(data, lambda key, old: 1 << 31 if key == "end" and isinstance(old, int) else old)


def _shifted_terms(data: Any, inside: str) -> Any:  # any JSON
    del inside
    return _everywhere(data, lambda key, old: old + 7 if key == "offset_into_first_range" else old)


def _endless_progress(ask: Ask, request: Request, inside: str, send: Send) -> None:
    """The pack never begins: progress is reported without end, fast enough for any least rate."""
    del ask, request, inside
    send(CHUNKED + _chunk(_line(b"packfile\n")))
    while True:
        send(_chunk(_line(b"\x02Counting objects, please wait\n") * 100))
        time.sleep(0.1)


def _endless_pack(ask: Ask, request: Request, inside: str, send: Send) -> None:
    """The pack holds one blob of zeros without end."""
    del ask, request, inside
    import zlib

    packer = zlib.compressobj(1)
    # A blob (type 3) whose size is stated as 2^40 - 1, in groups of 4 and 7 bits.
    size = bytes([0xBF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01])
    send(CHUNKED + _chunk(_line(b"packfile\n") + _line(b"\x01PACK" + bytes([0, 0, 0, 2, 0, 0, 0, 3]) + size)))
    while True:
        data = packer.compress(bytes(8 << 20))
        for at in range(0, len(data), 60_000):
            send(_chunk(_line(b"\x01" + data[at : at + 60_000])))


def _pack_of_many(ask: Ask, request: Request, inside: str, send: Send) -> None:
    """The pack announces four billion objects."""
    del ask, request, inside
    lines = _line(b"packfile\n") + _line(b"\x01PACK" + bytes([0, 0, 0, 2, 255, 255, 255, 255])) + b"0000"
    send(CHUNKED + _chunk(lines) + b"0\r\n\r\n")


def _endless_names(ask: Ask, request: Request, inside: str, send: Send) -> None:
    """The remote has refs without end."""
    del ask, request, inside
    send(CHUNKED)
    number = 0
    while True:
        number += 1000
        send(_chunk(b"".join(_line(b"%040x refs/heads/%09d\n" % (at, at)) for at in range(number, number + 1000))))


def _line(data: bytes) -> bytes:
    return b"%04x%s" % (len(data) + 4, data)


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def _elsewhere(data: Any, inside: str) -> Any:  # any JSON
    """Return JSON whose addresses name the same server otherwise, and ask for the user's token there."""

    def change(key: str, old: Any) -> Any:  # any JSON
        if key == "href":
            return f"http://localhost:{urlsplit(old).port}{urlsplit(old).path}"
        return {**old, "Authorization": "Bearer other"} if key == "header" else old

    del inside
    return _everywhere(data, change)


LIES: Mapping[str, Lie] = {
    "pages in a circle": _circle,
    "pages without end": _no_end,
    "tokens without end": _no_token_end,
    "small sizes": _with_size(10),
    "large sizes": _with_size(LARGE),
    "paths upwards": _with_path("../../"),
    "absolute paths": _with_path("/tmp/"),  # noqa: S108  # nothing is written there
    "addresses inside": _changed(_with_addresses),
    "addresses elsewhere": _changed(_elsewhere),
    "long terms": _changed(_long_terms),
    "many terms": _changed(_many_terms),
    "wide terms": _changed(_wide_terms),
    "shifted terms": _changed(_shifted_terms),
    "endless progress": _endless_progress,
    "endless pack": _endless_pack,
    "pack of many": _pack_of_many,
    "endless names": _endless_names,
}
PAGES = ("pages in a circle", "pages without end")
FILES = ("small sizes", "large sizes", "paths upwards", "absolute paths")
PACKS = ("endless progress", "endless pack", "pack of many")
