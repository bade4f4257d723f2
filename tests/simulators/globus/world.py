"""A whole small Globus: a maintainer's machine, a collection that everybody sees, and a user's machine.

The folders lie outside pytest's own, which only their owner may enter: the GridFTP servers are nobody.
"""

import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from ptmtorrent.paths import Home
from ptmtorrent.transports.globus.locations import GlobusAccess, LocalCollection
from tests.program import environment
from tests.simulators.globus.gridftp import GridFtp, missing_programs, program
from tests.simulators.globus.gsi import Gsi, make_gsi
from tests.simulators.globus.https import https_server
from tests.simulators.globus.service import Service, serve
from tests.simulators.globus.state import TRANSFER_SCOPE, Collection, State, Token

MAINTAINERS = "11111111-1111-4111-8111-111111111111"
PUBLIC = "22222222-2222-4222-8222-222222222222"
USERS = "33333333-3333-4333-8333-333333333333"
MAINTAINER = "aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa"
USER = "bbbbbbbb-bbbb-4bbb-8bbb-bbbbbbbbbbbb"
NATIVE = "cccccccc-cccc-4ccc-8ccc-cccccccccccc"
SECRET = "not really secret"  # noqa: S105  # of a client that exists here alone
CHANNEL = "/ptm/channel"


@dataclass
class World:
    """Three machines: their folders, what the service knows, and the servers that can be killed."""

    root: Path
    state: State
    service: Service
    site: GridFtp
    homes: GridFtp
    host: str
    host_with_login_page: str
    gsi: Gsi | None = None

    @property
    def maintainer(self) -> Path:
        return self.root / "maintainer"

    @property
    def public(self) -> Path:
        return self.root / "public"

    @property
    def user(self) -> Path:
        return self.root / "user"

    @property
    def channel(self) -> Path:
        """Where the published channel lies."""
        return self.public / CHANNEL.lstrip("/")

    @property
    def place(self) -> str:
        """The channel as a location that names no HTTPS server."""
        return f"globus:{PUBLIC}{CHANNEL}"

    @property
    def place_with_host(self) -> str:
        return f"globus:{PUBLIC}@{self.host}{CHANNEL}"

    @property
    def ca(self) -> Path:
        return self.root / "nginx" / "ca.pem"

    def variables(self) -> dict[str, str]:
        """What makes the SDK, its CLI and HTTP clients speak to this world."""
        return {
            "GLOBUS_SDK_SERVICE_URL_TRANSFER": f"{self.service.url}/",
            "GLOBUS_SDK_SERVICE_URL_AUTH": f"{self.service.url}/",
            "SSL_CERT_FILE": str(self.ca),
        }

    def environment(self, client: str | None, here: str | None = None, **more: str) -> dict[str, str]:
        """The environment of a process that is `client`, on the machine that collection `here` shows."""
        folder = {MAINTAINERS: self.maintainer, USERS: self.user}
        chosen = {}
        if client is not None:
            chosen = {"PTMTORRENT_GLOBUS_CLIENT_ID": client, "PTMTORRENT_GLOBUS_CLIENT_SECRET": SECRET}
        if here is not None:
            chosen["PTMTORRENT_GLOBUS_HERE"] = f"{here}:{folder[here]}"
        return environment(**self.variables(), **{**chosen, **more})

    def access(self, client: str, here: str, home: Home, *, patience: int = 60) -> GlobusAccess:
        folder = {MAINTAINERS: self.maintainer, USERS: self.user}[here]
        return GlobusAccess(
            folder=home.globus,
            client_id=client,
            client_secret=SECRET,
            here=LocalCollection(collection=here, folder=folder),
            patience=patience,
        )

    def log_person_in(self, home: Home, who: str, *scopes: str) -> None:
        """Leave what a browser login would have left: tokens with refresh tokens, in the home."""
        from globus_sdk import __version__

        tokens = {}
        for server, scope in [("transfer.api.globus.org", TRANSFER_SCOPE), *[_named(scope) for scope in scopes]]:
            refresh = f"refresh-{len(self.state.refreshes)}"
            self.state.refreshes[refresh] = Token(who=who, scopes=scope)
            tokens[server] = {
                "resource_server": server,
                "identity_id": who,
                "scope": scope,
                "access_token": self.state.new_token(who, scope),
                "refresh_token": refresh,
                "expires_at_seconds": int(time.time()) + 7200,
                "token_type": "Bearer",
            }
        home.globus.mkdir(parents=True, exist_ok=True)
        document = {"data": {"DEFAULT": tokens}, "format_version": "2.0", "globus-sdk.version": __version__}
        (home.globus / "tokens.json").write_text(json.dumps(document))
        (home.globus / "tokens.json").chmod(0o600)


def _named(scope: str) -> tuple[str, str]:
    from tests.simulators.globus.service import server_of

    return server_of(scope), scope


def https_scope(collection: str) -> str:
    return f"https://auth.globus.org/scopes/{collection}/https"


def require_programs() -> None:
    """Skip where the real servers are not installed."""
    missing = [*missing_programs(), *(["nginx"] if program("nginx") is None else [])]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")


@contextmanager
def globus_world(*, secure: bool = False) -> Iterator[World]:
    """Start everything; nothing listens off loopback, and nothing is left.

    Where it is `secure`, the GridFTP servers let in whom an authority vouches for, and data travels encrypted.
    """
    root = Path(tempfile.mkdtemp(prefix="ptm-globus-"))
    state = State()
    try:
        root.chmod(0o755)
        for name in ("maintainer", "public", "user"):
            (root / name).mkdir()
            (root / name).chmod(0o777)
        gsi = make_gsi(root / "gsi") if secure else None
        site, homes = (
            GridFtp("site", [root / "public"], root, gsi.servers if gsi else None),
            GridFtp("homes", [root / "maintainer", root / "user"], root, gsi.servers if gsi else None),
        )
        state.copying_as = gsi.client if gsi else {}
        state.clients |= {MAINTAINER: SECRET, USER: SECRET}
        for number, name, owner, server in (
            (MAINTAINERS, "maintainer", MAINTAINER, homes),
            (PUBLIC, "public", MAINTAINER, site),
            (USERS, "user", USER, homes),
        ):
            state.collections[number] = Collection(
                id=number, name=name, root=root / name, owner=owner, gridftp=lambda server=server: server.url
            )
        with ExitStack() as stack:
            service = stack.enter_context(serve(state))
            for one in (site, homes):
                stack.callback(one.stop)
                one.start()
            host, page = stack.enter_context(https_server(root / "nginx", root / "public", service.url, PUBLIC))
            state.collections[PUBLIC].https = f"https://{host}"
            yield World(
                root=root,
                state=state,
                service=service,
                site=site,
                homes=homes,
                host=host,
                host_with_login_page=page,
                gsi=gsi,
            )
    finally:
        state.closing.set()
        shutil.rmtree(root, ignore_errors=True)
        assert not root.exists() or os.geteuid() != 0
