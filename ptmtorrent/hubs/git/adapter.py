"""Any git remote, with or without LFS, as a hub: for private collections and remotes without an adapter of their own.

One remote is one package, named after host and path: `git:example.org/team/model`. Listing its files proves that they
belong to its commit. LFS files are located through the batch API of the same remote.
"""

import base64
from collections.abc import Iterator, Mapping
from functools import partial
from urllib.parse import urlsplit

import msgspec

from ptmtorrent.errors import AuthError, NotFound, UsageError
from ptmtorrent.hubs.client.session import Session
from ptmtorrent.hubs.facts import fill
from ptmtorrent.hubs.git.addresses import NAMED, WEB, is_address, local_folder, protocol_of, split_remote
from ptmtorrent.hubs.git.clones import Clones, Remote
from ptmtorrent.hubs.git.facts import read_facts
from ptmtorrent.hubs.git.lfs import LfsAddresses, LfsObject
from ptmtorrent.hubs.git.objects import PROOF, join_proof
from ptmtorrent.hubs.git.process import Git
from ptmtorrent.hubs.git.trees import Snapshot
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
from ptmtorrent.hubs.registry import HubOptions
from ptmtorrent.model.bounds import decode_json
from ptmtorrent.model.manifest import Identity
from ptmtorrent.network import is_internal

HISTORY = "history"
"""Name of the raw answer that holds every commit up to the captured one, as a git bundle."""

HISTORY_FILE = HubFile(path="//history", size=None, oid=None, source="git", answer=HISTORY)
EMPTY = Located(pieces=lambda: (piece for piece in tuple[bytes, ...]()))
"""The bytes of an empty file: LFS storage does not hold its object, yet a pointer may name it."""


