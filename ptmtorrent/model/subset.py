"""Subsets: named queries that a release freezes to its members.

A rule is a sentence, SQL that can be run again over `tables/packages.parquet`, and a pure predicate
that both describe. The three subsets of every release::

    all        every package
    popular    Hugging Face: more than 50 downloads in 30 days (as PeaTMOSS); hubs with no counts: every package
    metadata   every package, without its weights

A policy adds more of them as `SubsetQuery`, from which both the SQL and the predicate follow.
"""

from collections.abc import Callable, Container, Iterator, Sequence

import msgspec

from ptmtorrent.model.kinds import FileKind, file_kind
from ptmtorrent.model.manifest import Capture, FileEntry, MissingFile

POPULAR_DOWNLOADS = 50
"""Downloads in 30 days above which a Hugging Face package is popular."""

NOT_WEIGHTS: tuple[FileKind, ...] = ("docs", "config", "code", "metadata")


class SubsetRule(msgspec.Struct, frozen=True, kw_only=True):
    """What makes a package a member, and which kinds of its files are meant; no kinds mean all files.

    `query` goes into the release word for word.
    """

    name: str
    query: str
    takes: Callable[[Capture], bool]
    only: tuple[FileKind, ...] = ()


def wants(only: tuple[FileKind, ...], file: FileEntry | MissingFile) -> bool:
    """Tell whether a subset or a request that asks for the kinds `only` means `file`."""
    return not only or file_kind(file.name, file.size or 0) in only


def is_popular(capture: Capture) -> bool:
    """Tell whether a package counts as popular on its hub; only Hugging Face gives counts we can use."""
    if not capture.package.startswith("hf:"):
        return True
    return capture.downloads is not None and capture.downloads > POPULAR_DOWNLOADS


ALL = SubsetRule(name="all", query="every package: SELECT package FROM packages", takes=lambda _: True)

POPULAR = SubsetRule(
    name="popular",
    query=(
        "Hugging Face: more than 50 downloads in 30 days; hubs with no counts: every package: "
        "SELECT package FROM packages WHERE hub <> 'hf' OR downloads > 50"
    ),
    takes=is_popular,
)

METADATA = SubsetRule(
    name="metadata",
    query="every package, without its weights: SELECT package, path FROM files WHERE kind <> 'weights'",
    takes=lambda _: True,
    only=NOT_WEIGHTS,
)

STANDARD_RULES: tuple[SubsetRule, ...] = (ALL, METADATA, POPULAR)
"""The subsets of every release, by name."""


MAX_VALUES = 1000
"""Limit of values in a condition of a subset."""

MAX_VALUE = 200
"""Limit of a value, and of a description, in characters."""


class SubsetQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A subset as a policy describes it: a package has to meet every condition that is given.

    `packages` are names, or the beginning of names and `*`. `min_downloads` are the fewest downloads in 30 days by hub;
    packages of other hubs meet it. `only` narrows the files of each member by kind.
    """

    about: str
    hubs: tuple[str, ...] = ()
    packages: frozenset[str] = frozenset()
    tasks: tuple[str, ...] = ()
    libraries: tuple[str, ...] = ()
    licences: tuple[str, ...] = ()
    min_downloads: dict[str, int] = {}
    only: tuple[FileKind, ...] = ()

    @property
    def fault(self) -> str | None:
        """What is wrong with it, or None."""
        texts = (*self.hubs, *self.packages, *self.tasks, *self.libraries, *self.licences, *self.min_downloads)
        if not all(0 < len(text) <= MAX_VALUE for text in (self.about, *texts)):
            return f"has an empty text, or one with more than {MAX_VALUE} characters"
        if len(texts) > MAX_VALUES:
            return f"has more than {MAX_VALUES:,} values"
        if any(not 0 <= number < 1 << 50 for number in self.min_downloads.values()):
            return "has a number of downloads that cannot be"
        return None

    def takes(self, capture: Capture) -> bool:
        """Tell whether a package is a member."""
        hub = capture.package.partition(":")[0]
        least = self.min_downloads.get(hub)
        return (
            (not self.hubs or hub in self.hubs)
            and (not self.packages or find_pattern(self.packages, capture.package) is not None)
            and (not self.tasks or capture.task in self.tasks)
            and (not self.libraries or capture.library in self.libraries)
            and (not self.licences or capture.licence in self.licences)
            and (least is None or (capture.downloads is not None and capture.downloads >= least))
        )


def rule_of(name: str, query: SubsetQuery) -> SubsetRule:
    """Return the rule that a policy describes as `query`."""
    conditions = " AND ".join(_conditions(query))
    sql = packages = f"SELECT package FROM packages{' WHERE ' if conditions else ''}{conditions}"  # noqa: S608  # never run here
    if query.only:
        sql = f"SELECT package, path FROM files WHERE kind IN ({_quoted(query.only)}) AND package IN ({packages})"  # noqa: S608  # never run here
    return SubsetRule(name=name, query=f"{query.about}: {sql}", takes=query.takes, only=query.only)


def find_pattern(patterns: Container[str], package: str) -> str | None:
    """Return the pattern that fits a package: its name, else the longest beginning of it followed by `*`, or None."""
    if not patterns or package in patterns:
        return package if patterns else None
    beginnings = (f"{package[:length]}*" for length in range(len(package), -1, -1))
    return next((pattern for pattern in beginnings if pattern in patterns), None)


def _conditions(query: SubsetQuery) -> Iterator[str]:
    columns = {"hub": query.hubs, "task": query.tasks, "library": query.libraries, "licence": query.licences}
    yield from (f"{column} IN ({_quoted(values)})" for column, values in columns.items() if values)
    if query.packages:
        yield "(" + " OR ".join(_name_condition(name) for name in sorted(query.packages)) + ")"
    for hub, least in sorted(query.min_downloads.items()):
        yield f"(hub <> {_quoted([hub])} OR downloads >= {least})"


def _name_condition(name: str) -> str:
    return f"starts_with(package, {_quoted([name[:-1]])})" if name.endswith("*") else f"package = {_quoted([name])}"


def _quoted(values: Sequence[str]) -> str:
    return ", ".join("'" + value.replace("'", "''") + "'" for value in values)
