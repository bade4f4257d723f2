"""Hugging Face through its REST protocol: listing, description, tree, resolve.

The protocol is implemented here because the official client does not resume listings or downloads and does not keep
within a quota. A page of the listing describes 1,000 packages, so a package costs one request for its tree and one per
file.
"""

import re
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from urllib.parse import quote, urlencode, urljoin, urlsplit

import msgspec

from ptmtorrent.errors import AuthError, ConfigError, HubError, NotFound, RateLimited
from ptmtorrent.hubs.client.redact import redact_json
from ptmtorrent.hubs.client.session import Session
from ptmtorrent.hubs.client.status_errors import Hidden, Unreachable
from ptmtorrent.hubs.huggingface.discussions import read_discussions
from ptmtorrent.hubs.huggingface.records import (
    UNREADABLE,
    is_usable_name,
    read_files,
    read_foreseen,
    read_listed,
    read_listed_or_name,
    split_page,
)
from ptmtorrent.hubs.huggingface.xet import XetStorage
from ptmtorrent.hubs.port import Described, Foreseen, HubFile, Listed, Located, Page, Query
from ptmtorrent.hubs.registry import HubOptions
from ptmtorrent.model.ids import show_path
from ptmtorrent.model.manifest import Identity
from ptmtorrent.model.text import count, spell_size

PUBLIC_ENDPOINT = "https://huggingface.co"
PAGE_PACKAGES = 1000
EXPAND = (
    *("author", "cardData", "config", "createdAt", "disabled", "downloads", "downloadsAllTime", "gated", "gguf"),
    *("lastModified", "library_name", "likes", "pipeline_tag", "private", "safetensors", "sha", "tags"),
)
"""Fields that are requested for every record of a listing."""

FILES = "siblings"
"""The field with the names of all files, for an estimate."""

ANONYMOUS_CALLS, FREE_CALLS, WINDOW_SECONDS = 500, 1_000, 300
"""Calls of the API per window without a token, and with one of an account of the lowest tier.

Source: Hugging Face Hub documentation, "Hub rate limits", September 2025.
"""

HISTORY = "history"
DISCUSSIONS = "discussions"
"""Names of the raw answers that `--with` adds."""

_MAX_TREE_PAGES = 1000
MAX_TREE_BYTES = 64 << 20
"""Limit of all pages of a tree together (64 MiB): the manifest of a package with more files would be too long."""

_LINK = re.compile(r"<([^>]*)>([^<]*)")
_NEXT = re.compile(r";rel=\"?next\"?(?:[;,]|$)")
_TOKEN = re.compile(r"[!-~]+")


