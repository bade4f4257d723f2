"""The policy of a release: what a maintainer decided about packages, each decision with its reason.

A policy is written as TOML, and stored with the release as canonical JSON (docs/formats/policy.md)::

    lone_cost = 1.2

    [include]
    restricted = "the licences allow copies for research on this campus"
    "hf:org/model" = "the authors agreed by mail on 2026-10-01"

    [exclude]
    "hf:other/*" = "the owner asked for it"

    [licences]
    "dir:team/model" = { licence = "mit", reason = "stated in the paper" }

    [subsets]
    popular = "popular.toml"
    vision = { about = "image models", tasks = ["image-classification"] }

A package is written in full, or as the beginning of names and `*`. A table of subsets in a file of its own is the same
table as one written in place.
"""

import re
from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import ClassVar

import msgspec

from ptmtorrent.errors import ConfigError, IntegrityError
from ptmtorrent.model import canonical
from ptmtorrent.model.subset import SubsetQuery
from ptmtorrent.model.text import count, spell_size

MAX_POLICY_BYTES = 256 << 10
"""Limit of a policy, as it is written and as it is stored, with its subsets (256 KiB)."""

MAX_ENTRIES = 2000
"""Limit of decisions in each table of a policy."""

MAX_SUBSETS = 32
MAX_TEXT = 1000
"""Limit of a reason, a description and each name, in characters."""

OFF = "off"
DEFAULT_LONE_COST = 1000
"""A package fetched alone moves at most its raw bytes; in thousandths."""

MAX_LONE_COST = 100

CLASSES = ("restricted", "unknown", "gated")
"""The rights classes that can be included."""

_PATTERN = re.compile(r"[a-z0-9]+:[^*\x00-\x1f\x7f]*\*?")
_SUBSET = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_RESERVED = "all"


class Licensed(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The licence of a package, as the maintainer decided, by the names that hubs use, and why."""

    licence: str
    reason: str


class PolicyFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A policy as it is written: a subset is a table, or the name of the file that is that table."""

    lone_cost: int | float | str | None = None
    include: dict[str, str] = {}
    exclude: dict[str, str] = {}
    licences: dict[str, Licensed] = {}
    subsets: dict[str, str | SubsetQuery] = {}


class Policy(canonical.Document, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A policy as a release stores it: reasons by rights class or package, and subsets by name.

    `lone_cost` is in thousandths, 0 for `off`; None is the default.
    """

    FORMAT: ClassVar[str] = "ptmtorrent/policy"

    lone_cost: int | None = None
    include: dict[str, str] = msgspec.field(default_factory=dict)
    exclude: dict[str, str] = msgspec.field(default_factory=dict)
    licences: dict[str, Licensed] = msgspec.field(default_factory=dict)
    subsets: dict[str, SubsetQuery] = msgspec.field(default_factory=dict)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is decided."""
        return not (self.include or self.exclude or self.licences or self.subsets) and self.lone_cost is None

    @property
    def lone_limit(self) -> Fraction | None:
        """How many times its raw bytes a package or weight file may move when it is fetched alone; None for `off`."""
        thousandths = DEFAULT_LONE_COST if self.lone_cost is None else self.lone_cost
        return Fraction(thousandths, 1000) if thousandths else None


def new_policy(
    file: PolicyFile | None = None, subsets: Mapping[str, SubsetQuery] | None = None, *, name: str = "policy"
) -> Policy:
    """Return the policy that `file` describes, with `subsets` in place of its own.

    Raises:
        ConfigError: a decision that cannot be applied; names it and the file, `name`.
    """
    file = file or PolicyFile()
    policy = Policy(
        format=Policy.FORMAT,
        version=Policy.VERSION,
        requires=(),
        lone_cost=_thousandths(file.lone_cost, name),
        include=file.include,
        exclude=file.exclude,
        licences=file.licences,
        subsets=dict(subsets or {}),
    )
    if (fault := next(_faults(policy), None)) is not None:
        raise ConfigError(f"`{name}`: {fault}", hint=f"correct `{name}`")
    if (size := len(canonical.encode(policy))) > MAX_POLICY_BYTES:
        limit = spell_size(MAX_POLICY_BYTES)
        raise ConfigError(f"`{name}` is {spell_size(size)}, over the limit of {limit}", hint="shorten its reasons")
    return policy


def _thousandths(lone_cost: float | str | None, name: str) -> int | None:
    """Return a lone cost as it is stored."""
    if lone_cost is None or lone_cost == OFF:
        return None if lone_cost is None else 0
    if isinstance(lone_cost, str) or not 0 < lone_cost <= MAX_LONE_COST:
        raise ConfigError(
            f"`{name}`: `lone_cost` is {lone_cost!r}, and not `off` or a number from 0.001 to {MAX_LONE_COST}",
            hint=f"correct `{name}`",
        )
    return max(1, round(lone_cost * 1000))


def decode_policy(data: bytes) -> Policy:
    """Return the policy that a release stores.

    Raises:
        IntegrityError: it is not canonical, or holds what no policy may.
        UnsupportedFormat: written by a newer version.
    """
    if len(data) > MAX_POLICY_BYTES:
        raise IntegrityError(f"the policy is {spell_size(len(data))}, over the limit of {spell_size(MAX_POLICY_BYTES)}")
    policy = canonical.decode(data, Policy, name="policy.json")
    if (fault := next(_faults(policy), None)) is not None:
        raise IntegrityError(f"`policy.json`: {fault}")
    return policy


def _faults(policy: Policy) -> Iterator[str]:
    if policy.lone_cost is not None and not 0 <= policy.lone_cost <= 1000 * MAX_LONE_COST:
        yield f"`lone_cost` cannot be {policy.lone_cost}"
    reasons = {package: decided.reason for package, decided in policy.licences.items()}
    for table, entries in (("include", policy.include), ("exclude", policy.exclude), ("licences", reasons)):
        yield from _faults_of_table(table, entries)
    for package, decided in policy.licences.items():
        if not 0 < len(decided.licence.strip()) <= MAX_TEXT:
            yield f"`{package}` in `licences` needs a licence, such as `mit`"
    if len(policy.subsets) > MAX_SUBSETS:
        yield f"it has {count(len(policy.subsets), 'subset')}, over the limit of {MAX_SUBSETS}"
    for name, query in policy.subsets.items():
        if not _SUBSET.fullmatch(name) or name == _RESERVED:
            yield f"a subset cannot be called `{name[:100]}`"
        if (fault := query.fault) is not None:
            yield f"the subset `{name}` {fault}"


def _faults_of_table(table: str, reasons: Mapping[str, str]) -> Iterator[str]:
    if len(reasons) > MAX_ENTRIES:
        yield f"`{table}` has {count(len(reasons), 'entry', 'entries')}, over the limit of {MAX_ENTRIES:,}"
    classes = CLASSES if table == "include" else ()
    for key, reason in reasons.items():
        if len(key) > MAX_TEXT or not (key in classes or _PATTERN.fullmatch(key)):
            known = f", nor one of {', '.join(classes)}" if classes else ""
            yield f"`{key[:100]}` in `{table}` is not a package, such as `hf:org/name` or `hf:org/*`{known}"
        if not 0 < len(reason.strip()) <= MAX_TEXT:
            yield f"`{key}` in `{table}` needs a reason of at most {MAX_TEXT:,} characters"
