"""Parses documents of the closed TensorFlow Hub, and resolves its handles to their new place on Kaggle Models.

::

    # Module google/movenet/singlepose/lightning/4
    A convolutional neural network model that …
    <!-- asset-path: internal -->
    <!-- task: image-pose-detection -->

A handle is not unique: of 2,819 documents, 112 share theirs (deployments have the handle of their module). Kind and
handle together are unique.
"""

import re
from urllib.parse import quote, urlsplit

import msgspec

from ptmtorrent.errors import HubError, NotFound
from ptmtorrent.hubs.client.session import Session
from ptmtorrent.model.text import spell_size

MAX_DOCUMENT_BYTES = 1 << 20
PUBLIC_ENDPOINT = "https://tfhub.dev"

_TITLE = re.compile(r"# ([A-Za-z]{1,20}) ([\w.+-]+(?:/[\w.+-]+)*)\s*")
_TAG = re.compile(r"^<!-- ([a-z][a-z-]{0,40}): (.{1,2000}?) *-->[ \t]*$", re.MULTILINE)
_PART = r"(?!\.{1,2}(?:/|$))[\w.-]{1,200}"
_KAGGLE = re.compile(rf"/models/({_PART}/{_PART}/[A-Za-z0-9]{{1,40}}/{_PART})(?:/([0-9]{{1,9}}))?/?")


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """A parsed document. `kind` is `Module`, `Lite`, `Tfjs`, …; `tags` keep their order, and keys may repeat."""

    kind: str
    handle: str
    path: str
    description: str
    tags: tuple[tuple[str, str], ...]

    def values(self, key: str) -> tuple[str, ...]:
        """Return all values of a tag."""
        return tuple(value for name, value in self.tags if name == key)


def read_document(path: str, data: bytes) -> Document:
    """Return the parsed document at `path`.

    Raises:
        HubError: not UTF-8, too long, or the first line is not `# Kind handle`.
    """
    if len(data) > MAX_DOCUMENT_BYTES:
        size, limit = spell_size(len(data)), spell_size(MAX_DOCUMENT_BYTES)
        raise HubError(f"the document `{path}` is {size}, over the limit of {limit}")
    try:
        content = data.decode()
    except UnicodeDecodeError as error:
        raise HubError(f"the document `{path}` is not UTF-8") from error
    first, _, rest = content.partition("\n")
    # Some titles hold entities that allow a line break; handles do not.
    title = _TITLE.fullmatch(first.replace("&zwnj;", ""))
    if title is None:
        raise HubError(f"the document `{path}` begins with {first[:100]!r}, not with `# Kind handle`")
    words = rest.partition("<!--")[0].strip().partition("\n\n")[0]
    return Document(
        kind=title[1],
        handle=title[2],
        path=path,
        description=" ".join(words.split())[:1000],
        tags=tuple((key, value.strip()) for key, value in _TAG.findall(rest)),
    )


def parse_kaggle_url(url: str) -> tuple[str, str | None]:
    """Return the package and version that a Kaggle URL names: `owner/model/framework/variation` and `4` or None.

    Raises:
        NotFound: the URL does not name a variation.
    """
    try:
        match = _KAGGLE.fullmatch(urlsplit(url).path)
    except ValueError:
        match = None
    if match is None:
        raise NotFound(f"`{url[:200]}` is not the URL of a model on Kaggle")
    return match[1], match[2]


class KagglePlace(msgspec.Struct, frozen=True, kw_only=True):
    """A variation on Kaggle: its `https://host`, its package, and its version if the URL named one."""

    origin: str
    name: str
    version: str | None


def find_on_kaggle(session: Session, handle: str, endpoint: str = PUBLIC_ENDPOINT) -> KagglePlace:
    """Return the variation that the closed hub redirects `handle` to.

    Raises:
        NotFound: the handle was not moved; otherwise as `Session.open`.
    """
    what = f"the redirect of `{handle}` to Kaggle"
    with session.open(f"{endpoint.rstrip('/')}/{quote(handle)}", {}, budget="pages", what=what) as reply:
        url = urlsplit(str(reply.url))
    name, version = parse_kaggle_url(url.geturl())
    return KagglePlace(origin=f"{url.scheme}://{url.netloc}", name=name, version=version)
