"""How the documents of members are read: few requests, and little that is not wanted."""

import pytest

from ptmtorrent.catalogue import index
from ptmtorrent.catalogue.index import describe_members, find_members
from tests.catalogue.test_index import NAMES, Files, framed, release_of


def read_every_other(files: Files) -> tuple[int, int, int]:
    """Return the requests and bytes that reading every other member takes, and the bytes of their frames."""
    rows = framed(files, 0, dict.fromkeys(NAMES, "text"))
    members = find_members(release_of(files, [(rows, 0)], rows), files, (), "all", ())[::2]
    files.asked.clear()
    assert all(each.manifest for each in describe_members(members, files))
    frames = sum(member.row.frame.length for member in members if member.row.frame)
    return len(files.asked), sum(length for _, length in files.asked), frames


def test_a_little_between_frames_costs_less_than_a_request() -> None:
    requests, _, _ = read_every_other(Files())
    assert requests == 1


def test_no_more_than_a_share_is_read_of_what_lies_between_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "GAP_BYTES", 0)
    requests, read, frames = read_every_other(Files())
    assert read <= frames * index.GAP_SHARE / (index.GAP_SHARE - 1)
    assert requests > 1
