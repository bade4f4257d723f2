"""TensorFlow Hub, which is closed: its documents, read, and its handles, led to where they went on Kaggle Models.

::

    # Module google/movenet/singlepose/lightning/4
    A convolutional neural network model that …
    <!-- asset-path: internal -->
    <!-- task: image-pose-detection -->

A handle is no key: of 2,819 documents, 112 have the handle of another (deployments have that of their module). Kind and
handle together are one.
"""

import re
from urllib.parse import quote, urlsplit

import msgspec

from ptmtorrent.errors import HubError, NotFound
from ptmtorrent.hubs.client.session import Session

MAX_DOCUMENT_BYTES = 1 << 20
PUBLIC_ENDPOINT = "https://tfhub.dev"

_TITLE = re.compile(r"# ([A-Za-z]{1,20}) ([\w.+-]+(?:/[\w.+-]+)*)\s*")
_TAG = re.compile(r"^<!-- ([a-z][a-z-]{0,40}): (.{1,2000}?) *-->[ \t]*$", re.MULTILINE)
_PART = r"(?!\.{1,2}(?:/|$))[\w.-]{1,200}"
_KAGGLE = re.compile(rf"/models/({_PART}/{_PART}/[A-Za-z0-9]{{1,40}}/{_PART})(?:/([0-9]{{1,9}}))?/?")


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """What a document says. `kind` is `Module`, `Lite`, `Tfjs`, …; `tags` are in order, and a key may come again."""

    kind: str
    handle: str
    path: str
    description: str
    tags: tuple[tuple[str, str], ...]

    def values(self, key: str) -> tuple[str, ...]:
        """Return all values of a tag."""
        return tuple(value for name, value in self.tags if name == key)


def read_document(path: str, data: bytes) -> Document:
    """Read the document at `path`.

    Raises:
        HubError: no UTF-8, too long, or without `# Kind handle` in its first line.
    """
    if len(data) > MAX_DOCUMENT_BYTES:
        raise HubError(f"the document `{path}` has {len(data)} bytes, more than any")
    try:
        content = data.decode()
    except UnicodeDecodeError as error:
        raise HubError(f"the document `{path}` is no UTF-8") from error
    first, _, rest = content.partition("\n")
    # Some titles hold marks that let a browser break the line; no handle does.
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


def kaggle_name(url: str) -> tuple[str, str | None]:
    """Return the package and version that an address on Kaggle names: `owner/model/framework/variation` and `4`.

    Raises:
        NotFound: it names none.
    """
    try:
        match = _KAGGLE.fullmatch(urlsplit(url).path)
    except ValueError:
        match = None
    if match is None:
        raise NotFound(f"`{url[:200]}` names no model on Kaggle")
    return match[1], match[2]


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """A variation on Kaggle: the `https://host` that has it, its package, and its version where one is named."""

    origin: str
    name: str
    version: str | None


def find_on_kaggle(session: Session, handle: str, endpoint: str = PUBLIC_ENDPOINT) -> Place:
    """Return where the closed hub redirects `handle` to.

    Raises:
        NotFound: nowhere, because it was not moved; else as `Session.open`.
    """
    what = f"the place of `{handle}` on Kaggle"
    with session.open(f"{endpoint.rstrip('/')}/{quote(handle)}", {}, budget="pages", what=what) as reply:
        url = urlsplit(str(reply.url))
    name, version = kaggle_name(url.geturl())
    return Place(origin=f"{url.scheme}://{url.netloc}", name=name, version=version)
