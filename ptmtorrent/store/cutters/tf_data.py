"""Cuts a data file of a TensorFlow checkpoint at the positions that its index states.

::

    model.ckpt.index                   what lies where
    model.ckpt.data-00000-of-00001     the numbers
"""

from ptmtorrent.model.containers.tensorflow import DATA, INDEX, read_checkpoint
from ptmtorrent.store.cutters.port import ByteSource, Nearby, NotThisFormat, Piece, cover
from ptmtorrent.store.cutters.tensors import stretches_of


class TfData:
    """Pieces: the tensors that the index beside the file lists, and the gaps between them."""

    name = "tf-data/1"

    def __init__(self, path: str, nearby: Nearby | None) -> None:
        self._path = path
        self._nearby = nearby

    def cut(self, source: ByteSource) -> tuple[Piece, ...]:
        """Return the tensors, and the joined gaps around them."""
        named = DATA.search(self._path)
        index = None if named is None or self._nearby is None else self._nearby(self._path[: named.start()] + INDEX)
        if named is None or index is None:
            raise NotThisFormat
        return tuple(cover(stretches_of(read_checkpoint(index, int(named[1]))), 0, source.size))
