"""Globus identity: an interactive user or the client of a CI job, with tokens stored in the home (mode 0600).

The operator of a channel or site registers a native app with Globus once; `globus_client_id` names it. A client also
has a secret, read only from the environment. Only `log_in` is interactive.
"""

import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import globus_sdk
import msgspec
from globus_sdk.gare import GlobusAuthorizationParameters
from globus_sdk.globus_app import GlobusApp, GlobusAppConfig
from globus_sdk.login_flows import CommandLineLoginFlowManager, LocalServerLoginFlowManager, LoginFlowManager
from globus_sdk.scopes import GCSCollectionScopes, TransferScopes
from globus_sdk.token_storage import JSONTokenStorage, TokenValidationError

from ptmtorrent.disk.durable import disk_errors, ensure_dir
from ptmtorrent.errors import AuthError, ConfigError, StoreError, TrustError
from ptmtorrent.model.moments import spell
from ptmtorrent.model.records import Emit, ignore
from ptmtorrent.scrub import keep_secret
from ptmtorrent.stop import Stop
from ptmtorrent.transports.globus.hints import client_hint
from ptmtorrent.transports.globus.locations import TOKENS, GlobusAccess
from ptmtorrent.transports.globus.paced import PacedTransport
from ptmtorrent.transports.globus.service import TransferService, translate_error

APP_NAME = "ptmtorrent"

TRANSFER = "transfer.api.globus.org"

FlowFactory = Callable[[globus_sdk.AuthLoginClient], LoginFlowManager]


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """A stored token: whose it is, its server and scopes, expiry (RFC 3339), and whether it can be refreshed.

    `identity` is the id of a user or a client, to which an owner of a collection can give access.
    """

    identity: str
    server: str
    scopes: str
    expires: str
    renews: bool


def tokens_path(access: GlobusAccess) -> Path:
    """Return the path of the token file."""
    return access.folder / TOKENS


@contextmanager
def open_app(
    access: GlobusAccess,
    collections: Sequence[str] = (),
    *,
    flow: FlowFactory | None = None,
    stop: Stop | None = None,
) -> Iterator[GlobusApp]:
    """Yield the app of `access`, with the scopes of the Transfer service and of reading `collections` over HTTPS.

    Raises:
        ConfigError: no client is set.
    """
    if access.client_id is None:
        raise ConfigError(
            "no Globus client is configured, and a login requires one",
            hint=client_hint(),
        )
    storage = _storage(access)
    transport = PacedTransport(stop)
    scopes = {TRANSFER: [TransferScopes.all], **{one: [GCSCollectionScopes(one).https] for one in collections}}
    try:
        app = _app(access, storage, scopes, flow, transport)
        with app:
            yield app
    finally:
        transport.close()
        storage.close()


def _app(
    access: GlobusAccess,
    storage: JSONTokenStorage,
    scopes: dict[str, list[globus_sdk.Scope]],
    flow: FlowFactory | None,
    transport: PacedTransport,
) -> GlobusApp:
    if access.client_secret is not None:
        config = GlobusAppConfig(token_storage=storage)
        confidential = globus_sdk.ConfidentialAppAuthClient(
            client_id=access.client_id, client_secret=access.client_secret, app_name=APP_NAME, transport=transport
        )
        return globus_sdk.ClientApp(APP_NAME, login_client=confidential, scope_requirements=scopes, config=config)
    client = globus_sdk.NativeAppAuthClient(client_id=access.client_id, app_name=APP_NAME, transport=transport)
    config = GlobusAppConfig(
        token_storage=storage,
        request_refresh_tokens=True,
        token_validation_error_handler=None,  # verbs that move data are not interactive
        login_flow_manager=flow(client) if flow else None,
    )
    return globus_sdk.UserApp(APP_NAME, login_client=client, scope_requirements=scopes, config=config)


def log_in(
    access: GlobusAccess, collections: Sequence[str], scopes: Sequence[str], *, browser: bool, stop: Stop | None = None
) -> list[str]:
    """Log in for transfers, for reading `collections` over HTTPS, and for `scopes`; return the requested scopes.

    All scopes are requested at once. Whether a collection needs `data_access` is only known after a login; those scopes
    are requested together in a second login.

    Raises:
        AuthError: the login was refused or not completed.
        TransportError: Globus cannot be reached.
    """
    wanted = [str(TransferScopes.all), *scopes]
    flow = _browser if browser else _terminal
    with open_app(access, collections, flow=flow, stop=stop) as app, _translate_errors("the login"):
        known = _logged_in(app)
        wanted += _data_access(app, collections, stop) if known else []
        _run(app, wanted)
        if not known and (more := _data_access(app, collections, stop)):
            wanted += more
            _run(app, wanted)
    return sorted({*wanted, *(str(GCSCollectionScopes(one).https) for one in collections)})


