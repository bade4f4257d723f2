"""`list`: the packages of a release, read from its verified tables and shards."""

from ptmtorrent.catalogue.query import PackageFacts, read_packages
from ptmtorrent.paths import Home
from ptmtorrent.reading.open_channel import OpenChannel
from ptmtorrent.state.upstream_flags import read_flags


def list_(channel: OpenChannel, subset: str | None) -> list[PackageFacts]:
    """Return the packages of the release, or of `subset`, by name.

    Raises:
        NotFound: no such subset.
        IntegrityError, TransportError: a table or a shard cannot be read.
    """
    facts = read_packages(channel.release, channel.reader, proven=channel.proven)
    if subset is None:
        return facts
    from ptmtorrent.catalogue.index import find_members

    members = find_members(channel.release, channel.reader, (), subset, ())
    wanted = {member.package for member in members}
    return [row for row in facts if row.package in wanted]


def read_marks(home: Home) -> dict[str, str]:
    """Return the changes upstream that clones of this home found, by package.

    Raises:
        StoreError: it cannot be read.
    """
    marks: dict[str, str] = {}
    for flag in read_flags(home.flags):
        marks[flag.package] = f"{marks[flag.package]}, {flag.flag}" if flag.package in marks else flag.flag
    return marks
