"""A channel in a Globus collection: read over the collection's HTTPS server, moved by HTTPS or by Globus Transfer.

The library of Globus is read only where a login takes part; a place that names its HTTPS server and lets anybody read
needs none.
"""

import weakref
from collections.abc import Callable
from contextlib import ExitStack

from ptmtorrent.channel.port import ChannelReader
from ptmtorrent.channel.web_reader import HttpReader
from ptmtorrent.config import Settings
from ptmtorrent.errors import ConfigError, NotFound
from ptmtorrent.model.locations import GlobusLocation
from ptmtorrent.model.records import Emit, Note
from ptmtorrent.paths import Home
from ptmtorrent.stop import Stop
from ptmtorrent.transports.globus.hints import HERE_HINT
from ptmtorrent.transports.globus.https import collection_client, token_source
from ptmtorrent.transports.globus.locations import (
    GlobusAccess,
    LocalCollection,
    https_url,
    parse_local_collection,
)
from ptmtorrent.transports.http import CONNECTIONS, HttpTransport
from ptmtorrent.transports.port import PackTransport
from ptmtorrent.transports.retrying import Retrying

JOBS = "jobs"


class Collection:
    """The channel at `place`, reached with `access`. A request that waits ends once `stop` is set."""

    def __init__(self, place: GlobusLocation, access: GlobusAccess, stop: Stop | None = None) -> None:
        self.place = place
        self.access = access
        self._stop = stop
        self._host = place.host

    @property
    def host(self) -> str:
        """The collection's HTTPS server; asked of the Transfer service when the place does not name it.

        Raises:
            AuthError, ConfigError: that needs a login.
            NotFound: it has none.
        """
        if self._host is None:
            self._host = self._ask_host()
        return self._host

    def reader(self) -> ChannelReader:
        """Return a reader of the channel's files."""
        source = token_source(self.access, self.place.collection, self.host, self._stop)
        client = collection_client(
            self.place.collection, self.host, source, has_client=self.access.client_id is not None, stop=self._stop
        )
        reader = HttpReader(https_url(self.place, self.host), client)
        weakref.finalize(reader, client.close)
        return reader

    def server(self, stack: ExitStack, counted: Callable[[int], None], emit: Emit) -> PackTransport:
        """Return the collection's HTTPS server as a source of packs."""
        source = token_source(self.access, self.place.collection, self.host, self._stop)
        has_client = self.access.client_id is not None
        client = collection_client(
            self.place.collection,
            self.host,
            source,
            has_client=has_client,
            connections=CONNECTIONS,
            stop=self._stop,
        )
        stack.callback(client.close)
        server = HttpTransport(https_url(self.place, self.host), client, on_bytes=counted)
        stack.callback(server.seal)
        return Retrying(server, emit=emit)

    def transfers(self, stack: ExitStack, emit: Emit) -> PackTransport:
        """Return Globus Transfer, into this machine's own collection, as a source of packs.

        Raises:
            ConfigError: no collection shows this machine's files.
        """
        from ptmtorrent.transports.globus.jobs import Jobs
        from ptmtorrent.transports.globus.login import open_service
        from ptmtorrent.transports.globus.run_job import JobContext
        from ptmtorrent.transports.globus.transport import GlobusTransport
        from ptmtorrent.transports.globus.wait import WaitPolicy

        context = JobContext(
            jobs=Jobs(self.access.folder / JOBS),
            service=stack.enter_context(open_service(self.access, self._stop, emit)),
            wait_policy=WaitPolicy(stall_seconds=self.access.patience),
            on_message=lambda message: emit(Note(message=message)),
            on_bytes=lambda _: None,
        )
        return GlobusTransport(self.place, here_of(self.access), context)

    def _ask_host(self) -> str:
        from ptmtorrent.transports.globus.login import open_service

        with open_service(self.access, self._stop) as service:
            facts = service.describe(self.place.collection)
        if facts.host is None:
            raise NotFound(
                f"collection `{facts.name}` has no HTTPS server",
                hint="ask its owner to enable HTTPS, or name another channel of the same release",
            )
        return facts.host


def here_of(access: GlobusAccess) -> LocalCollection:
    """Return the collection that shows this machine's files.

    Raises:
        ConfigError: none is set.
    """
    if access.here is None:
        raise ConfigError(
            "no Globus collection is set that gives access to this machine's files",
            hint=f"{HERE_HINT}; or omit `--transport` to fetch over HTTPS",
        )
    return access.here


def access_of(settings: Settings, home: Home) -> GlobusAccess:
    """Return what `settings` say about Globus.

    Raises:
        ConfigError: they make no sense.
    """
    return GlobusAccess(
        folder=home.globus,
        client_id=settings.globus_client_id,
        client_secret=settings.globus_client_secret,
        here=parse_local_collection(settings.globus_here) if settings.globus_here else None,
        patience=settings.globus_patience,
    )


def no_access(home: Home) -> GlobusAccess:
    """Return what is known without any setting: enough where anybody may read."""
    return GlobusAccess(folder=home.globus, client_id=None, client_secret=None, here=None, patience=1800)
