"""Parses a card of PyTorch Hub and the `hubconf.py` of the remote it names. Pure; neither is ever run.

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

from ptmtorrent.errors import HubError
from ptmtorrent.facts.front_matter import FRONT, read_front
from ptmtorrent.hubs.catalogues import Read, is_web_address
from ptmtorrent.hubs.pytorch.entry_points import Repository, parse, reach, read_source
from ptmtorrent.model.text import count, spell_size

MAX_CARD_BYTES = 1 << 20
MAX_WEIGHTS = 1000
_LOAD = re.compile(
    r"hub\.load\(\s*(?:repo_or_dir\s*=\s*)?(['\"])([^'\":\s]+)(?::([^'\"\s]+))?\1\s*,\s*(?:model\s*=\s*)?['\"]([\w.-]+)['\"]"
)
_OWNED = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,99}/[A-Za-z0-9_-][A-Za-z0-9_.-]{0,99}")
_WEIGHTS = re.compile(r"\.(pth|pyth|pt|th|ckpt|bin|onnx|safetensors|tar|tar\.gz|zip|h5|jit|pkl|model)$", re.IGNORECASE)


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """A parsed card. `owned` is `owner/name` of the git remote; `ref` its branch or tag, empty for HEAD."""

    title: str
    author: str | None
    tags: tuple[str, ...]
    owned: str
    ref: str
    entries: tuple[str, ...]


class Hubconf(msgspec.Struct, frozen=True, kw_only=True):
    """A parsed `hubconf.py`: its public functions, their dependencies and the URLs of weights in it."""

    entries: tuple[str, ...]
    dependencies: tuple[str, ...]
    urls: tuple[str, ...]


def read_card(data: bytes) -> Card:
    """Return the parsed card.

    The remote is taken from the card's `torch.hub.load` call, or from `github-id` if the card shows none. The two may
    differ in case, or by a rename that the forge redirects.

    Raises:
        HubError: the card is not UTF-8, too long, has no valid front matter, or names no git remote.
    """
    if len(data) > MAX_CARD_BYTES:
        raise HubError(f"the card is {spell_size(len(data))}, over the limit of {spell_size(MAX_CARD_BYTES)}")
    try:
        content = data.decode()
    except UnicodeDecodeError as error:
        raise HubError("the card is not UTF-8") from error
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
        title=_short_text(front.get("title")) or "",
        author=_short_text(front.get("author")),
        tags=tuple(tag for tag in tags if isinstance(tag, str))[:100] if isinstance(tags, list) else (),
        owned=owned,
        ref=ref,
        entries=tuple(dict.fromkeys(entry for _, _, _, entry in loads)),
    )


def _short_text(value: object) -> str | None:
    """Return text, or a number that YAML parsed from text, cut to 200 characters."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 64:
        value = str(value)
    return value[:200] if isinstance(value, str) else None


def read_hubconf(data: bytes) -> Hubconf:
    """Return the parsed `hubconf.py`. URLs are the string constants that end like files of weights.

    Raises:
        HubError: this Python cannot parse it, or it is too long.
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
    """Return the URLs of weights that the entry points `entries` of the `hubconf.py` in `data` can load.

    Unknown entries are ignored; if all are unknown, every public name counts as one. If no weights are found from them,
    all URLs of weights in `hubconf.py` are returned. `read` returns files of the same remote.

    Raises:
        HubError: as `read_hubconf`, or too many weights.
    """
    source = read_source(_parse(data), ())
    public = [name for name in (*source.definitions, *source.imports) if not name.startswith("_")]
    known = [entry for entry in entries if entry in public] or ([*entries, *public] if source.stars else public)
    found = _weights_among(reach(Repository(read), source, known)) or read_hubconf(data).urls
    if len(found) > MAX_WEIGHTS:
        raise HubError(f"`hubconf.py` names {count(len(found), 'file')} of weights, over the limit of {MAX_WEIGHTS:,}")
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
