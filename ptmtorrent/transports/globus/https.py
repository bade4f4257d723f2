"""A channel in a collection over the collection's own HTTPS server: ordinary HTTP, and a bearer token where needed.

No Globus software takes part while the server answers anybody. The token of a login, where there is one, goes to a
server that refused us without, when the Transfer service says that it is the collection's, and nowhere else: a location
that somebody else wrote must not name where tokens go. What is refused all the same is an `AuthError` naming the login.
"""

from collections.abc import Callable, Generator
from threading import Lock

import httpx2

from ptmtorrent.errors import AuthError
from ptmtorrent.http import new_client
from ptmtorrent.transports.globus.hints import collection_hint
from ptmtorrent.transports.globus.locations import TOKENS, GlobusAccess

UNAUTHORIZED, FORBIDDEN = 401, 403
MAX_TOKENS = 2
"""For one request: the one that is kept, and a new one when that has expired."""
LOGIN_PAGE = "/oauth2/authorize"

TokenSource = Callable[[bool], str | None]
"""Gives the `Authorization` header, or None; the argument says that the last one was refused."""


class BearerToken(httpx2.Auth):
    """Adds the header of `source` to requests for `host` once that refused to answer without, and to no other."""

    def __init__(self, collection: str, host: str, source: TokenSource) -> None:
        self._collection = collection
        self._origin = httpx2.URL(f"https://{host}").origin
        self._source = source
        self._lock = Lock()
        self._header: str | None = None

    def auth_flow(self, request: httpx2.Request) -> Generator[httpx2.Request, httpx2.Response, None]:
        """Send the request as we are known so far; with the token, then with a new one, when that is refused.

        Raises:
            AuthError: naming the login; it still refuses.
            TrustError: the server is not the collection's.
        """
        if request.url.origin != self._origin:
            yield request
            return
        header = self._header
        if header is not None:
            request.headers["Authorization"] = header
        response = yield request
        for _ in range(MAX_TOKENS):
            if not self._refused(response) or (header and response.status_code == FORBIDDEN):
                break
            header = self._other_than(header)
            if header is None:
                break
            request.headers["Authorization"] = header
            response = yield request
        if self._refused(response):
            raise _needs_login(response, self._collection)

    def judge(self, response: httpx2.Response) -> None:
        """Take a redirect of the server to the login page of Globus Auth for what it means."""
        if response.is_redirect and response.request.url.origin == self._origin and LOGIN_PAGE in _target(response):
            response.status_code = UNAUTHORIZED

    def _refused(self, response: httpx2.Response) -> bool:
        return response.status_code in {UNAUTHORIZED, FORBIDDEN} and response.request.url.origin == self._origin

    def _other_than(self, refused: str | None) -> str | None:
        """Return a header other than `refused`; another thread may have made it already."""
        with self._lock:
            if self._header == refused:
                self._header = self._source(refused is not None)
            return self._header if self._header != refused else None


def collection_client(collection: str, host: str, source: TokenSource, *, connections: int = 32) -> httpx2.Client:
    """Return a client for the HTTPS server `host` of `collection`; whoever gets it closes it."""
    client = new_client(connections=connections)
    auth = BearerToken(collection, host, source)
    client.auth = auth
    client.event_hooks = {"response": [auth.judge, *client.event_hooks["response"]]}
    return client


def _target(response: httpx2.Response) -> str:
    return str(response.headers.get("location", ""))


def _needs_login(response: httpx2.Response, collection: str) -> AuthError:
    return AuthError(
        f"`{response.request.url}` needs a login: collection `{collection}` answered {response.status_code}",
        hint=collection_hint(collection),
    )


def token_source(access: GlobusAccess, collection: str, host: str) -> TokenSource:
    """Return where the token for `collection` comes from: nowhere, and Globus's library stays unread, without one."""
    if access.client_id is None or (access.client_secret is None and not (access.folder / TOKENS).exists()):
        return lambda refused: None  # noqa: ARG005  # there is none, whoever refused it
    from ptmtorrent.transports.globus.login import https_header

    return lambda refused: https_header(access, collection, host, refused=refused)
