from pathlib import Path

import pytest

from ptmtorrent.disk.partial import STEP_BYTES, PartialFile
from ptmtorrent.errors import StoreError

LENGTH = 2 * STEP_BYTES + 5


@pytest.mark.parametrize(
    ("found", "length", "keep_whole", "kept"),
    [
        (STEP_BYTES + 1, LENGTH, True, STEP_BYTES),
        (LENGTH, LENGTH, True, LENGTH),
        (LENGTH, LENGTH, False, 2 * STEP_BYTES),
        (LENGTH + 1, LENGTH, True, 0),
        (LENGTH + 1, LENGTH, False, 0),
        (LENGTH, None, True, 0),
    ],
)
def test_partial_file_continues_where_it_is_durable(
    tmp_path: Path, found: int, length: int | None, keep_whole: bool, kept: int
) -> None:
    path = tmp_path / "x.part"
    path.write_bytes(bytes(found))

    with PartialFile(path, length, keep_whole=keep_whole) as file:
        assert file.position == kept
        assert file.left == (None if length is None else length - kept)
        file.write(b"end")

    assert path.read_bytes() == bytes(kept) + b"end"


def test_partial_file_follows_no_link(tmp_path: Path) -> None:
    (tmp_path / "other").write_bytes(b"kept")
    (tmp_path / "x.part").symlink_to("other")

    with pytest.raises(StoreError, match=r"x\.part"), PartialFile(tmp_path / "x.part", 10):
        pass

    assert (tmp_path / "other").read_bytes() == b"kept"
