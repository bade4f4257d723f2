"""The licence that a package's own files state: the front matter of its cards, and its licence texts.

::

    README.md   ---            LICENSE, LICENCE.txt, COPYING, UNLICENSE, LICENSE-MIT: a text, named by `licence_texts`
                license: mit
                ---

Hugging Face reads the same member of the card. Files at the top are about the package, those in folders about a part of
it: all of them must allow redistribution, so their names are joined. A file that states terms that are not recognised
counts as `other`. Without a file at the top, no licence is named.
"""

import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping

from ptmtorrent.errors import HubError
from ptmtorrent.facts.front_matter import read_front
from ptmtorrent.facts.licence_texts import name_licence

MAX_TEXT_BYTES = 64 << 10
MAX_CARD_BYTES = 1 << 20
"""Limits of what is read; a longer file is not recognised."""

MAX_EVIDENCE_FILES = 64
"""Limit of cards and licence texts that are read of one package; of the others, nothing is known."""

UNRECOGNISED = "other"
"""What Hugging Face calls a licence that is not in its list."""

_MAX_NAME = 100
_CARD = "readme.md"
_PROGRAMS = {
    ".py",
    ".pyi",
    ".js",
    ".ts",
    ".c",
    ".h",
    ".cpp",
    ".sh",
    ".json",
    ".yaml",
    ".yml",
    ".toml",
    ".ipynb",
    ".csv",
}
_STEM = re.compile(r"(?:.*[-_. ])?(?:licen[cs]es?|unlicen[cs]e|copying)(?:[-_. ].*)?")
_NO_LICENCE = re.compile(r"licen[cs]e[-_ ]?plate")
_FRONT = re.compile(r"\A\ufeff?---[ \t]*\n(.*?)\n---[ \t]*(?:\n|\Z)", re.DOTALL)
_MEMBER = re.compile(r"^[\"']?license[\"']?[ \t]*:.*(?:\n(?:[ \t#-].*|))*", re.MULTILINE)


def is_evidence(path: str) -> bool:
    """Return whether the file at `path` is a card or a licence text, by its name."""
    name = posixpath.basename(path).lower()
    if name == _CARD:
        return True
    named = _STEM.fullmatch(name) is not None and _NO_LICENCE.search(name) is None
    return named and posixpath.splitext(name)[1] not in _PROGRAMS


def limit_of(path: str) -> int:
    """Return the size above which the file at `path` is not read."""
    return MAX_CARD_BYTES if posixpath.basename(path).lower() == _CARD else MAX_TEXT_BYTES


def choose_evidence(paths: Iterable[str]) -> tuple[list[str], bool]:
    """Return the paths to read, those at the top first, and whether there are more than are read."""
    found = sorted((path for path in paths if is_evidence(path)), key=lambda path: (path.count("/"), path))
    return found[:MAX_EVIDENCE_FILES], len(found) > MAX_EVIDENCE_FILES


def licence_in_files(files: Mapping[str, bytes | None], *, more: bool = False) -> str | None:
    """Return the licences that cards and licence texts state, joined with ` AND `, or None.

    `files` are their bytes by path, None for a file that cannot be read. With `more`, some were not read.
    """
    top: list[str] = []
    below: list[str] = []
    for path, data in files.items():
        (below if "/" in path else top).extend(_names(path, data))
    if not top:
        return None
    return " AND ".join(dict.fromkeys((*top, *below, *([UNRECOGNISED] if more else []))))


def _names(path: str, data: bytes | None) -> Iterator[str]:
    if data is None:
        yield UNRECOGNISED
        return
    text = data.decode(errors="replace").replace("\r\n", "\n")
    if posixpath.basename(path).lower() == _CARD:
        front = _FRONT.match(text)
        for member in _MEMBER.findall(front[1]) if front else ():
            yield from _names_in_member(member)
    elif text.strip():
        yield name_licence(text) or UNRECOGNISED


def _names_in_member(member: str) -> Iterator[str]:
    """Yield the names in the member `license` of a card, which is read alone: others may be malformed."""
    try:
        value = read_front(member).get("license")
    except HubError:
        value = False
    for name in value if isinstance(value, list) else [value]:
        if isinstance(name, str) and len(name.strip()) <= _MAX_NAME and "\n" not in name:
            yield from filter(None, (name.strip(),))
        elif name is not None:
            yield UNRECOGNISED
