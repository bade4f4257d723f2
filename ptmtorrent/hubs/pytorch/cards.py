"""A card of PyTorch Hub, and the `hubconf.py` it leads to, read as text. Pure; nothing of either is ever run.

::

    ---
    title: ResNet
    tags: [vision, scriptable]
    github-id: pytorch/vision
    ---
    model = torch.hub.load('pytorch/vision:v0.10.0', 'resnet18', pretrained=True)
"""

import ast
import re
from collections.abc import Iterable, Sequence

import msgspec
import yaml

from ptmtorrent.errors import HubError
from ptmtorrent.hubs.catalogues import Read, is_web_address
from ptmtorrent.hubs.pytorch.entry_points import Repository, parse, reach, read_source

MAX_CARD_BYTES = 1 << 20
MAX_FRONT_CHARACTERS = 1 << 16
MAX_WEIGHTS = 1000
MAX_EVENTS = 4096
"""Limit of YAML events in a front matter; a real one has about 60."""

FRONT = re.compile(r"\A---\r?\n(.*?)\r?\n---\r?\n", re.DOTALL)
_LOAD = re.compile(
    r"hub\.load\(\s*(?:repo_or_dir\s*=\s*)?(['\"])([^'\":\s]+)(?::([^'\"\s]+))?\1\s*,\s*(?:model\s*=\s*)?['\"]([\w.-]+)['\"]"
)
_OWNED = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,99}/[A-Za-z0-9_-][A-Za-z0-9_.-]{0,99}")
_WEIGHTS = re.compile(r"\.(pth|pyth|pt|th|ckpt|bin|onnx|safetensors|tar|tar\.gz|zip|h5|jit|pkl|model)$", re.IGNORECASE)


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """What a card says. `owned` is `owner/name` of the git remote; `ref` its branch or tag, empty for HEAD."""

    title: str
    author: str | None
    tags: tuple[str, ...]
    owned: str
    ref: str
    entries: tuple[str, ...]


class Hubconf(msgspec.Struct, frozen=True, kw_only=True):
    """What a `hubconf.py` offers: its public functions, what they need, and the addresses of weights in it."""

    entries: tuple[str, ...]
    dependencies: tuple[str, ...]
    urls: tuple[str, ...]


def read_card(data: bytes) -> Card:
    """Read a card.

    The remote is the one `torch.hub.load` is shown with; where the card shows none, `github-id`. The two may differ in
    case, or by a rename that the forge redirects.

    Raises:
        HubError: no text, no front matter, YAML that is none or is refused, or no git remote in it.
    """
    if len(data) > MAX_CARD_BYTES:
        raise HubError(f"the card has {len(data)} bytes, more than any card")
    try:
        content = data.decode()
    except UnicodeDecodeError as error:
        raise HubError("the card is no UTF-8") from error
    match = FRONT.match(content)
    if match is None:
        raise HubError("the card has no front matter between `---` lines")
    front = read_front(match[1])
    loads = [found for found in _LOAD.findall(content) if _OWNED.fullmatch(found[1])]
    declared = front.get("github-id")
    owned, ref = (loads[0][1], loads[0][2]) if loads else (declared, "")
    if not isinstance(owned, str) or not _OWNED.fullmatch(owned):
        raise HubError(f"the card names no git remote: `github-id` is {str(declared)[:100]!r}")
    tags = front.get("tags")
    return Card(
        title=_said(front.get("title")) or "",
        author=_said(front.get("author")),
        tags=tuple(tag for tag in tags if isinstance(tag, str))[:100] if isinstance(tags, list) else (),
        owned=owned,
        ref=ref,
        entries=tuple(dict.fromkeys(entry for _, _, _, entry in loads)),
    )


def _said(value: object) -> str | None:
    """Return a text, or a number that YAML made of one, cut to 200 characters."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 64:
        value = str(value)
    return value[:200] if isinstance(value, str) else None


def read_front(content: str) -> dict[str, object]:
    """Read YAML that is a mapping, without anchors: a few of those unfold to more than there is memory for.

    Raises:
        HubError: it is not, or is longer or deeper than any front matter.
    """
    if len(content) > MAX_FRONT_CHARACTERS:
        raise HubError("the front matter of the card is too long")
    try:
        for count, event in enumerate(yaml.parse(content, Loader=yaml.SafeLoader)):
            if count > MAX_EVENTS or getattr(event, "anchor", None) is not None:
                raise HubError("the front matter of the card holds anchors, or more than any card: refused")
        front = yaml.safe_load(content)
    except (yaml.YAMLError, ValueError, RecursionError, TypeError, AttributeError, LookupError, OverflowError) as error:
        raise HubError(f"the front matter of the card is no YAML: {' '.join(str(error).split())[:200]}") from error
    if not isinstance(front, dict):
        raise HubError("the front matter of the card is no mapping")
    return {str(key): value for key, value in front.items()}


def read_hubconf(data: bytes) -> Hubconf:
    """Read `hubconf.py` by its syntax tree; addresses are the texts in it that end as weights do.

    Raises:
        HubError: it is no Python that this Python reads, or longer than any.
    """
    tree = _parse(data)
    texts = (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str))
    return Hubconf(
        entries=tuple(
            node.name for node in tree.body if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")
        ),
        dependencies=_dependencies(tree),
        urls=_weights_among(texts),
    )


def find_weights(data: bytes, entries: Sequence[str], read: Read) -> tuple[str, ...]:
    """Return the addresses of weights that `entries` of the `hubconf.py` in `data` can load.

    Those that it has not are passed over; without any that it has, all its public names count. Where none of them is
    seen to lead to weights, those that stand anywhere in `hubconf.py` do. `read` gives files of its repository.

    Raises:
        HubError: as `read_hubconf`, or more weights than any package has.
    """
    source = read_source(_parse(data), ())
    public = [name for name in (*source.definitions, *source.imports) if not name.startswith("_")]
    known = [entry for entry in entries if entry in public] or ([*entries, *public] if source.stars else public)
    found = _weights_among(reach(Repository(read), source, known)) or read_hubconf(data).urls
    if len(found) > MAX_WEIGHTS:
        raise HubError(f"`hubconf.py` leads to {len(found)} files of weights, more than any package has")
    return found


def _parse(data: bytes) -> ast.Module:
    try:
        return parse(data)
    except HubError as error:
        raise HubError(f"`hubconf.py` cannot be read: {error.message}") from error


def _weights_among(texts: Iterable[str]) -> tuple[str, ...]:
    found = (text for text in texts if is_web_address(text) and _WEIGHTS.search(text.partition("?")[0]))
    return tuple(dict.fromkeys(found))


def _dependencies(tree: ast.Module) -> tuple[str, ...]:
    for node in tree.body:
        if not isinstance(node, ast.Assign) or not isinstance(node.value, ast.List | ast.Tuple):
            continue
        if any(isinstance(target, ast.Name) and target.id == "dependencies" for target in node.targets):
            values = (item.value for item in node.value.elts if isinstance(item, ast.Constant))
            return tuple(value for value in values if isinstance(value, str))
    return ()
