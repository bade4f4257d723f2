"""Long files of unknown formats are cut by content, at the same points on every machine and in every version."""

import hashlib
import json
from pathlib import Path

import pytest
from pyfastcdc import FastCDC

from ptmtorrent.store.cutters import cut
from ptmtorrent.store.cutters.chunks import AVERAGE_BYTES, LONGEST_BYTES, NORMALISATION, SEED, SHORTEST_BYTES
from tests.store.cutters.samples import Sparse, contents, covers, cut_bytes
from tests.store.samples import random_bytes, with_header

MIB = 1 << 20
GOLDEN = Path(__file__).parents[2] / "golden" / "cutters.json"


def generated() -> bytes:
    """Bytes that every machine generates alike."""
    return hashlib.shake_128(b"ptmtorrent chunks/1").digest(16 * MIB)


def test_cut_points_are_frozen() -> None:
    pieces = cut_bytes(generated(), "weights.h5").pieces
    assert [piece.length for piece in pieces] == json.loads(GOLDEN.read_text())["chunks/1"]


@pytest.mark.parametrize("data", [random_bytes(30 * MIB + 1), bytes(9 * MIB + 3), b"ab" * (5 * MIB)])
def test_a_file_is_cut_as_it_would_be_in_one_piece(data: bytes) -> None:
    chunker = FastCDC(
        AVERAGE_BYTES,
        min_size=SHORTEST_BYTES,
        max_size=LONGEST_BYTES,
        normalized_chunking=NORMALISATION,
        seed=SEED,
    )
    whole = [(chunk.offset, chunk.length) for chunk in chunker.cut_buf(data)]
    assert [(piece.offset, piece.length) for piece in cut_bytes(data, "weights.h5").pieces] == whole


def test_an_insertion_moves_no_later_cut() -> None:
    data = random_bytes(24 * MIB)
    one = cut_bytes(data, "weights.h5")
    longer = data[:MIB] + b"inserted" + data[MIB:]
    shared = set(contents(data, one)) & set(contents(longer, cut_bytes(longer, "weights.h5")))
    assert sum(map(len, shared)) > 20 * MIB


def test_four_mebibytes_are_one_object_and_one_byte_more_are_chunks() -> None:
    assert cut_bytes(bytes(4 * MIB), "weights.h5").cutter == "opaque/1"
    assert cut_bytes(bytes(4 * MIB + 1), "weights.h5").cutter == "chunks/1"


def test_a_long_file_that_its_format_disowns_is_cut_into_chunks() -> None:
    data = with_header(b'{"a":{}}', random_bytes(5 * MIB))
    assert cut_bytes(data, "model.safetensors").cutter == "chunks/1"


class Shrunk(Sparse):
    """A file that lost its end after it was opened."""

    def read(self, offset: int, length: int) -> bytes:
        return super().read(offset, min(length, max(0, 5 * MIB - offset)))


def test_a_file_that_shrinks_is_still_covered() -> None:
    source = Shrunk(40 * MIB)
    found = cut(source, "weights.h5")
    assert found.cutter == "opaque/1"
    assert covers(found.pieces, source.size)