class GitRemotes:
    """Remotes below `endpoint` (`--id org/name`), or anywhere (`--id https://host/path`, `--id user@host:path`).

    `packages` are the ids of a listing without ids. If remotes are `named` by the user, they may be inside the network
    of this machine. The credentials of `clones.git` are used for LFS too.
    """

    name = "git"
    prefix = "git"

    def __init__(
        self,
        endpoint: str,
        clones: Clones,
        *,
        packages: tuple[str, ...] = (),
        named: bool = True,
        session: Session | None = None,
    ) -> None:
        self.endpoint = endpoint.rstrip("/")
        self.session = session or Session()
        self._clones = clones
        clones.bind_session(self.session)
        self._packages = packages
        self._named = named
        self._schemes = NAMED if named else WEB
        if named:
            clones.git.protocols = ":".join(NAMED)
        self._addresses: dict[str, LfsAddresses] = {}
        self._found: dict[Remote, tuple[list[HubFile], Snapshot]] = {}

    def listing(self, query: Query, cursor: str | None) -> Iterator[Page]:
        """Yield one page per requested remote; the cursor is the number of the next one.

        Raises:
            UsageError: no remote was named.
        """
        ids = query.ids or self._packages
        if not ids:
            raise UsageError("git remotes cannot be listed", hint="name packages: `--id https://HOST/PATH`")
        for index in range(int(cursor or 0), len(ids)):
            following = str(index + 1) if index + 1 < len(ids) else None
            yield Page(packages=(self._ask(ids[index]),), cursor=following)

    @property
    def quotas(self) -> Mapping[str, tuple[int, int]]:
        """Remotes document no limits of git's own protocol."""
        return UNDOCUMENTED

    def foresee(self, listed: Listed) -> Foreseen:
        """Return that a remote says nothing of files before it is fetched.

        Raises:
            NotFound, AuthError: as `describe`.
        """
        self._check_access(listed)
        return Foreseen()

    def describe(self, listed: Listed) -> Described:
        """Pin the package to the commit it was listed with, fetch that, and read the licence from its files.

        Raises:
            NotFound: the remote does not exist or is empty; AuthError: it requires a login; otherwise as `files`.
        """
        commit = self._check_access(listed)
        identity = Identity(hub=self.prefix, name=listed.name, commit=commit, author=listed.author)
        described = Described(identity=identity, listed=listed, answers=(("remote", listed.raw.encode()),))
        remote = self._remote(described)
        self._found[remote] = self._clones.files(remote)
        listed = with_licence(listed, self._found[remote][0], lambda file: self.read_blob(remote, file))
        return msgspec.structs.replace(described, listed=listed)

    def _check_access(self, listed: Listed) -> str:
        """Return the commit that the package was listed with.

        Raises:
            NotFound: the remote does not exist or is empty; AuthError: it requires a login.
        """
        if listed.access == "private":
            if self._credentials(decode_json(listed.raw or "{}", dict[str, str]).get("url", "")):
                raise AuthError(
                    f"`{self.prefix}:{listed.name}` cannot be read with the token in `PTMTORRENT_GIT_TOKEN`",
                    hint="set `PTMTORRENT_GIT_TOKEN` to a token with access to this remote",
                )
            raise AuthError(
                f"`{self.prefix}:{listed.name}` requires a login",
                hint="set `PTMTORRENT_GIT_TOKEN`, and `--endpoint` to the server that the token is for",
            )
        if listed.access != "public" or listed.commit is None:
            raise NotFound(f"`{self.prefix}:{listed.name}` was not found, or the remote is empty")
        return listed.commit

    def files(self, described: Described) -> tuple[list[HubFile], tuple[tuple[str, bytes], ...]]:
        """Fetch the commit and return its files; the raw answer holds its commit and tree objects.

        Raises:
            IntegrityError: the hash of a file, tree or commit is wrong; NotFound: the commit is gone.
        """
        remote = self._remote(described)
        files, snapshot = self._found.pop(remote) if remote in self._found else self._clones.files(remote)
        waiting = {
            file.oid.removeprefix("sha256:"): file.size or 0 for file in files if file.oid and file.source == "lfs"
        }
        self._addresses[described.identity.package] = self._new_addresses(remote, waiting)
        history = [HISTORY_FILE] if self._clones.history else []
        return [*history, *files], ((PROOF, join_proof(snapshot.proof)),)

    def locate(self, described: Described, file: HubFile) -> Located:
        """Return the git blob, or the current address of the LFS object.

        Raises:
            NotFound: LFS does not have it; otherwise as `LfsAddresses.locate`.
        """
        remote = self._remote(described)
        if file.answer == HISTORY:
            return Located(pieces=partial(self._clones.bundle, remote))
        kind, _, oid = (file.oid or "").partition(":")
        if kind == "sha256" and file.size == 0:
            return EMPTY
        if kind == "git":
            return Located(pieces=partial(self._clones.pieces, remote, oid))
        if protocol_of(remote.url) not in WEB:
            return _locate_without_batch(remote, file, oid)
        package = described.identity.package
        addresses = self._addresses.get(package)
        if addresses is None:
            addresses = self._addresses.setdefault(package, self._new_addresses(remote, {}))
        try:
            return addresses.locate(LfsObject(oid=oid, size=file.size or 0))
        except NotFound as error:
            raise NotFound(f"{remote.package} file `{file.path}`: {error.message}", hint=error.hint) from error

    def release(self, described: Described) -> None:
        """Delete the bare clone unless another package uses it."""
        self._addresses.pop(described.identity.package, None)
        self._found.pop(self._remote(described), None)
        self._clones.release(self._remote(described))

    def close(self) -> None:
        """Stop running processes and close all connections."""
        self._clones.close()
        self.session.close()

    def read_blob(self, remote: Remote, file: HubFile) -> bytes | None:
        """Return the bytes of a file in git; those of an LFS file are not known before the download."""
        kind, _, oid = (file.oid or "").partition(":")
        return self._clones.read(remote, oid) if kind == "git" else None

    def _remote(self, described: Described) -> Remote:
        identity = described.identity
        found = decode_json(described.listed.raw or "{}", dict[str, str]).get("url", "")
        url = split_remote(found, self._schemes)[0]
        self._allow_inner(url)
        return Remote(url=url, commit=identity.commit, package=f"`{identity.package}`")

    def _allow_inner(self, url: str) -> None:
        """Allow a remote inside the network of this machine, if the user named it."""
        if self._named and self.session.guarded and is_internal(url):
            self.session.guarded = False

    def _new_addresses(self, remote: Remote, waiting: dict[str, int]) -> LfsAddresses:
        what = f"the LFS objects of {remote.package}"
        return LfsAddresses(self.session, remote.url, self._credentials(remote.url), what, waiting)

    def _credentials(self, url: str) -> dict[str, str]:
        for address, value in self._clones.git.credentials.items():
            if url.startswith(address):
                return {"Authorization": value}
        return {}

    def _ask(self, text: str) -> Listed:
        # A package of this endpoint may be requested by the name it is listed with.
        own = urlsplit(self.endpoint).netloc.replace(":", "+")
        path = text.removeprefix(f"{own}/")
        url, name = split_remote(text if is_address(text) else f"{self.endpoint}/{path}", self._schemes)
        raw = msgspec.json.encode({"url": url}).decode()
        self._allow_inner(url)
        try:
            commit = self._clones.git.head(url, f"`{self.prefix}:{name}`")
        except NotFound:
            return Listed(name=name, access="gone", raw=raw)
        except AuthError:
            return Listed(name=name, access="private", raw=raw)
        listed = Listed(name=name, commit=commit, licence_in_files=True, raw=raw)
        return fill(listed, read_facts(name, {"url": url}))


def _locate_without_batch(remote: Remote, file: HubFile, oid: str) -> Located:
    """Return the LFS object of a remote that has no batch API: a local folder keeps its objects beside its commits."""
    what = f"{remote.package} file `{file.path}`"
    folder = local_folder(remote.url)
    if folder is None:
        raise NotFound(
            f"{what}: its LFS object `sha256:{oid}` cannot be located by `{protocol_of(remote.url)}`",
            hint="name the remote by its `https://` address",
        )
    for kept in (folder, folder / ".git", folder.with_name(f"{folder.name}.git")):
        place = kept / "lfs" / "objects" / oid[:2] / oid[2:4] / oid
        if place.is_file():
            return Located(path=place)
    raise NotFound(
        f"{what}: the LFS object `sha256:{oid}` is not in `{folder}`", hint="fetch it there: git lfs fetch --all"
    )


def make(options: HubOptions, session: Session) -> GitRemotes:
    """Return the adapter; the token for `git`, if any, is sent to the endpoint only, as the password of `token`."""
    endpoint = options.endpoint.rstrip("/")
    token = options.tokens.get(GitRemotes.prefix)
    logins = {}
    if token:
        logins[f"{endpoint}/"] = "Basic " + base64.b64encode(f"token:{token}".encode()).decode()
    clones = Clones(Git(options.environment, credentials=logins), options.work, history=HISTORY in options.also)
    return GitRemotes(endpoint, clones, session=session)
