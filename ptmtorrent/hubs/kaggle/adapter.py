"""Kaggle Models through its public API. A variation is a package, its version number the commit.

The listing has no hashes, but the download address of a file has (`x-goog-hash`). So each file is requested twice, the
first time for its headers only (ADR 0025).
"""

from collections.abc import Iterator, Mapping, Sequence
from urllib.parse import quote, urlencode

import msgspec

from ptmtorrent.errors import AuthError, HubError, NotFound, PtmError
from ptmtorrent.hubs.client.session import MAX_REPLY_BYTES, Session
from ptmtorrent.hubs.kaggle.records import (
    is_model,
    is_name,
    promised,
    read_files,
    read_instance,
    read_models,
    read_object,
    read_token,
)
from ptmtorrent.hubs.port import UNDOCUMENTED, Described, Foreseen, HubFile, Listed, Located, Page, Query
from ptmtorrent.hubs.registry import HubOptions
from ptmtorrent.model.ids import check_paths
from ptmtorrent.model.manifest import Identity
from ptmtorrent.model.text import count, spell_size

PAGE_MODELS = 100
PAGE_FILES = 200
MAX_PAGES = 5000


def make(options: HubOptions, session: Session) -> "KaggleModels":
    """Return the adapter, with the token for `kaggle`."""
    return KaggleModels(options.endpoint, options.tokens.get("kaggle"), session)


