"""What catalogues share that host no weights: a record names a git remote, and that remote the weights beside it.

PyTorch Hub, ModelZoo.co and Modelhub.ai differ in how the record reads and where the weights are named; what is pinned,
proven and located is the same for all of them. A record that cannot be read is still listed: its error belongs to it.
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
from ptmtorrent.hubs.port import Described, HubFile, Listed, Located, Page, Query
from ptmtorrent.model.manifest import Identity
from ptmtorrent.model.names import check_path, check_paths

MAX_READ_BYTES = 4 << 20
"""No configuration of a package is longer (4 MiB)."""

_REF = re.compile(r"(?!.*\.\.)[A-Za-z0-9_][A-Za-z0-9_./+-]{0,199}")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_HASH_IN_NAME = re.compile(r"-(?!20[0-9]{6}\.)([0-9a-f]{8,64})\.[A-Za-z.]{2,12}$")
"""`resnet50-0676ba61.pth`: the SHA-256 begins so (torch.hub `HASH_REGEX`). Eight digits like a date are none."""

Read = Callable[[str], bytes | None]
"""Gives the bytes of a file of the package, or None when it has no such file."""


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """The git remote a record names; without `ref` its HEAD."""

    remote: str
    ref: str = ""


class Weight(msgspec.Struct, frozen=True, kw_only=True):
    """Weights outside the remote: where they are, and the path they get in the package."""

    url: str
    path: str


class LinkedHub(ABC):
    """A catalogue at `endpoint`. Sub-classes say what it lists, where a record leads, which weights are elsewhere."""

    name: str
    prefix: str

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
    def link(self, listed: Listed) -> Link:
        """Return where the record leads.

        Raises:
            HubError: nowhere, and why.
        """

    def weights(self, listed: Listed, read: Read) -> Sequence[Weight]:
        """Return the weights that the files of the package name; none unless a sub-class knows of some."""
        del listed, read
        return ()

    def with_facts(self, listed: Listed, read: Read) -> Listed:
        """Return `listed` with what the files of the package add to it; nothing unless a sub-class knows of some."""
        del read
        return listed

    def listing(self, query: Query, cursor: str | None) -> Iterator[Page]:
        """Yield one page: these catalogues are one document, in their own order.

        Raises:
            HubError: it cannot be read; else as `Session.read` and `Git.run`.
        """
        del cursor
        packages = tuple(self.catalogue())
        if query.ids:
            known = {listed.name: listed for listed in packages}
            packages = tuple(known.get(name) or Listed(name=name, access="gone") for name in query.ids)
        yield Page(packages=packages, cursor=None)

    def describe(self, listed: Listed) -> Described:
        """Pin the package to the commit its remote has now.

        Raises:
            NotFound: the catalogue or the remote does not have it; HubError: the record leads nowhere.
        """
        package = f"`{self.prefix}:{listed.name}`"
        if listed.access == "gone":
            raise NotFound(f"{package} is not there: the hub has no such package")
        try:
            link = self.link(listed)
        except HubError as error:
            raise HubError(f"{package}: {error.message}", hint=error.hint) from error
        commit = self._head(link, package)
        listed = self.with_facts(listed, self._reader(Remote(url=link.remote, commit=commit, package=package)))
        identity = Identity(hub=self.prefix, name=listed.name, commit=commit, author=listed.author)
        answer = msgspec.json.encode({"remote": link.remote, "ref": link.ref, "commit": commit})
        return Described(identity=identity, listed=listed, answers=(("record", listed.raw.encode()), ("link", answer)))

    def files(self, described: Described) -> tuple[list[HubFile], tuple[tuple[str, bytes], ...]]:
        """Return the files of the commit, and the weights it names elsewhere.

        Raises:
            HubError: a file that names weights cannot be read; IntegrityError: an unusable path; else as `GitRemotes`.
        """
        files, proof = self._remotes.files(self._inner(described))
        taken = {file.path for file in files}
        found = [weight for weight in self._find_weights(described, files) if weight.path not in taken]
        self._weights[described.identity.package] = {weight.path: weight.url for weight in found}
        named = [HubFile(path=one.path, size=None, oid=hash_in_name(one.url), source="url") for one in found]
        every = sorted([*files, *named], key=lambda file: file.path.encode(errors="surrogateescape"))
        check_paths(file.path for file in every if file.answer is None)
        return every, proof

    def locate(self, described: Described, file: HubFile) -> Located:
        """Return a local file, an LFS address, or the address that the package names.

        Raises:
            NotFound: the package does not name it any more; else as `GitRemotes.locate`.
        """
        if file.source != "url":
            return self._remotes.locate(self._inner(described), file)
        if described.identity.package not in self._weights:
            self.files(described)
        url = self._weights[described.identity.package].get(file.path)
        if url is None:
            raise NotFound(f"`{described.identity.package}` file `{file.path}` is named by no file of the package")
        return Located(url=url)

    def release(self, described: Described) -> None:
        """Remove the bare folder, unless another package is in it as well."""
        self._weights.pop(described.identity.package, None)
        self._remotes.release(self._inner(described))

    def close(self) -> None:
        """End what runs, and close all connections."""
        self._remotes.close()

    def _find_weights(self, described: Described, files: Sequence[HubFile]) -> Sequence[Weight]:
        identity = described.identity
        url, package = self.link(described.listed).remote, f"`{identity.package}`"
        remote = Remote(url=url, commit=identity.commit, package=package)
        try:
            return self.weights(described.listed, self._reader(remote, files))
        except HubError as error:
            raise HubError(f"{package}: {error.message}", hint=error.hint) from error

    def _reader(self, remote: Remote, files: Sequence[HubFile] | None = None) -> Read:
        """Return what reads the files of the commit; without their list it is asked for when the first one is."""
        rows: dict[str, HubFile] = {}

        def read(path: str) -> bytes | None:
            if not rows:
                found = self.clones.files(remote)[0] if files is None else files
                rows.update({file.path: file for file in found if file.source == "git" and file.link is None})
            row = rows.get(path)
            if row is None or row.oid is None:
                return None
            if (row.size or 0) > MAX_READ_BYTES:
                raise HubError(f"{remote.package} file `{path}` has {row.size} bytes, more than any configuration")
            return self.clones.read(remote, row.oid.removeprefix("git:"))

        return read

    def _inner(self, described: Described) -> Described:
        url = msgspec.json.encode({"url": self.link(described.listed).remote}).decode()
        return msgspec.structs.replace(described, listed=Listed(name=described.listed.name, raw=url))

    def _head(self, link: Link, what: str) -> str:
        if not link.ref:
            return self.clones.git.head(link.remote, what)
        if _COMMIT.fullmatch(link.ref):
            return link.ref
        if not _REF.fullmatch(link.ref):
            raise HubError(f"{what} names {link.ref!r}, which is no branch or tag")
        names = (f"refs/heads/{link.ref}", f"refs/tags/{link.ref}^{{}}", f"refs/tags/{link.ref}")
        found = self.clones.git.names(link.remote, names, what)
        for name in names:
            if name in found:
                return found[name]
        raise NotFound(f"{what}: `{link.remote}` has no branch or tag `{link.ref}`")


def is_web_address(url: object) -> bool:
    """Tell whether `url` is http or https with a host, no login, and nothing that is not printable ASCII."""
    if not isinstance(url, str) or len(url) > 2048 or not all("!" <= character <= "~" for character in url):
        return False
    try:
        parts = urlsplit(url)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.username is None
    except ValueError:
        return False


def weight_of(url: str) -> Weight:
    """Return `url` with a path of its own below `weights/`: host and path, and eight digits more for a query.

    Raises:
        IntegrityError: a path no manifest may hold.
    """
    parts = urlsplit(url)
    path = f"weights/{parts.netloc.replace(':', '+')}/{unquote(parts.path).strip('/')}"
    if parts.query:
        path += f"-{sha256(url.encode()).hexdigest()[:8]}"
    check_path(path)
    return Weight(url=url, path=path)


def hash_in_name(url: str) -> str | None:
    """Return the oid that the name of the file promises, if it does."""
    match = _HASH_IN_NAME.search(urlsplit(url).path)
    if match is None:
        return None
    return f"sha256:{match[1]}" if len(match[1]) == 64 else f"sha256-prefix:{match[1]}"


def text(record: Mapping[str, object], key: str) -> str | None:
    """Return a value that is a non-empty text of a sane length; anything else was not given."""
    value = record.get(key)
    return value.strip() if isinstance(value, str) and 0 < len(value.strip()) <= 1024 else None
