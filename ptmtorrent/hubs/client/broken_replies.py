"""Documents of a hub of which a part arrived: the next request asks for the rest, if the document is still the same.

Only an entity tag proves that it is (`If-Range`, RFC 9110 section 13.1.5), so a document without a strong one is read
again from its first byte.
"""

import threading
from collections.abc import Mapping
from dataclasses import dataclass

import httpx2

MAX_BROKEN_BYTES = 64 << 20
"""Bytes of documents that are kept in memory for their next request."""


@dataclass(frozen=True)
class Begun:
    """The first bytes of a document, and the entity tag of the whole."""

    tag: str
    body: bytes

    @property
    def headers(self) -> dict[str, str]:
        """The headers that ask for the rest of it; all of it if it has changed."""
        return {"Range": f"bytes={len(self.body)}-", "If-Range": self.tag}


class BrokenReplies:
    """What arrived of documents whose replies broke, by address; used from several threads."""

    def __init__(self) -> None:
        self._begun: dict[str, Begun] = {}
        self._lock = threading.Lock()
        self._thread = threading.local()

    def take(self, url: str) -> Begun | None:
        """Return what arrived of a document, once."""
        with self._lock:
            return self._begun.pop(url, None)

    def keep(self, url: str, headers: Mapping[str, str], body: bytes, before: int) -> None:
        """Keep what arrived of a document if it can be continued; `before` bytes of it were here before."""
        tag = headers.get("etag", "")
        if not body or not tag.startswith('"'):
            return
        with self._lock:
            if sum(len(begun.body) for begun in self._begun.values()) + len(body) > MAX_BROKEN_BYTES:
                return
            self._begun[url] = Begun(tag, body)
        self._thread.kept = self.kept() + len(body) - before

    def kept(self) -> int:
        """Return how many bytes this thread has received and kept so far."""
        return int(getattr(self._thread, "kept", 0))


def is_rest(reply: httpx2.Response) -> bool:
    """Return whether a reply is a part of a document."""
    return reply.status_code == httpx2.codes.PARTIAL_CONTENT
