"""A channel in a collection over the collection's own HTTPS server: ordinary HTTP, and a bearer token where needed.

Anonymous reads need no Globus software. A stored token is sent only to a server that refused an anonymous request, and
only if the Transfer service confirms that the server belongs to the collection: an untrusted location must
not decide where tokens are sent. A request that is still refused raises an `AuthError` naming the login command.
"""

from collections.abc import Callable, Generator
from threading import Lock

import httpx2

from ptmtorrent.errors import AuthError, ConfigError, PtmError
from ptmtorrent.http import new_client
from ptmtorrent.stop import Stop
from ptmtorrent.transports.globus.causes import NotPermitted
from ptmtorrent.transports.globus.hints import STATUS_HINT, client_hint, collection_hint
from ptmtorrent.transports.globus.locations import TOKENS, GlobusAccess

UNAUTHORIZED, FORBIDDEN = 401, 403
MAX_TOKENS = 2
"""Per request: the stored token, and a new one if that has expired."""
LOGIN_PAGE = "/oauth2/authorize"

TokenSource = Callable[[bool], str | None]
"""Returns the `Authorization` header, or None; the argument is True when the last header was refused."""


class BearerToken(httpx2.Auth):
    """Adds the header of `source` to requests for `host` after an anonymous request was refused; to no other host."""

    def __init__(self, collection: str, host: str, source: TokenSource, *, has_client: bool) -> None:
        self._collection = collection
        self._origin = httpx2.URL(f"https://{host}").origin
        self._source = source
        self._has_client = has_client
        self._lock = Lock()
        self._header: str | None = None

    def auth_flow(self, request: httpx2.Request) -> Generator[httpx2.Request, httpx2.Response, None]:
        """Send the request with the current header; when refused, with the stored token, then with a new one.

        Raises:
            AuthError: still refused; the hint names the login command, or the identity lacks a permission.
            ConfigError: still refused, and no client is configured, which a login requires.
            TrustError: the server does not belong to the collection.
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
            raise self._error(response, shown=header is not None)

    def _error(self, response: httpx2.Response, *, shown: bool) -> PtmError:
        """Return the error of a refused request; `shown` says whether a token was sent with it."""
        url, code = response.request.url, response.status_code
        if shown and code == FORBIDDEN:
            return NotPermitted(
                f"`{url}` may not be read by your identity, or the path is wrong: collection `{self._collection}`"
                f" returned status {code} although you are logged in",
                hint=f"check the path; {STATUS_HINT}",
            )
        message = f"`{url}` needs a login: collection `{self._collection}` returned status {code}"
        login = collection_hint(self._collection)
        if self._has_client:
            return AuthError(message, hint=login)
        return ConfigError(f"{message}, and no Globus client is configured", hint=f"{client_hint()}; then {login}")

    def translate_redirect(self, response: httpx2.Response) -> None:
        """Turn a redirect to the login page of Globus Auth into 401."""
        if response.is_redirect and response.request.url.origin == self._origin and LOGIN_PAGE in _target(response):
            response.status_code = UNAUTHORIZED

    def _refused(self, response: httpx2.Response) -> bool:
        return response.status_code in {UNAUTHORIZED, FORBIDDEN} and response.request.url.origin == self._origin

    def _other_than(self, refused: str | None) -> str | None:
        """Return a header other than `refused`; another thread may have replaced it already."""
        with self._lock:
            if self._header == refused:
                self._header = self._source(refused is not None)
            return self._header if self._header != refused else None


def collection_client(  # noqa: PLR0913  # what is asked, with which token, and how
    collection: str,
    host: str,
    source: TokenSource,
    *,
    has_client: bool = True,
    connections: int = 32,
    stop: Stop | None = None,
) -> httpx2.Client:
    """Return a client for the HTTPS server `host` of `collection`; the caller closes it.

    `has_client` says whether a client of Globus is configured, so that a login is possible.
    """
    client = new_client(connections=connections, stop=stop)
    auth = BearerToken(collection, host, source, has_client=has_client)
    client.auth = auth
    client.event_hooks = {**client.event_hooks, "response": [auth.translate_redirect, *client.event_hooks["response"]]}
    return client


def _target(response: httpx2.Response) -> str:
    return str(response.headers.get("location", ""))


def token_source(access: GlobusAccess, collection: str, host: str, stop: Stop | None = None) -> TokenSource:
    """Return the source of tokens for `collection`; without a login it returns None and imports no SDK."""
    if access.client_id is None or (access.client_secret is None and not (access.folder / TOKENS).exists()):
        return lambda refused: None  # noqa: ARG005  # the signature of a TokenSource
    from ptmtorrent.transports.globus.login import https_header

    return lambda refused: https_header(access, collection, host, refused=refused, stop=stop)
