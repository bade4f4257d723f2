"""ONNX Model Zoo: one git remote whose folders with LFS files are the packages; bytes come from LFS or a mirror.

The packages are read from the commit, so the files that the zoo's manifest does not name (2,380 of 2,564) are included,
and `.lfsconfig` cannot hide any. The zoo's LFS storage was closed and its files were copied elsewhere under the same
paths. A copy is accepted because its SHA-256 is the oid that the commit names (ADR 0019).
"""

import threading
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any
from urllib.parse import quote

import msgspec

from ptmtorrent.errors import IntegrityError, Interrupted, NotFound, PtmError, RateLimited
from ptmtorrent.hubs.client.redact import redact
from ptmtorrent.hubs.client.session import Session
from ptmtorrent.hubs.facts import fill
from ptmtorrent.hubs.git.adapter import EMPTY
from ptmtorrent.hubs.git.clones import Clones, Remote
from ptmtorrent.hubs.git.lfs import LfsAddresses, LfsObject
from ptmtorrent.hubs.git.objects import FOLDER_PROOF, join_proof
from ptmtorrent.hubs.git.process import Git
from ptmtorrent.hubs.onnx.facts import read_facts
from ptmtorrent.hubs.onnx.readme import read_readme
from ptmtorrent.hubs.onnx.records import package_of, read_manifest, select_own_files
from ptmtorrent.hubs.port import UNDOCUMENTED, Described, Foreseen, HubFile, Listed, Located, Page, Query
from ptmtorrent.hubs.registry import HubOptions
from ptmtorrent.model.ids import check_path
from ptmtorrent.model.manifest import Identity

MANIFEST = "ONNX_HUB_MANIFEST.json"
README = "README.md"
MAX_README_BYTES = 1 << 20


def make(options: HubOptions, session: Session) -> "OnnxZoo":
    """Return the adapter; its bare clone is kept below `options.work`."""
    clones = Clones(Git(options.environment), options.work)
    return OnnxZoo(options.endpoint, clones, mirror=options.mirror, session=session)


