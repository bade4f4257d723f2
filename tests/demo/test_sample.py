"""The sample channel in the tree is the one made from the sample hub, and small enough to ship."""

from pathlib import Path

import pytest

from ptmtorrent.channel.readers import LocalReader
from ptmtorrent.demo.sample import make_sample
from ptmtorrent.model.release import Release
from ptmtorrent.paths import sample_channel
from ptmtorrent.trust.client import open_archived
from ptmtorrent.trust.sample import SAMPLE_CONTENT_ROOT

MAX_STORED_BYTES = 3 << 20


@pytest.fixture(scope="module")
def shipped() -> Release:
    return open_archived(LocalReader(sample_channel()), SAMPLE_CONTENT_ROOT).release


def test_pinned_content_root_can_be_made_again(tmp_path: Path, shipped: Release) -> None:
    made = make_sample(tmp_path, tmp_path / "channel")
    assert made.content_root == SAMPLE_CONTENT_ROOT
    assert made.totals.raw == shipped.totals.raw


def test_shipped_objects_are_at_most_three_mebibytes(shipped: Release) -> None:
    assert shipped.totals.packages == 23
    assert shipped.totals.stored <= MAX_STORED_BYTES


def test_keys_that_signed_it_were_deleted() -> None:
    files = [path for path in sample_channel().rglob("*") if path.is_file()]
    assert not [path for path in files if path.suffix in {".pem", ".key"} or b"PRIVATE KEY" in path.read_bytes()]
