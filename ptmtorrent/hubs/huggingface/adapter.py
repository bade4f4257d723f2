"""Hugging Face by its REST protocol: listing, description, tree, resolve.

Spoken directly, because the official client neither resumes a listing or a download nor keeps within a quota. A page
of the listing describes 1,000 packages, so that a package costs one request for its tree and one for each file.
"""

import re
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from urllib.parse import quote, urlencode, urljoin, urlsplit

import msgspec

from ptmtorrent.errors import AuthError, ConfigError, HubError, NotFound
from ptmtorrent.hubs.client.redact import json_without_mail
from ptmtorrent.hubs.client.session import Session
from ptmtorrent.hubs.huggingface.discussions import read_discussions
from ptmtorrent.hubs.huggingface.records import is_usable_name, read_files, read_listed, split_page
from ptmtorrent.hubs.huggingface.xet import XetStorage
from ptmtorrent.hubs.port import Described, HubFile, Listed, Located, Page, Query
from ptmtorrent.hubs.registry import HubOptions
from ptmtorrent.model.manifest import Identity
from ptmtorrent.model.names import show_path

PUBLIC_ENDPOINT = "https://huggingface.co"
PAGE_PACKAGES = 1000
EXPAND = (
    *("author", "cardData", "config", "createdAt", "disabled", "downloads", "downloadsAllTime", "gated", "gguf"),
    *("lastModified", "library_name", "likes", "pipeline_tag", "private", "safetensors", "sha", "tags"),
)
"""What every record of a listing is asked to hold."""

HISTORY = "history"
DISCUSSIONS = "discussions"
"""What may be kept besides the packages: answers of these names."""

_MAX_TREE_PAGES = 1000
MAX_TREE_BYTES = 64 << 20
"""All pages of a tree together: a package of more files would have a manifest longer than any (64 MiB)."""

_LINK = re.compile(r"<([^>]*)>([^<]*)")
_NEXT = re.compile(r";rel=\"?next\"?(?:[;,]|$)")
_TOKEN = re.compile(r"[!-~]+")


