"""Subsets: named queries that a release freezes to its members.

A rule is a sentence, SQL that can be run again over `tables/packages.parquet`, and a pure predicate
that both describe. The three subsets of every release::

    all        every package
    popular    Hugging Face: more than 50 downloads in 30 days (as PeaTMOSS); hubs with no counts: every package
    metadata   every package, without its weights
"""

from collections.abc import Callable

import msgspec

from ptmtorrent.model.kinds import FileKind, file_kind
from ptmtorrent.model.manifest import Capture, FileEntry

POPULAR_DOWNLOADS = 50
"""Downloads in 30 days above which a Hugging Face package is popular."""

NOT_WEIGHTS: tuple[FileKind, ...] = ("docs", "config", "metadata")


class SubsetRule(msgspec.Struct, frozen=True, kw_only=True):
    """What makes a package a member, and which kinds of its files are meant; no kinds mean all files.

    `query` goes into the release word for word.
    """

    name: str
    query: str
    takes: Callable[[Capture], bool]
    only: tuple[FileKind, ...] = ()


def wants(only: tuple[FileKind, ...], file: FileEntry) -> bool:
    """Tell whether a subset or a request that asks for the kinds `only` means `file`."""
    return not only or file_kind(file.name, file.size) in only


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
