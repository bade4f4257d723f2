"""The releases among the targets of a channel.

::

    "releases/2026.11/release.json": {"custom": {"content_root": "…", "sequence": 7},
                                      "hashes": {"sha256": "…"}, "length": 3512}
"""

from collections.abc import Mapping
from difflib import get_close_matches

import msgspec
from tuf.api.metadata import TargetFile

from ptmtorrent.channel.paths import parse_release_path
from ptmtorrent.errors import NotFound
from ptmtorrent.model.ids import ContentRoot, ReleaseName, is_hex64


class ListedRelease(msgspec.Struct, frozen=True, kw_only=True):
    """A release as listed among targets; it is as trustworthy as those."""

    name: ReleaseName
    sequence: int
    content_root: ContentRoot
    target: TargetFile


def listed_releases(targets: Mapping[str, TargetFile]) -> dict[ReleaseName, ListedRelease]:
    """Return the releases among `targets`, oldest first; malformed entries are ignored."""
    found = filter(None, (_listed(path, target) for path, target in targets.items()))
    return {listed.name: listed for listed in sorted(found, key=lambda listed: (listed.sequence, listed.name))}


def unknown_release(name: str, known: Mapping[ReleaseName, ListedRelease], location: str) -> NotFound:
    """Return the error for a release that the channel does not list; its hint has near matches."""
    near = get_close_matches(name, known, n=3, cutoff=0.5) or [*known][-3:]
    names = ", ".join(f"`{item}`" for item in near)
    return NotFound(f"channel `{location}` has no release `{name}`", hint=f"did you mean {names}?" if near else None)


def _listed(path: str, target: TargetFile) -> ListedRelease | None:
    name = parse_release_path(path)
    custom = target.custom
    if name is None or not isinstance(custom, dict):
        return None
    sequence, root = custom.get("sequence"), custom.get("content_root")
    if type(sequence) is not int or sequence < 1 or not isinstance(root, str) or not is_hex64(root):
        return None
    return ListedRelease(name=name, sequence=sequence, content_root=ContentRoot(root), target=target)
