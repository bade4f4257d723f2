"""Decides whether a package may be redistributed, from the licence its hub names: by table, else as `unknown`."""

from typing import Literal

import msgspec

from ptmtorrent.facts import licence_rules
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
