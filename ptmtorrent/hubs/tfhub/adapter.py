"""TensorFlow Hub: its modules under their old names, with the bytes that Kaggle Models now serves.

`endpoint` is the git remote with the documents. The closed site still redirects each handle to a variation on Kaggle,
sometimes with a version; that target is kept as the raw answer `place` (ADR 0022).
"""

import threading
from collections.abc import Iterator, Mapping

import msgspec

from ptmtorrent.errors import HubError, NotFound
from ptmtorrent.hubs.client.redact import redact_text
from ptmtorrent.hubs.client.session import Session
from ptmtorrent.hubs.facts import fill
from ptmtorrent.hubs.git.clones import Clones, Remote
from ptmtorrent.hubs.git.process import Git
from ptmtorrent.hubs.kaggle.adapter import KaggleModels
from ptmtorrent.hubs.port import UNDOCUMENTED, Described, Foreseen, HubFile, Listed, Located, Page, Query
from ptmtorrent.hubs.registry import HubOptions
from ptmtorrent.hubs.tfhub.documents import (
    MAX_DOCUMENT_BYTES,
    PUBLIC_ENDPOINT,
    Document,
    KagglePlace,
    find_on_kaggle,
    read_document,
)
from ptmtorrent.hubs.tfhub.facts import read_facts
from ptmtorrent.model.bounds import decode_json
from ptmtorrent.model.manifest import Identity

FOLDER = "assets/docs/"
MODULE = "Module"
DEPLOYMENTS = ("Lite", "Tfjs", "Coral")
"""Kinds with files of their own; `Placeholder`, `Collection` and `Publisher` only refer to others."""


def make(options: HubOptions, session: Session) -> "TensorFlowHub":
    """Return the adapter; the bare clone of the documents is kept below `options.work`."""
    clones = Clones(Git(options.environment), options.work)
    return TensorFlowHub(options.endpoint, clones, redirector=options.mirror or PUBLIC_ENDPOINT, session=session)


class TensorFlowHub:
    """The documents in the git remote `endpoint`. Handles below the base URL `redirector` redirect to Kaggle."""

    name = "tfhub"
    prefix = "tfhub"

    def __init__(
        self, endpoint: str, clones: Clones, *, redirector: str = PUBLIC_ENDPOINT, session: Session | None = None
    ) -> None:
        self.endpoint = endpoint.rstrip("/")
        self.session = session or Session()
        self._clones = clones
        clones.bind_session(self.session)
        self._redirector = redirector
        self._kaggles: dict[str, KaggleModels] = {}
        self._lock = threading.Lock()

    def listing(self, query: Query, cursor: str | None) -> Iterator[Page]:
        """Yield one page: every module and deployment, by name.

        Raises:
            HubError: the documents cannot be read; otherwise as `Git.head` and `Clones.files`.
        """
        del cursor
        packages = self._catalogue()
        if query.ids:
            packages = {name: packages.get(name) or Listed(name=name, access="gone") for name in query.ids}
        yield Page(packages=tuple(packages.values()), cursor=None)

    @property
    def quotas(self) -> Mapping[str, tuple[int, int]]:
        """Neither the documents nor Kaggle have documented limits."""
        return UNDOCUMENTED

    def foresee(self, listed: Listed) -> Foreseen:
        """Return that a document says nothing of files.

        Raises:
            NotFound: the module does not exist.
        """
        self._check_access(listed)
        return Foreseen()

    def _check_access(self, listed: Listed) -> None:
        if listed.access != "public":
            raise NotFound(f"`{self.prefix}:{listed.name}` was not found: the hub has no such module")

    def describe(self, listed: Listed) -> Described:
        """Pin the package to the version on Kaggle that its handle redirects to, or to the newest one.

        Raises:
            NotFound: the module does not exist or was not moved; otherwise as `Session.open`.
        """
        package = f"`{self.prefix}:{listed.name}`"
        self._check_access(listed)
        handle = decode_json(listed.raw or "{}", dict[str, str]).get("handle", "")
        try:
            place = find_on_kaggle(self.session, handle, self._redirector)
        except NotFound as error:
            raise NotFound(f"{package} was not moved to Kaggle: {error.message}") from error
        version = place.version or self._newest(place)
        place = msgspec.structs.replace(place, version=version)
        identity = Identity(hub=self.prefix, name=listed.name, commit=version, author=listed.author)
        answers = (("record", listed.raw.encode()), ("place", msgspec.json.encode(place)))
        return Described(identity=identity, listed=listed, answers=answers)

    def files(self, described: Described) -> tuple[list[HubFile], tuple[tuple[str, bytes], ...]]:
        """Return the files of the version, as `KaggleModels.files`."""
        kaggle, inner = self._inner(described)
        return kaggle.files(inner)

    def locate(self, described: Described, file: HubFile) -> Located:
        """Return the address of the file, as `KaggleModels.locate`."""
        kaggle, inner = self._inner(described)
        return kaggle.locate(inner, file)

    def release(self, described: Described) -> None:
        """Do nothing: this hub keeps no state per package."""

    def close(self) -> None:
        """Stop running processes and close all connections."""
        self._clones.close()
        self.session.close()

    def _catalogue(self) -> dict[str, Listed]:
        what = f"the documents of `{self.endpoint}`"
        remote = Remote(url=self.endpoint, commit=self._clones.git.head(self.endpoint, what), package=what)
        files, _ = self._clones.files(remote)
        found = {}
        for file in files:
            is_document = file.path.startswith(FOLDER) and file.path.endswith(".md") and file.source == "git"
            if not is_document or (file.size or 0) > MAX_DOCUMENT_BYTES or file.link is not None:
                continue
            data = self._clones.read(remote, (file.oid or "").removeprefix("git:"))
            try:
                listed = list_document(read_document(file.path, data), data)
            except HubError:
                continue  # a page of the site that does not describe a model
            if listed is not None:
                found[listed.name] = listed
        self._clones.release(remote)
        return dict(sorted(found.items()))

    def _newest(self, place: KagglePlace) -> str:
        [page] = self._kaggle(place.origin).listing(Query(ids=(place.name,)), None)
        commit = page.packages[0].commit
        if commit is None:
            raise NotFound(f"`kaggle:{place.name}` has no version")
        return commit

    def _inner(self, described: Described) -> tuple[KaggleModels, Described]:
        answer = next((data for name, data in described.answers if name == "place"), b"{}")
        place = decode_json(answer, KagglePlace)
        listed = msgspec.structs.replace(described.listed, name=place.name)
        identity = Identity(hub=KaggleModels.prefix, name=place.name, commit=described.identity.commit)
        return self._kaggle(place.origin), Described(identity=identity, listed=listed, answers=())

    def _kaggle(self, origin: str) -> KaggleModels:
        with self._lock:
            return self._kaggles.setdefault(origin, KaggleModels(origin, session=self.session))


def list_document(document: Document, data: bytes) -> Listed | None:
    """Return the package of a document, or None: a module's name is its handle, a deployment's `kind/handle`."""
    if document.kind != MODULE and document.kind not in DEPLOYMENTS:
        return None
    name = document.handle if document.kind == MODULE else f"{document.kind.lower()}/{document.handle}"
    raw = {
        "kind": document.kind,
        "handle": document.handle,
        "path": document.path,
        "text": redact_text(data.decode(errors="replace")),
    }
    listed = Listed(name=name, raw=msgspec.json.encode(raw).decode())
    return fill(listed, read_facts(name, raw))
