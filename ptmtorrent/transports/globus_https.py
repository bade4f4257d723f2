"""A channel in a collection over the collection's own HTTPS server: ordinary HTTP, and a bearer token where needed.

No Globus software takes part. Without a login the server is asked as anybody; the token, where there is one, goes to
that one server and nowhere else. What the server refuses is an `AuthError` that names the login.
"""

from collections.abc import Callable, Generator
from threading import Lock

import httpx2

from ptmtorrent.errors import AuthError
from ptmtorrent.http import new_client
from ptmtorrent.transports.globus_places import TOKENS, GlobusAccess
from ptmtorrent.transports.globus_words import collection_hint

UNAUTHORIZED, FORBIDDEN = 401, 403

TokenSource = Callable[[bool], str | None]
"""Gives the `Authorization` header, or None; the argument says that the last one was refused."""


class BearerToken(httpx2.Auth):
    """Adds the header of `source` to requests for `host`, and asks for a new one once when it is refused."""

    def __init__(self, collection: str, host: str, source: TokenSource) -> None:
        self._collection = collection
        self._host = host
        self._source = source
        self._lock = Lock()
        self._header: str | None = None
        self._asked = False

    def auth_flow(self, request: httpx2.Request) -> Generator[httpx2.Request, httpx2.Response, None]:
        """Send the request with the token, and once more with a new one."""
        if request.url.scheme != "https" or request.url.netloc.decode() != self._host:
            yield request
            return
        header = self._current()
        if header is not None:
            request.headers["Authorization"] = header
        response = yield request
        if response.status_code != UNAUTHORIZED or header is None:
            return
        renewed = self._renew(header)
        if renewed is not None:
            request.headers["Authorization"] = renewed
            response = yield request
        if response.status_code == UNAUTHORIZED:
            raise _needs_login(response, self._collection)

    def _current(self) -> str | None:
        with self._lock:
            if not self._asked:
                self._header, self._asked = self._source(False), True
            return self._header

    def _renew(self, refused: str) -> str | None:
        """Return a header other than `refused`; another thread may have made it already."""
        with self._lock:
            if self._header == refused:
                self._header = self._source(True)
            return self._header if self._header != refused else None


def collection_client(collection: str, host: str, source: TokenSource, *, connections: int = 32) -> httpx2.Client:
    """Return a client for the HTTPS server `host` of `collection`; whoever gets it closes it."""
    client = new_client(connections=connections)
    client.auth = BearerToken(collection, host, source)
    client.event_hooks = {"response": [lambda response: _refuse(response, collection, host)]}
    return client


def _refuse(response: httpx2.Response, collection: str, host: str) -> None:
    """Raise for an answer that asks who we are: 401 or 403, or a redirect to the login page of Globus Auth.

    Raises:
        AuthError: naming the login.
    """
    if response.request.url.netloc.decode() != host:
        return
    target = response.headers.get("location", "") if response.is_redirect else ""
    unauthorized = response.status_code == UNAUTHORIZED and "Authorization" not in response.request.headers
    if response.status_code == FORBIDDEN or unauthorized or "/oauth2/authorize" in target:
        raise _needs_login(response, collection)


def _needs_login(response: httpx2.Response, collection: str) -> AuthError:
    return AuthError(
        f"`{response.request.url}` needs a login: collection `{collection}` answered {response.status_code}",
        hint=collection_hint(collection),
    )


def token_source(access: GlobusAccess, collection: str) -> TokenSource:
    """Return where the token for `collection` comes from: nowhere, and Globus's library stays unread, without one."""
    if access.client_id is None or (access.client_secret is None and not (access.folder / TOKENS).exists()):
        return lambda refused: None  # noqa: ARG005  # there is none, whoever refused it
    from ptmtorrent.transports.globus_login import https_header

    return lambda refused: https_header(access, collection, refused=refused)
