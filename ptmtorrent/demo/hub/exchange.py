"""A request and its response as values; a route is a function from one to the other."""

import json
from collections.abc import Mapping
from typing import Any

import msgspec

from ptmtorrent.demo.contents import Content, InMemory


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """A parsed request. `parts` are the decoded components of the path; `base` is the address of this server."""

    method: str
    path: str
    parts: tuple[str, ...]
    query: Mapping[str, list[str]]
    token: str | None
    body: bytes
    base: str
    range: str | None = None

    def first(self, name: str) -> str | None:
        """Return the first value of a query parameter."""
        return next(iter(self.query.get(name, ())), None)

    def is_set(self, name: str) -> bool:
        """Return whether a query parameter is true."""
        return (self.first(name) or "").lower() in {"true", "1"}


class Response(msgspec.Struct, frozen=True, kw_only=True):
    """A response. `Range` is honoured if it is `ranged`."""

    status: int
    headers: Mapping[str, str] = {}
    content: Content = InMemory(b"")
    kind: str = "application/json"
    ranged: bool = False

    def with_headers(self, headers: Mapping[str, str]) -> "Response":
        """Return the response with more headers."""
        return msgspec.structs.replace(self, headers={**self.headers, **headers})


def json_response(value: Any, headers: Mapping[str, str] | None = None, *, status: int = 200) -> Response:  # noqa: ANN401  # JSON is any of its types
    """Return a response with a JSON body."""
    return Response(status=status, headers=headers or {}, content=InMemory(json.dumps(value).encode()))


def refusal(status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> Response:
    """Return an error response like that of the real hub: two headers that clients read, and JSON."""
    named = {"X-Error-Code": code, "X-Error-Message": message} if code else {}
    return json_response({"error": message}, {**named, **(headers or {})}, status=status)
