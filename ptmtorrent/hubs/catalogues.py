"""Catalogues that host no weights: a record names a git remote, and files in that remote name weights elsewhere.

PyTorch Hub, ModelZoo.co and Modelhub.ai differ in the format of the record and in where weights are named. Pinning,
proving and locating files is the same for all of them. A record that cannot be read is still listed; its error is
raised when that package is described.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from hashlib import sha256
from urllib.parse import unquote, urlsplit

import msgspec

from ptmtorrent.errors import HubError, NotFound
from ptmtorrent.hubs.client.session import Session
from ptmtorrent.hubs.git.adapter import GitRemotes
from ptmtorrent.hubs.git.clones import Clones, Remote
from ptmtorrent.hubs.port import (
    UNDOCUMENTED,
    Described,
    Foreseen,
    HubFile,
    Listed,
    Located,
    Page,
    Query,
    with_licence,
)
from ptmtorrent.model.ids import check_file_path, check_paths
from ptmtorrent.model.manifest import Identity
from ptmtorrent.model.text import spell_size

MAX_READ_BYTES = 4 << 20
"""Limit of a configuration file that is read from a package (4 MiB)."""

_REF = re.compile(r"(?!.*\.\.)[A-Za-z0-9_][A-Za-z0-9_./+-]{0,199}")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_HASH_IN_NAME = re.compile(r"-(?!20[0-9]{6}\.)([0-9a-f]{8,64})\.[A-Za-z.]{2,12}$")
"""`resnet50-0676ba61.pth` states the first digits of the SHA-256 (torch.hub `HASH_REGEX`); a date is not a hash."""

Read = Callable[[str], bytes | None]
"""Returns the bytes of a file of the package, or None if it has no such file."""


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """The git remote that a record names, at the branch, tag or commit `ref` (default: HEAD)."""

    remote: str
    ref: str = ""


class Weight(msgspec.Struct, frozen=True, kw_only=True):
    """Weights outside the remote: their URL, and their path in the package."""

    url: str
    path: str


class CatalogueHub(ABC):
    """A catalogue at `endpoint`. Subclasses list it, resolve a record to its remote and find weights elsewhere.

    The licence is what the cards and licence texts of the remote state, unless the record or the package's own
    configuration states one. With `any_branch` a branch that is gone is replaced by the one that HEAD names.
    """

    name: str
    prefix: str
    any_branch = False

    def __init__(self, endpoint: str, clones: Clones, session: Session | None = None) -> None:
        self.endpoint = endpoint.rstrip("/")
        self.session = session or Session()
        self.clones = clones
        self._remotes = GitRemotes(self.endpoint, clones, named=False, session=self.session)
        self._weights: dict[str, dict[str, str]] = {}

    @abstractmethod
    def catalogue(self) -> Sequence[Listed]:
        """Return all packages."""

    @abstractmethod
    def link(self, listed: Listed) -> Link | None:
        """Return the remote that the record links to; None for a record that states that it has none.

        Raises:
            HubError: the record does not name a usable remote.
        """

    def weights(self, listed: Listed, read: Read) -> Sequence[Weight]:
        """Return the weights that the files of the package name (default: none)."""
        del listed, read
        return ()

    def cards(self, listed: Listed) -> Mapping[str, bytes]:
        """Return documents of the catalogue that are files of the package, by path (default: none)."""
        del listed
        return {}

    def with_facts(self, listed: Listed, read: Read) -> Listed:
        """Return `listed` with facts from the files of the package added (default: none)."""
        del read
        return listed

    def listing(self, query: Query, cursor: str | None) -> Iterator[Page]:
        """Yield one page: each of these catalogues is a single document, in its own order.

        Raises:
            HubError: the catalogue cannot be read; otherwise as `Session.read` and `Git.run`.
        """
        del cursor
        packages = tuple(self.catalogue())
        if query.ids:
            known = {listed.name: listed for listed in packages}
            packages = tuple(known.get(name) or Listed(name=name, access="gone") for name in query.ids)
        yield Page(packages=packages, cursor=None)

    @property
    def quotas(self) -> Mapping[str, tuple[int, int]]:
        """Catalogues and remotes document no limits."""
        return UNDOCUMENTED

    def foresee(self, listed: Listed) -> Foreseen:
        """Return that a record says nothing of the files of its remote.

        Raises:
            NotFound: the catalogue does not have it; HubError: the record names no usable remote.
        """
        self._link(listed)
        return Foreseen()

    def describe(self, listed: Listed) -> Described:
        """Pin the package to the current commit of its remote, or to its record if that names none.

        Raises:
            NotFound: the catalogue or the remote does not have it; HubError: the record names no usable remote.
        """
        package = f"`{self.prefix}:{listed.name}`"
        link = self._link(listed)
        if link is None:
            record = sha256(listed.raw.encode()).hexdigest()
            identity = Identity(hub=self.prefix, name=listed.name, commit=record, author=listed.author)
            return Described(identity=identity, listed=listed, answers=(("record", listed.raw.encode()),))
        commit = self._head(link, package)
        remote = Remote(url=link.remote, commit=commit, package=package)
        listed = self.with_facts(listed, self._reader(remote))
        files, _ = self.clones.files(remote)
        listed = with_licence(listed, files, lambda file: self._remotes.read_blob(remote, file))
        identity = Identity(hub=self.prefix, name=listed.name, commit=commit, author=listed.author)
        answer = msgspec.json.encode({"remote": link.remote, "ref": link.ref, "commit": commit})
        return Described(identity=identity, listed=listed, answers=(("record", listed.raw.encode()), ("link", answer)))

    def files(self, described: Described) -> tuple[list[HubFile], tuple[tuple[str, bytes], ...]]:
        """Return the files of the commit, the weights elsewhere that these name, and documents of the catalogue.

        Raises:
            HubError: a file that names weights cannot be read; IntegrityError: an unusable path; otherwise as
                `GitRemotes.files`.
        """
        if self._link(described.listed) is None:
            return [], ()
        files, proof = self._remotes.files(self._inner(described))
        taken = {file.path for file in files}
        found = [weight for weight in self._find_weights(described, files) if weight.path not in taken]
        self._weights[described.identity.package] = {weight.path: weight.url for weight in found}
        named = [HubFile(path=one.path, size=None, oid=hash_in_name(one.url), source="url") for one in found]
        cards = [_card_file(path, data) for path, data in self.cards(described.listed).items() if path not in taken]
        every = sorted([*files, *named, *cards], key=lambda file: file.path.encode(errors="surrogateescape"))
        check_paths(file.path for file in every if file.answer is None)
        return every, proof

    def locate(self, described: Described, file: HubFile) -> Located:
        """Return a local file, an LFS address, or the URL that the package names.

        Raises:
            NotFound: the package no longer names it; otherwise as `GitRemotes.locate`.
        """
        if file.source != "url":
            return self._remotes.locate(self._inner(described), file)
        if (card := self.cards(described.listed).get(file.path)) is not None:
            return Located(pieces=lambda: (piece for piece in (card,)))
        if described.identity.package not in self._weights:
            self.files(described)
        url = self._weights[described.identity.package].get(file.path)
        if url is None:
            raise NotFound(f"`{described.identity.package}` no longer names the file `{file.path}`")
        return Located(url=url, elsewhere=True)

    def release(self, described: Described) -> None:
        """Delete the bare clone unless another package uses it."""
        self._weights.pop(described.identity.package, None)
        if self._link(described.listed) is not None:
            self._remotes.release(self._inner(described))

    def close(self) -> None:
        """Stop running processes and close all connections."""
        self._remotes.close()

    def _link(self, listed: Listed) -> Link | None:
        package = f"`{self.prefix}:{listed.name}`"
        if listed.access == "gone":
            raise NotFound(f"{package} was not found on the hub")
        try:
            return self.link(listed)
        except HubError as error:
            raise HubError(f"{package}: {error.message}", hint=error.hint) from error

    def _find_weights(self, described: Described, files: Sequence[HubFile]) -> Sequence[Weight]:
        identity = described.identity
        package = f"`{identity.package}`"
        remote = Remote(url=self._url(described), commit=identity.commit, package=package)
        try:
            return self.weights(described.listed, self._reader(remote, files))
        except HubError as error:
            raise HubError(f"{package}: {error.message}", hint=error.hint) from error

    def _reader(self, remote: Remote, files: Sequence[HubFile] | None = None) -> Read:
        """Return a reader of the commit's files; if `files` is not given, they are listed on the first read."""
        rows: dict[str, HubFile] = {}

        def read(path: str) -> bytes | None:
            if not rows:
                found = self.clones.files(remote)[0] if files is None else files
                rows.update({file.path: file for file in found if file.source == "git" and file.link is None})
            row = rows.get(path)
            if row is None or row.oid is None:
                return None
            if (row.size or 0) > MAX_READ_BYTES:
                size, limit = spell_size(row.size or 0), spell_size(MAX_READ_BYTES)
                raise HubError(f"{remote.package} file `{path}` is {size}, over the limit of {limit}")
            return self.clones.read(remote, row.oid.removeprefix("git:"))

        return read

    def _inner(self, described: Described) -> Described:
        url = msgspec.json.encode({"url": self._url(described)}).decode()
        return msgspec.structs.replace(described, listed=Listed(name=described.listed.name, raw=url))

    def _url(self, described: Described) -> str:
        link = self._link(described.listed)
        if link is None:
            raise NotFound(f"the record of `{described.identity.package}` names no git remote any more")
        return link.remote

    def _head(self, link: Link, what: str) -> str:
        if not link.ref:
            return self.clones.git.head(link.remote, what)
        if _COMMIT.fullmatch(link.ref):
            return link.ref
        if not _REF.fullmatch(link.ref):
            raise HubError(f"{what} names {link.ref!r}, which is not a valid branch or tag name")
        names = (f"refs/heads/{link.ref}", f"refs/tags/{link.ref}^{{}}", f"refs/tags/{link.ref}")
        found = self.clones.git.names(link.remote, names, what)
        for name in names:
            if name in found:
                return found[name]
        if self.any_branch:
            return self.clones.git.head(link.remote, what)
        raise NotFound(f"{what}: `{link.remote}` has no branch or tag `{link.ref}`")


