"""From the members of a zip to pieces: members of 64 KiB or more are stretches, all else is joined."""

from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise

from ptmtorrent.model.containers.zip_directory import Directory, Member, data_of
from ptmtorrent.store.cutters.port import JOIN_BELOW_BYTES, ByteSource, NotThisFormat, Piece, cover


def cover_members(
    source: ByteSource, directory: Directory, describe: Callable[[Member, int], Iterable[Piece]]
) -> list[Piece]:
    """Return the pieces of a zip: for members of 64 KiB or more those that `describe` returns, all else joined.

    `describe` is called with a member and the offset of its bytes.

    Raises:
        NotThisFormat: a local header contradicts the directory.
    """
    return cover(_stretches(source, directory, describe), 0, source.size)


def _stretches(
    source: ByteSource, directory: Directory, describe: Callable[[Member, int], Iterable[Piece]]
) -> Iterator[Piece]:
    """Yield a small member together with its local header, so that runs begin and end at members."""
    starts = [*(member.header for member in directory.members), directory.start]
    for member, (start, end) in zip(directory.members, pairwise(starts), strict=True):
        if member.length < JOIN_BELOW_BYTES:
            yield Piece(start, end - start)
            continue
        at = data_of(source, member)
        if at + member.length > end:
            raise NotThisFormat
        yield from describe(member, at)