class HuggingFace:
    """A hub that speaks this protocol at `endpoint`. `token` is sent to that origin only.

    `also` names what is kept besides the packages: `history` (the list of commits up to the pinned one) and
    `discussions`. With `xet`, files in Xet storage are downloaded with the Xet protocol.

    Raises:
        ConfigError: `token` is not allowed in a header (the HTTP client's own error would print it).
    """

    name = "huggingface"
    prefix = "hf"

    def __init__(
        self,
        endpoint: str = PUBLIC_ENDPOINT,
        token: str | None = None,
        session: Session | None = None,
        also: frozenset[str] = frozenset(),
        *,
        xet: bool = False,
    ) -> None:
        self.endpoint = endpoint.rstrip("/")
        self.session = session or Session()
        self._token = _check_token(token)
        self._also = also
        # A hub served over plain HTTP, such as a local one, may have its storage there too.
        schemes = ("https",) if self.endpoint.startswith("https:") else ("https", "http")
        self._xet = XetStorage(self._read_token, self.session, schemes) if xet else None

    @property
    def quotas(self) -> Mapping[str, tuple[int, int]]:
        """The calls of the API that the hub documents; file requests follow from them."""
        return {"api": (ANONYMOUS_CALLS if self._token is None else FREE_CALLS, WINDOW_SECONDS)}

    def listing(self, query: Query, cursor: str | None) -> Iterator[Page]:
        """Yield pages, most downloaded first. The cursor is the URL of the next page.

        Raises:
            HubError: an answer is not a listing, or the next page is on another origin; otherwise as `Session.read`.
        """
        if query.ids:
            yield from self._named(query.ids, cursor)
            return
        url: str | None = cursor or self._first_page(query)
        while url is not None:
            packages, headers = self._read_page(url)
            url = None if _is_past(packages, query.min_downloads) else self._next(headers, self._listing)
            yield Page(packages=packages, cursor=url)

    def foresee(self, listed: Listed) -> Foreseen:
        """Return what the record says; asking for the files takes a call for a thousand, and one for each extra.

        Raises the error of `describe` that follows from the record.
        """
        self._check_access(listed)
        said = read_foreseen(listed.raw.encode())
        trees = max(1, -(-(said.files or 0) // PAGE_PACKAGES))
        return msgspec.structs.replace(said, calls=trees + len(self._also))

    def _check_access(self, listed: Listed) -> None:
        """Refuse what the listing shows cannot be had.

        Raises:
            AuthError, NotFound: as `describe`.
        """
        if listed.access == UNREADABLE:
            raise HubError(f"the hub lists a package without a usable name or record: {listed.name!r}")
        if listed.access in {"gone", "hidden"}:
            raise NotFound(f"`{self.prefix}:{listed.name}` was not found on the hub")
        if listed.access == "disabled":
            raise AuthError(f"`{self.prefix}:{listed.name}` was disabled by the hub")
        if listed.access in {"gated", "private"} and self._token is None:
            raise AuthError(
                f"`{self.prefix}:{listed.name}` is {listed.access}",
                hint="accept its terms on the hub, then set HF_TOKEN to a token of that account",
            )

    def describe(self, listed: Listed) -> Described:
        """Pin the package to the commit it was listed with; request the description only if the listing had none.

        Raises:
            AuthError: the package is gated or private and no token is set, or it is disabled.
            NotFound: the hub does not have it, or it has no commit.
        """
        self._check_access(listed)
        if listed.commit is None:
            listed = self._ask(listed.name)
        if listed.commit is None:
            raise NotFound(f"`{self.prefix}:{listed.name}` has no commit")
        identity = Identity(
            hub=self.prefix, name=listed.name, commit=listed.commit, hub_id=listed.hub_id, author=listed.author
        )
        return Described(identity=identity, listed=listed, answers=(("model_info", listed.raw.encode()),))

    def files(self, described: Described) -> tuple[list[HubFile], tuple[tuple[str, bytes], ...]]:
        """Return the files at the pinned commit; the raw answers are the pages of the tree and what `also` adds.

        Raises:
            NotFound: the commit is gone; otherwise as `Session.read` and `read_files`.
        """
        identity = described.identity
        api = self._api(identity.name)
        what = f"the tree of `{identity.package}`"
        pages = list(self._pages(f"{api}/tree/{identity.commit}?recursive=true&expand=false", what))
        answers = [("tree", page) for page in pages]
        if HISTORY in self._also:
            commits = self._pages(f"{api}/commits/{identity.commit}", f"the commits of `{identity.package}`")
            answers += [(HISTORY, redact_json(page)) for page in commits]
        if DISCUSSIONS in self._also:
            discussions = read_discussions(
                lambda url, what: self._read(url, what)[0],
                f"{api}/discussions",
                f"the discussions of `{identity.package}`",
            )
            answers += [(DISCUSSIONS, redact_json(page)) for page in _bounded(discussions, "the discussions")]
        return read_files(pages, what), tuple(answers)

    def locate(self, described: Described, file: HubFile) -> Located:
        """Return the URL that redirects to the bytes of `file`, and its Xet download if that is enabled."""
        identity = described.identity
        path = f"{_quote(identity.name)}/resolve/{identity.commit}/{_quote(file.path)}"
        return Located(
            url=f"{self.endpoint}/{path}",
            headers=self._credentials(),
            budget="resolvers",
            ranged=self._by_xet(self._xet, described, file) if self._xet is not None and file.xet else None,
        )

    def release(self, described: Described) -> None:
        """Drop the package's token for Xet storage."""
        if self._xet is not None:
            self._xet.forget(self._xet_token(described))

    def close(self) -> None:
        """Close all connections."""
        if self._xet is not None:
            self._xet.close()
        self.session.close()

    def _by_xet(self, storage: XetStorage, described: Described, file: HubFile) -> Callable[[int], Generator[bytes]]:
        what = f"`{described.identity.package}` file `{show_path(file.path)}`"
        address, name, size = self._xet_token(described), file.xet or "", file.size or 0
        return lambda start: storage.pieces(address, name, size, start, what)

    def _read_token(self, url: str, what: str) -> bytes:
        return self._read(url, what)[0]

    def _xet_token(self, described: Described) -> str:
        return f"{self._api(described.identity.name)}/xet-read-token/{described.identity.commit}"

    @property
    def _listing(self) -> str:
        return f"the listing of `{self.endpoint}`"

    def _read_page(self, url: str) -> tuple[tuple[Listed, ...], Mapping[str, str]]:
        """Return a page and its headers; without the names of files if it is too long with them."""
        try:
            body, headers = self._read(url, self._listing)
            return tuple(read_listed_or_name(raw) for raw in split_page(body, self._listing)), headers
        except (Unreachable, RateLimited):
            raise
        except HubError:
            shorter = url.replace(f"&expand={FILES}", "")
            if shorter == url:
                raise
            return self._read_page(shorter)

    def _named(self, ids: tuple[str, ...], cursor: str | None) -> Iterator[Page]:
        for index in range(int(cursor or 0), len(ids)):
            following = str(index + 1) if index + 1 < len(ids) else None
            yield Page(packages=(self._ask_or_miss(ids[index]),), cursor=following)

    def _ask_or_miss(self, name: str) -> Listed:
        if not is_usable_name(name):
            return Listed(name=name, access="gone")
        try:
            return self._ask(name)
        except Hidden:
            return Listed(name=name, access="hidden")
        except NotFound:
            return Listed(name=name, access="gone")
        except AuthError:
            return Listed(name=name, access="private")

    def _ask(self, name: str) -> Listed:
        body, _ = self._read(self._api(name), f"the description of `{self.prefix}:{name}`")
        listed = read_listed(body)
        return listed if listed.name == name else msgspec.structs.replace(listed, formerly=name)

    def _pages(self, first: str, what: str) -> Iterator[bytes]:
        return _bounded(self._linked_pages(first, what), what)

    def _linked_pages(self, first: str, what: str) -> Iterator[bytes]:
        url: str | None = first
        seen: set[str] = set()
        while url is not None:
            if url in seen:
                raise HubError(f"{what} does not end: its next page was read before")
            seen.add(url)
            body, headers = self._read(url, what)
            yield body
            url = self._next(headers, what)

    def _first_page(self, query: Query) -> str:
        size = min(PAGE_PACKAGES, query.limit or PAGE_PACKAGES)
        fields = (*EXPAND, FILES) if query.files else EXPAND
        options = [("sort", "downloads"), ("limit", str(size)), *(("expand", name) for name in fields)]
        return f"{self.endpoint}/api/models?{urlencode(options)}"

    def _api(self, name: str) -> str:
        return f"{self.endpoint}/api/models/{_quote(name)}"

    def _read(self, url: str, what: str) -> tuple[bytes, Mapping[str, str]]:
        return self.session.read(url, self._credentials(), budget="api", what=what)

    def _credentials(self) -> dict[str, str]:
        return {} if self._token is None else {"Authorization": f"Bearer {self._token}"}

    def _next(self, headers: Mapping[str, str], what: str) -> str | None:
        """Return the URL of the next page, which must be on the hub's origin because credentials are sent there."""
        target = _next_link(headers.get("link", ""))
        if target is None:
            return None
        try:
            url = urljoin(f"{self.endpoint}/", target)
            same = urlsplit(url)[:2] == urlsplit(self.endpoint)[:2]
        except ValueError as error:
            raise HubError(f"{what} continues at {target!r}, which is not a URL: refused") from error
        if not same:
            raise HubError(f"{what} continues on another host, `{url}`: refused")
        return url


def make(options: HubOptions, session: Session) -> HuggingFace:
    """Return the adapter, with the token for `hf`."""
    return HuggingFace(options.endpoint, options.tokens.get("hf"), session=session, also=options.also, xet=options.xet)


def _bounded(pages: Iterable[bytes], what: str) -> Iterator[bytes]:
    """Yield pages.

    Raises:
        HubError: there are too many, or they are too long together.
    """
    length = 0
    for number, page in enumerate(pages):
        length += len(page)
        if number >= _MAX_TREE_PAGES:
            raise HubError(f"{what} could not be read: more than {count(_MAX_TREE_PAGES, 'page')}")
        if length > MAX_TREE_BYTES:
            raise HubError(f"{what} could not be read: more than {spell_size(MAX_TREE_BYTES)}")
        yield page


def _check_token(token: str | None) -> str | None:
    token = (token or "").strip()
    if token and not _TOKEN.fullmatch(token):
        raise ConfigError(
            "`HF_TOKEN` has a character that is not allowed in a token", hint="copy the token from the hub again"
        )
    return token or None


def _next_link(header: str) -> str | None:
    """Return the target of `rel="next"` in a Link header (RFC 8288)."""
    links = ((target, rest.replace(" ", "")) for target, rest in _LINK.findall(header))
    return next((target for target, rest in links if _NEXT.search(rest)), None)


def _is_past(packages: tuple[Listed, ...], min_downloads: int | None) -> bool:
    """Return whether a listing sorted by downloads is below `min_downloads`; packages without a count are ignored."""
    counted = [listed.downloads for listed in packages if listed.downloads is not None]
    return min_downloads is not None and bool(counted) and counted[-1] < min_downloads


def _quote(text: str) -> str:
    return quote(text, safe="/")