def _card_file(path: str, data: bytes) -> HubFile:
    return HubFile(path=path, size=len(data), oid=f"sha256:{sha256(data).hexdigest()}", source="url")


def is_web_address(url: object) -> bool:
    """Return whether `url` is http or https, has a host and no login, and is printable ASCII."""
    if not isinstance(url, str) or len(url) > 2048 or not all("!" <= character <= "~" for character in url):
        return False
    try:
        parts = urlsplit(url)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.username is None
    except ValueError:
        return False


def weight_of(url: str) -> Weight:
    """Return `url` with a unique path below `weights/`: host and path, plus eight hash digits if it has a query.

    Raises:
        IntegrityError: the path is not allowed in a manifest.
    """
    parts = urlsplit(url)
    path = f"weights/{parts.netloc.replace(':', '+')}/{unquote(parts.path).strip('/')}"
    if parts.query:
        path += f"-{sha256(url.encode()).hexdigest()[:8]}"
    check_file_path(path)
    return Weight(url=url, path=path)


def hash_in_name(url: str) -> str | None:
    """Return the oid stated in the file's name, or None."""
    match = _HASH_IN_NAME.search(urlsplit(url).path)
    if match is None:
        return None
    return f"sha256:{match[1]}" if len(match[1]) == 64 else f"sha256-prefix:{match[1]}"


def text(record: Mapping[str, object], key: str) -> str | None:
    """Return a value that is non-empty text of at most 1,024 characters; None for anything else."""
    value = record.get(key)
    return value.strip() if isinstance(value, str) and 0 < len(value.strip()) <= 1024 else None