class HuggingFace:
    """Any hub that speaks this protocol at `endpoint`; `token` is sent to that origin and to no other.

    `also` names what is to be kept besides the packages: `history`, the list of commits up to the pinned one, and
    `discussions`. With `xet`, files in Xet storage are asked for there.

    Raises:
        ConfigError: `token` is none: no header can hold it, and the error for that would print it.
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
        # A hub on this machine may have its storage here too.
        schemes = ("https",) if self.endpoint.startswith("https:") else ("https", "http")
        self._xet = XetStorage(self._read_token, schemes, self.session.check_place) if xet else None

    def listing(self, query: Query, cursor: str | None) -> Iterator[Page]:
        """Yield pages, most downloaded first. The cursor is the address of the next page.

        Raises:
            HubError: an answer that is no listing, or a cursor that leads to another origin; else as `Session.read`.
        """
        if query.ids:
            yield from self._named(query.ids, cursor)
            return
        url: str | None = cursor or self._first_page(query)
        while url is not None:
            what = f"the listing of `{self.endpoint}`"
            body, headers = self._read(url, what)
            packages = tuple(read_listed(raw) for raw in split_page(body, what))
            url = None if _is_past(packages, query.min_downloads) else self._next(headers, what)
            yield Page(packages=packages, cursor=url)

    def describe(self, listed: Listed) -> Described:
        """Pin the package to the commit it was listed with; ask the hub only where the listing did not say.

        Raises:
            AuthError: gated, and there is no token; private or disabled.
            NotFound: the hub does not have it, or has no commit in it.
        """
        if listed.access == "gone":
            raise NotFound(f"`{self.prefix}:{listed.name}` is not there: the hub has no such package")
        if listed.access == "disabled":
            raise AuthError(f"`{self.prefix}:{listed.name}` was disabled by the hub")
        if listed.access in {"gated", "private"} and self._token is None:
            raise AuthError(
                f"`{self.prefix}:{listed.name}` is {listed.access}",
                hint="accept its terms on the hub, then set HF_TOKEN to a token of that account",
            )
        if listed.commit is None:
            listed = self._ask(listed.name)
        if listed.commit is None:
            raise NotFound(f"`{self.prefix}:{listed.name}` has no commit")
        identity = Identity(
            hub=self.prefix, name=listed.name, commit=listed.commit, hub_id=listed.hub_id, author=listed.author
        )
        return Described(identity=identity, listed=listed, answers=(("model_info", listed.raw.encode()),))

    def files(self, described: Described) -> tuple[list[HubFile], tuple[tuple[str, bytes], ...]]:
        """Return the files at the pinned commit; the answers are the pages of the tree, and what else is to be kept.

        Raises:
            NotFound: the commit is gone; else as `Session.read` and `read_files`.
        """
        identity = described.identity
        api = self._api(identity.name)
        what = f"the tree of `{identity.package}`"
        pages = list(self._pages(f"{api}/tree/{identity.commit}?recursive=true&expand=false", what))
        answers = [("tree", page) for page in pages]
        if HISTORY in self._also:
            commits = self._pages(f"{api}/commits/{identity.commit}", f"the commits of `{identity.package}`")
            answers += [(HISTORY, json_without_mail(page)) for page in commits]
        if DISCUSSIONS in self._also:
            said = read_discussions(
                lambda url, what: self._read(url, what)[0],
                f"{api}/discussions",
                f"the discussions of `{identity.package}`",
            )
            answers += [(DISCUSSIONS, json_without_mail(page)) for page in _bounded(said, "the discussions")]
        return read_files(pages, what), tuple(answers)

    def locate(self, described: Described, file: HubFile) -> Located:
        """Return the address that redirects to the bytes of `file` at the pinned commit, and the way by Xet."""
        identity = described.identity
        path = f"{_quote(identity.name)}/resolve/{identity.commit}/{_quote(file.path)}"
        return Located(
            url=f"{self.endpoint}/{path}",
            headers=self._credentials(),
            budget="resolvers",
            ranged=self._by_xet(self._xet, described, file) if self._xet is not None and file.xet else None,
        )

    def release(self, described: Described) -> None:
        """Forget the token for its files in Xet storage."""
        if self._xet is not None:
            self._xet.forget(self._xet_token(described))

    def close(self) -> None:
        """Close all connections."""
        self.session.close()

    def _by_xet(self, storage: XetStorage, described: Described, file: HubFile) -> Callable[[int], Generator[bytes]]:
        what = f"`{described.identity.package}` file `{show_path(file.path)}`"
        address, name, size = self._xet_token(described), file.xet or "", file.size or 0
        return lambda start: storage.pieces(address, name, size, start, what)

    def _read_token(self, url: str, what: str) -> bytes:
        return self._read(url, what)[0]

    def _xet_token(self, described: Described) -> str:
        return f"{self._api(described.identity.name)}/xet-read-token/{described.identity.commit}"

    def _named(self, ids: tuple[str, ...], cursor: str | None) -> Iterator[Page]:
        for index in range(int(cursor or 0), len(ids)):
            following = str(index + 1) if index + 1 < len(ids) else None
            yield Page(packages=(self._ask_or_miss(ids[index]),), cursor=following)

    def _ask_or_miss(self, name: str) -> Listed:
        if not is_usable_name(name):
            return Listed(name=name, access="gone")
        try:
            return self._ask(name)
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
                raise HubError(f"{what} does not end: it goes on at a page that was read before")
            seen.add(url)
            body, headers = self._read(url, what)
            yield body
            url = self._next(headers, what)

    def _first_page(self, query: Query) -> str:
        size = min(PAGE_PACKAGES, query.limit or PAGE_PACKAGES)
        options = [("sort", "downloads"), ("limit", str(size)), *(("expand", name) for name in EXPAND)]
        return f"{self.endpoint}/api/models?{urlencode(options)}"

    def _api(self, name: str) -> str:
        return f"{self.endpoint}/api/models/{_quote(name)}"

    def _read(self, url: str, what: str) -> tuple[bytes, Mapping[str, str]]:
        return self.session.read(url, self._credentials(), budget="api", what=what)

    def _credentials(self) -> dict[str, str]:
        return {} if self._token is None else {"Authorization": f"Bearer {self._token}"}

    def _next(self, headers: Mapping[str, str], what: str) -> str | None:
        """Return the address of the next page, which must be on the hub: credentials are sent there."""
        target = _next_link(headers.get("link", ""))
        if target is None:
            return None
        try:
            url = urljoin(f"{self.endpoint}/", target)
            same = urlsplit(url)[:2] == urlsplit(self.endpoint)[:2]
        except ValueError as error:
            raise HubError(f"{what} goes on at {target!r}, which is no address: refused") from error
        if not same:
            raise HubError(f"{what} goes on at another host, `{url}`: refused")
        return url


def make(options: HubOptions) -> HuggingFace:
    """Return the adapter, with the token of `hf`."""
    return HuggingFace(options.endpoint, options.tokens.get("hf"), also=options.also, xet=options.xet)


def _bounded(pages: Iterable[bytes], what: str) -> Iterator[bytes]:
    """Yield pages until they are more, or longer, than a manifest can tell of."""
    length = 0
    for number, page in enumerate(pages):
        length += len(page)
        if number >= _MAX_TREE_PAGES:
            raise HubError(f"{what} has more than {_MAX_TREE_PAGES} pages")
        if length > MAX_TREE_BYTES:
            raise HubError(f"{what} is longer than {MAX_TREE_BYTES} bytes")
        yield page


def _check_token(token: str | None) -> str | None:
    token = (token or "").strip()
    if token and not _TOKEN.fullmatch(token):
        raise ConfigError("HF_TOKEN holds a character that no token has", hint="set it again, as the hub shows it")
    return token or None


def _next_link(header: str) -> str | None:
    """Return the target of `rel="next"` in a Link header (RFC 8288)."""
    links = ((target, rest.replace(" ", "")) for target, rest in _LINK.findall(header))
    return next((target for target, rest in links if _NEXT.search(rest)), None)


def _is_past(packages: tuple[Listed, ...], min_downloads: int | None) -> bool:
    """Tell whether a listing sorted by downloads has passed below `min_downloads`; who has no count says nothing."""
    counted = [listed.downloads for listed in packages if listed.downloads is not None]
    return min_downloads is not None and bool(counted) and counted[-1] < min_downloads


def _quote(text: str) -> str:
    return quote(text, safe="/")