def _run(app: GlobusApp, scopes: Sequence[str]) -> None:
    app.login(auth_params=GlobusAuthorizationParameters(required_scopes=list(scopes)))


def _logged_in(app: GlobusApp) -> bool:
    try:
        app.get_authorizer(TRANSFER)
    except TokenValidationError:
        return False
    return True


def _data_access(app: GlobusApp, collections: Sequence[str], stop: Stop | None) -> list[str]:
    """Return the `data_access` scopes of `collections` that need one; for any other, Globus refuses the whole login."""
    service = TransferService(app, stop)
    try:
        mapped = [one for one in collections if service.describe(one).needs_data_access]
    finally:
        service.close()
    scopes = [TransferScopes.all.with_dependency(GCSCollectionScopes(one).data_access) for one in mapped]
    return [str(scope) for scope in scopes]


def _terminal(client: globus_sdk.AuthLoginClient) -> LoginFlowManager:
    return CommandLineLoginFlowManager(client, request_refresh_tokens=True)


def _browser(client: globus_sdk.AuthLoginClient) -> LoginFlowManager:
    return LocalServerLoginFlowManager(client, request_refresh_tokens=True)


def held(access: GlobusAccess) -> list[Held]:
    """Return the stored tokens, without checking at the service that they are valid.

    Raises:
        StoreError: the file is damaged.
    """
    if not tokens_path(access).exists():
        return []
    storage = _storage(access)
    try:
        tokens = storage.get_token_data_by_resource_server()
    finally:
        storage.close()
    return [
        Held(
            identity=token.identity_id or access.client_id or "",
            server=server,
            scopes=token.scope,
            expires=spell(datetime.fromtimestamp(token.expires_at_seconds, UTC)),
            renews=token.refresh_token is not None or access.client_secret is not None,
        )
        for server, token in sorted(tokens.items())
    ]


def https_header(
    access: GlobusAccess, collection: str, host: str, *, refused: bool = False, stop: Stop | None = None
) -> str | None:
    """Return the `Authorization` header for reading `collection` over HTTPS at `host`; None without a login for it.

    `refused` means that the previous header was refused; then the token is refreshed if possible.

    Raises:
        TrustError: `host` is not the HTTPS server of the collection.
        AuthError, TransportError: the token could not be refreshed, or the Transfer service not be queried.
    """
    with open_app(access, [collection], stop=stop) as app:
        if not _logged_in(app):
            return None
        _check_host(app, collection, host, stop)
        try:
            with _translate_errors(f"a token for collection `{collection}`"):
                authorizer = app.get_authorizer(collection)
                if refused and not authorizer.handle_missing_authorization():
                    return None
                header: str | None = authorizer.get_authorization_header()
                keep_secret(None if header is None else header.removeprefix("Bearer "))
                return header
        except AuthError as error:
            if isinstance(error.__cause__, TokenValidationError):
                return None
            raise


def _check_host(app: GlobusApp, collection: str, host: str, stop: Stop | None) -> None:
    service = TransferService(app, stop)
    try:
        known = service.describe(collection).host
    finally:
        service.close()
    if known != host:
        raise TrustError(
            f"`{host}` asks for a login, but is not the HTTPS server of collection `{collection}`: no token was sent",
            hint=f"leave the server out of the location: globus:{collection}/path",
        )


@contextmanager
def open_service(access: GlobusAccess, stop: Stop | None = None, emit: Emit = ignore) -> Iterator[TransferService]:
    """Yield the Transfer service for the stored login. A call that waits ends once `stop` is set.

    Retries that take long are reported to `emit`.

    Raises:
        ConfigError: no client is set. A missing login is reported by the service's calls.
    """
    with open_app(access, stop=stop) as app:
        service = TransferService(app, stop, emit)
        try:
            yield service
        finally:
            service.close()


def _storage(access: GlobusAccess) -> JSONTokenStorage:
    """Return the token storage, readable by its owner only; its tokens are registered as secrets.

    Raises:
        StoreError: the file is damaged, or belongs to another user.
    """
    path = tokens_path(access)
    ensure_dir(path.parent)
    with disk_errors(path):
        if path.exists() and stat.S_IMODE(path.stat().st_mode) & 0o077:
            path.chmod(0o600)
        storage = JSONTokenStorage(path)
        try:
            for token in storage.get_token_data_by_resource_server().values() if path.exists() else ():
                keep_secret(token.access_token)
                keep_secret(token.refresh_token)
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            storage.close()
            raise StoreError(f"`{path}` is damaged: {error!r}", hint=f"remove `{path}`, then log in again") from error
        return storage


@contextmanager
def _translate_errors(what: str) -> Iterator[None]:
    try:
        yield
    except (globus_sdk.GlobusError, TokenValidationError) as error:
        raise translate_error(error, what) from error