class OnnxZoo:
    """The zoo in the git remote `endpoint`. `mirror` is a base URL with copies of its files at the same paths."""

    name = "onnx"
    prefix = "onnx"

    def __init__(
        self, endpoint: str, clones: Clones, *, mirror: str | None = None, session: Session | None = None
    ) -> None:
        self.endpoint = endpoint.rstrip("/")
        self.session = session or Session()
        self._clones = clones
        clones.bind_session(self.session)
        self._mirror = mirror.rstrip("/") if mirror else None
        self._lfs = LfsAddresses(self.session, self.endpoint, {}, f"the LFS objects of `{self.endpoint}`", {})
        self._lock = threading.Lock()

    def listing(self, query: Query, cursor: str | None) -> Iterator[Page]:
        """Yield one page: every package of the commit that HEAD names, sorted by path.

        Raises:
            HubError: the zoo or its manifest cannot be read; otherwise as `Git.head` and `Clones.files`.
        """
        del cursor
        packages = self._catalogue()
        if query.ids:
            packages = {name: packages.get(name) or Listed(name=name, access="gone") for name in query.ids}
        yield Page(packages=tuple(packages.values()), cursor=None)

    @property
    def quotas(self) -> Mapping[str, tuple[int, int]]:
        """The zoo documents no limits."""
        return UNDOCUMENTED

    def foresee(self, listed: Listed) -> Foreseen:
        """Return the files of the folder: the clone that the listing was read from has their pointers.

        Raises:
            NotFound: the zoo does not have it; otherwise as `files`.
        """
        files, _ = self.files(self.describe(listed))
        return Foreseen(files=len(files), bytes=sum(file.size or 0 for file in files), calls=0)

    def describe(self, listed: Listed) -> Described:
        """Pin the package to the commit it was listed at.

        Raises:
            NotFound: the zoo does not have it.
        """
        if listed.access != "public" or listed.commit is None:
            raise NotFound(f"`{self.prefix}:{listed.name}` was not found: the zoo has no such folder with LFS files")
        identity = Identity(hub=self.prefix, name=listed.name, commit=listed.commit)
        return Described(identity=identity, listed=listed, answers=(("record", listed.raw.encode()),))

    def files(self, described: Described) -> tuple[list[HubFile], tuple[tuple[str, bytes], ...]]:
        """Return the files of the folder; the raw answers are the commit and the trees on the way and below.

        Raises:
            IntegrityError: the hash of a file, tree or commit is wrong; NotFound: the commit is gone.
        """
        name = described.identity.name
        found, snapshot = self._clones.files(self._remote(described), name)
        files = select_own_files(name, found)
        self._lfs.expect({(file.oid or "").removeprefix("sha256:"): file.size or 0 for file in files if _is_lfs(file)})
        # The trees above the folder are shared by many packages: as separate objects they are stored once.
        shared = 1 + len(name.split("/"))
        parts = [*([one] for one in snapshot.proof[:shared]), list(snapshot.proof[shared:])]
        return files, tuple((FOLDER_PROOF, join_proof(part)) for part in parts if part)

    def locate(self, described: Described, file: HubFile) -> Located:
        """Return the git blob, or the current LFS address with the mirror as alternate.

        Raises:
            RateLimited: by the LFS server; otherwise, without a mirror, as `LfsAddresses.locate`.
        """
        remote = self._remote(described)
        kind, _, oid = (file.oid or "").partition(":")
        if kind == "sha256" and file.size == 0:
            return EMPTY
        if kind == "git":
            return Located(pieces=partial(self._clones.pieces, remote, oid))
        mirror = f"{self._mirror}/{quote(f'{described.identity.name}/{file.path}')}" if self._mirror else None
        try:
            return self._lfs.locate(LfsObject(oid=oid, size=file.size or 0), (mirror,) if mirror else ())
        except (RateLimited, Interrupted):
            raise
        except PtmError as error:
            if mirror is None:
                error.message = f"{remote.package} file `{file.path}`: {error.message}"
                raise
            return Located(url=mirror, failed=error.message)

    def release(self, described: Described) -> None:
        """Do nothing: one clone serves all packages, and `Clones` bounds its size."""

    def close(self) -> None:
        """Stop running processes and close all connections."""
        self._clones.close()
        self.session.close()

    def _catalogue(self) -> dict[str, Listed]:
        what = f"the zoo at `{self.endpoint}`"
        remote = Remote(url=self.endpoint, commit=self._clones.git.head(self.endpoint, what), package=what)
        files, _ = self._clones.files(remote)
        rows = {file.path: file for file in files}
        known = read_manifest(self._text(remote, rows.get(MANIFEST)))
        names = dict.fromkeys(package for file in files if _is_lfs(file) and (package := package_of(file.path)))
        found = {}
        for name in sorted(names):
            try:
                check_path(name)
            except IntegrityError:
                continue  # not allowed in a manifest; `clone git` reports it for the whole remote
            readme = read_readme(self._text(remote, rows.get(f"{name}/{README}")), name)
            found[name] = list_folder(name, (self.endpoint, remote.commit), known.get(name, ()), readme)
        return found

    def _text(self, remote: Remote, file: HubFile | None) -> bytes:
        if file is None or file.source != "git" or file.link is not None or (file.size or 0) > MAX_README_BYTES:
            return b""
        return self._clones.read(remote, (file.oid or "").removeprefix("git:"))

    def _remote(self, described: Described) -> Remote:
        identity = described.identity
        return Remote(url=self.endpoint, commit=identity.commit, package=f"`{identity.package}`")


def _is_lfs(file: HubFile) -> bool:
    return file.source == "lfs"


def list_folder(
    name: str, at: tuple[str, str], entries: Sequence[Mapping[str, Any]], readme: Mapping[str, Any]
) -> Listed:
    """Return the package of a folder of the zoo `at` a remote and commit, with its `entries` of the manifest."""
    remote, commit = at
    stated = {"readme": readme} if readme else {}
    raw = redact({"remote": remote, "folder": name, "commit": commit, "manifest": entries, **stated})
    return fill(Listed(name=name, commit=commit, raw=msgspec.json.encode(raw).decode()), read_facts(name, raw))
