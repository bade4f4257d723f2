"""Decides whether a package may be redistributed: from the licence its hub names, or from the package's own files.

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
from typing import Literal

import msgspec

from ptmtorrent.errors import HubError
from ptmtorrent.facts import licence_rules
from ptmtorrent.facts.front_matter import read_front
from ptmtorrent.facts.licence_texts import name_licence
from ptmtorrent.model.manifest import Rights

RightsClass = Literal["open", "restricted", "gated", "unknown"]
"""`unknown` is stored in packs as `restricted`: pack classes are frozen, and releases leave out both by default."""

CLASSES: tuple[RightsClass, ...] = ("open", "restricted", "gated", "unknown")
_CAUTION: tuple[RightsClass, ...] = ("unknown", "restricted", "open")
"""Of several licences, the class that is first here applies: all of them must allow redistribution."""


class Licence(msgspec.Struct, frozen=True, kw_only=True):
    """A classified licence.

    `spdx` is an SPDX expression, or None if any of the names has none. `rule` is the rule that decided the class:
    `open:mit`, `gate`, `no licence named`, `no rule for llama9`.
    """

    raw: str | None
    spdx: str | None
    rights: RightsClass
    rule: str


def read_licence(raw: str | None, *, gated: bool) -> Licence:
    """Return the classified licence. Several licences are joined with ` AND `; the most restrictive class applies.

    A gated package is `gated` whatever its licence.
    """
    names = [name for part in (raw or "").split(" AND ") if (name := part.strip().lower())]
    rows = [_RULES.get(name, (None, "unknown", f"no rule for {name}")) for name in names]
    expressions = list(dict.fromkeys(row[0] for row in rows))
    known = [expression for expression in expressions if expression is not None]
    spdx = " AND ".join(known) if known and len(known) == len(expressions) else None
    if gated:
        return Licence(raw=raw, spdx=spdx, rights="gated", rule="gate")
    if not rows:
        return Licence(raw=raw, spdx=None, rights="unknown", rule="no licence named")
    _, rights, rule = min(rows, key=lambda row: _CAUTION.index(row[1]))
    return Licence(raw=raw, spdx=spdx, rights=rights, rule=rule)


def rights_of(licence: str | None, *, gated: bool) -> Rights:
    """Return the rights class of a package's packs: `unknown` is stored as `restricted`."""
    rights = read_licence(licence, gated=gated).rights
    return "restricted" if rights == "unknown" else rights


def _read_rules() -> dict[str, tuple[str | None, RightsClass, str]]:
    rules: dict[str, tuple[str | None, RightsClass, str]] = {}
    tables: tuple[tuple[RightsClass, str], ...] = (
        ("open", licence_rules.OPEN),
        ("restricted", licence_rules.RESTRICTED),
        ("unknown", licence_rules.UNKNOWN),
    )
    for rights, table in tables:
        for line in table.strip().splitlines():
            names, _, spdx = line.partition("|")
            for name in names.split(", "):
                rules[name] = (None if spdx == "-" else spdx, rights, f"{rights}:{name}")
    return rules


_RULES = _read_rules()


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


MAX_STATING = 4
"""Limit of files that a source names."""


def stating(files: Mapping[str, bytes | None]) -> list[str]:
    """Return the paths of the first files that state a licence."""
    return [path for path, data in files.items() if any(True for _ in _names(path, data))][:MAX_STATING]


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
