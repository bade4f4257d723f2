"""Extents that are put together of what earlier runs left, in any form, and of what is missing."""

import random
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptmtorrent.channel.paths import pack_path
from ptmtorrent.disk.partial import PartialFiles
from ptmtorrent.model.plan import Extent, Plan, staging_path
from ptmtorrent.stop import Stop
from ptmtorrent.transports.begun import BLOCK_BYTES, Begun, Continuing, gather, held_bytes
from ptmtorrent.transports.local import LocalTransport
from ptmtorrent.transports.port import Delivered, Failed
from tests.transports.requests import parts, read_delivered, whole, write_pack

SIZE = 20 * BLOCK_BYTES + 100
BLOCK = st.integers(0, 20)


@settings(max_examples=60, deadline=None)
@given(
    blocks=st.sets(BLOCK),
    staged=st.lists(st.tuples(st.integers(0, SIZE - 1), st.integers(1, SIZE), st.integers(0, SIZE)), max_size=4),
    cuts=st.lists(st.integers(1, SIZE - 1), unique=True, max_size=4),
    resumes=st.booleans(),
)
def test_whatever_was_left_is_used_and_only_the_rest_is_moved(
    tmp_path_factory: pytest.TempPathFactory,
    blocks: set[int],
    staged: list[tuple[int, int, int]],
    cuts: list[int],
    resumes: bool,
) -> None:
    root = tmp_path_factory.mktemp("root")
    staging = root / "staging"
    pack, data = write_pack(root / "channel", SIZE)
    sparse = staging / pack_path(pack)
    sparse.parent.mkdir(parents=True)
    held = bytearray(SIZE)
    with sparse.open("wb") as file:
        for block in blocks:
            piece = data[block * BLOCK_BYTES : (block + 1) * BLOCK_BYTES]
            file.seek(block * BLOCK_BYTES)
            file.write(piece)
            held[block * BLOCK_BYTES : block * BLOCK_BYTES + len(piece)] = b"x" * len(piece)
    for offset, length, got in staged:
        extent = Extent(offset=offset, length=min(length, SIZE - offset))
        part = data[offset : offset + min(got, extent.length)]
        path = staging_path(staging, pack, extent)
        if path.exists():
            continue
        path.write_bytes(part)
        held[offset : offset + len(part)] = b"x" * len(part)
    bounds = [0, *sorted(cuts), SIZE]
    spans = [(first, last - first) for first, last in pairwise(bounds)]
    request = parts(pack, data, *spans[:: 2 if len(spans) > 2 else 1])
    assert held_bytes(Plan(requests=(request,)), staging) == sum(
        held[extent.offset : extent.end].count(b"x") for extent in request.extents
    )

    outcomes = list(Continuing(LocalTransport(root / "channel"), resumes=resumes).deliver([request], staging, Stop()))

    assert sorted(outcome.extent for outcome in outcomes) == list(request.extents)
    for outcome in outcomes:
        assert isinstance(outcome, Delivered)
        assert outcome.request == request
        assert read_delivered(outcome) == data[outcome.extent.offset : outcome.extent.end]
        if not resumes:
            assert outcome.moved <= outcome.extent.length


def test_what_failed_leaves_everything_for_the_next_run(tmp_path: Path) -> None:
    pack, data = write_pack(tmp_path / "channel", SIZE)
    request = whole(pack, data)
    extent = Extent(offset=BLOCK_BYTES, length=BLOCK_BYTES)
    staged = staging_path(tmp_path, pack, extent)
    staged.write_bytes(data[extent.offset : extent.end])
    nothing = LocalTransport(tmp_path / "nothing")
    [failed] = Continuing(nothing, resumes=False).deliver([request], tmp_path, Stop())
    assert isinstance(failed, Failed)
    assert (failed.request, failed.extent) == (request, request.extents[0])
    assert staged.read_bytes() == data[extent.offset : extent.end]


def test_a_sealed_file_is_continued(tmp_path: Path) -> None:
    pack, data = write_pack(tmp_path / "channel", SIZE)
    request = whole(pack, data)
    own = staging_path(tmp_path, pack, request.extents[0])
    own.write_bytes(data[:5000])
    files = PartialFiles()
    files.leave(own, 5000)
    files.seal()
    assert own.stat().st_mode & 0o777 == 0o400
    [delivered] = Continuing(LocalTransport(tmp_path / "channel"), resumes=False).deliver([request], tmp_path, Stop())
    assert isinstance(delivered, Delivered)
    assert (read_delivered(delivered), delivered.moved) == (data, SIZE - 5000)
    assert own.stat().st_mode & 0o777 == 0o600


def test_parts_are_gathered_by_whole_blocks_and_only_where_the_swarm_has_nothing(tmp_path: Path) -> None:
    pack, data = write_pack(tmp_path / "channel", SIZE)
    sparse = tmp_path / pack_path(pack)
    sparse.parent.mkdir(parents=True)
    sparse.write_bytes(data[:BLOCK_BYTES])
    wrong = random.Random(1).randbytes(2 * BLOCK_BYTES + 500)
    part = staging_path(tmp_path, pack, Extent(offset=10, length=SIZE - 10))
    part.write_bytes(wrong)
    gather([whole(pack, data)], tmp_path)
    assert not part.exists()
    assert sparse.read_bytes() == data[:BLOCK_BYTES] + wrong[BLOCK_BYTES - 10 : 2 * BLOCK_BYTES - 10]
    pieces = Begun(tmp_path).pieces(whole(pack, data))
    assert [piece.extent for piece in pieces] == [Extent(offset=0, length=2 * BLOCK_BYTES)]