class KaggleModels:
    """The hub at `endpoint`. `token` is sent to that origin only."""

    name = "kaggle"
    prefix = "kaggle"

    def __init__(self, endpoint: str, token: str | None = None, session: Session | None = None) -> None:
        self.endpoint = endpoint.rstrip("/")
        self.session = session or Session()
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    def listing(self, query: Query, cursor: str | None) -> Iterator[Page]:
        """Yield pages, most downloaded first. The hub gives this order, but not the counts.

        Raises:
            HubError: an answer is not a listing; otherwise as `Session.read`.
        """
        if query.ids:
            for index in range(int(cursor or 0), len(query.ids)):
                following = str(index + 1) if index + 1 < len(query.ids) else None
                yield Page(packages=self._ask_or_miss(query.ids[index]), cursor=following)
            return
        seen = {cursor}
        while True:
            order = {"sortBy": "LIST_MODELS_ORDER_BY_DOWNLOAD_COUNT", "pageSize": str(PAGE_MODELS)}
            answer = self._read("models/list", {**order, **({"pageToken": cursor} if cursor else {})}, self._listing)
            packages, cursor = tuple(read_models(answer)), read_token(answer, self._listing)
            yield Page(packages=packages, cursor=cursor)
            if cursor is None:
                return
            if cursor in seen or len(seen) > MAX_PAGES:
                raise HubError(f"{self._listing} does not end: its next page was read before, or there are too many")
            seen.add(cursor)

    @property
    def quotas(self) -> Mapping[str, tuple[int, int]]:
        """Kaggle documents no limits."""
        return UNDOCUMENTED

    def foresee(self, listed: Listed) -> Foreseen:
        """Return that the listing says nothing of files; raise what `describe` would."""
        self.describe(listed)
        return Foreseen()

    def describe(self, listed: Listed) -> Described:
        """Pin the package to the version it was listed with.

        Raises:
            NotFound: the hub does not have the package, or no version of it; AuthError: it is private.
        """
        package = f"`{self.prefix}:{listed.name}`"
        if listed.access == "private":
            raise AuthError(f"{package} is private")
        if listed.access != "public":
            raise NotFound(f"{package} was not found on the hub")
        if listed.commit is None:
            raise NotFound(f"{package} has no version")
        identity = Identity(
            hub=self.prefix, name=listed.name, commit=listed.commit, hub_id=listed.hub_id, author=listed.author
        )
        return Described(identity=identity, listed=listed, answers=(("model", listed.raw.encode()),))

    def files(self, described: Described) -> tuple[list[HubFile], tuple[tuple[str, bytes], ...]]:
        """Return the files of the pinned version, each with the MD5 from its download address.

        Raises:
            HubError: the list of files is malformed or does not end; IntegrityError: a path that is not allowed in a
                manifest; AuthError: the terms of the package were not accepted; NotFound: it has no file any more;
                otherwise as `Session.read`.
        """
        what = f"the files of `{described.identity.package}`"
        rows: list[tuple[str, int | None]] = []
        answers: list[tuple[str, bytes]] = []
        token: str | None = None
        total = 0
        for _ in range(MAX_PAGES):
            options = {"pageSize": str(PAGE_FILES), **({"pageToken": token} if token else {})}
            answer = self._read(f"{self._version(described)}/files", options, what)
            answers.append(("files", msgspec.json.encode(answer)))
            total += len(answers[-1][1])
            if total > MAX_REPLY_BYTES:
                raise HubError(f"{what} could not be listed: the list exceeds {spell_size(MAX_REPLY_BYTES)}")
            rows += read_files(answer, what)
            token = read_token(answer, what)
            if token is None:
                break
        else:
            raise HubError(f"{what} could not be listed: the list has more than {count(MAX_PAGES, 'page')}")
        check_paths(path for path, _ in rows)
        rows.sort(key=lambda row: row[0].encode())
        return self._probe_all(described, rows), tuple(answers)

    def locate(self, described: Described, file: HubFile) -> Located:
        """Return the address that redirects to the bytes of `file` at the pinned version."""
        return Located(url=self._address(described, file.path), headers=self._headers, budget="files")

    def release(self, described: Described) -> None:
        """Do nothing: this hub keeps no state per package."""

    def close(self) -> None:
        """Close all connections."""
        self.session.close()

    @property
    def _listing(self) -> str:
        return f"the listing of `{self.endpoint}`"

    def _probe_all(self, described: Described, rows: Sequence[tuple[str, int | None]]) -> list[HubFile]:
        """Return the files; one that is refused or gone has no hash, and its download says why it cannot be had."""
        files: list[HubFile] = []
        failures: list[PtmError] = []
        for path, size in rows:
            try:
                files.append(self._probe(described, path, size))
            except (AuthError, NotFound) as error:
                files.append(HubFile(path=path, size=size, oid=None, source="url"))
                failures.append(error)
        if failures and len(failures) == len(rows):
            raise failures[0]
        return files

    def _probe(self, described: Described, path: str, size: int | None) -> HubFile:
        what = f"`{described.identity.package}` file `{path}`"
        with self.session.open(self._address(described, path), self._headers, budget="files", what=what) as reply:
            return promised(path, size, reply.headers)

    def _address(self, described: Described, path: str) -> str:
        return f"{self.endpoint}/api/v1/{self._version(described)}/download/{quote(path)}"

    def _version(self, described: Described) -> str:
        return f"models/{quote(described.identity.name)}/{described.identity.commit}"

    def _ask_or_miss(self, name: str) -> tuple[Listed, ...]:
        """Return the package `name`, or for `owner/model` the packages of all its variations."""
        if is_model(name):
            return self._variations(name) or (Listed(name=name, access="gone"),)
        return (self._ask_for(name) if is_name(name) else Listed(name=name, access="gone"),)

    def _variations(self, name: str) -> tuple[Listed, ...]:
        what = f"the variations of `{self.prefix}:{name}`"
        url = f"{self.endpoint}/api/v1/models/{quote(name)}/get"
        try:
            body, _ = self.session.read(url, self._headers, budget="api", what=what)
        except NotFound:
            return ()
        except AuthError:
            return (Listed(name=name, access="private"),)
        return tuple(read_models({"models": [{**read_object(body, what), "ref": name}]}))

    def _ask_for(self, name: str) -> Listed:
        what = f"the description of `{self.prefix}:{name}`"
        url = f"{self.endpoint}/api/v1/models/{quote(name)}/get"
        try:
            body, _ = self.session.read(url, self._headers, budget="api", what=what)
        except NotFound:
            return Listed(name=name, access="gone")
        except AuthError:
            return Listed(name=name, access="private")
        return read_instance(name, body, what)

    def _read(self, path: str, options: dict[str, str], what: str) -> dict[str, object]:
        url = f"{self.endpoint}/api/v1/{path}?{urlencode(options)}"
        return read_object(self.session.read(url, self._headers, budget="api", what=what)[0], what)
