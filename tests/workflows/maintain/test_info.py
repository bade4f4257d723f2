"""The counts of a store are those of what was put into it."""

from pathlib import Path

import pytest

from ptmtorrent.errors import NotFound
from ptmtorrent.paths import Home
from ptmtorrent.store.maintenance.references import SHARED, References
from ptmtorrent.workflows.maintain.info import info as read_info
from ptmtorrent.workflows.maintain.info import ratio
from tests.store.samples import name_of
from tests.workflows.captured import capture, capture_three, writing
from tests.workflows.maintain.stores import flip, pack_file, packs_of

TOP = 100


def test_packages_files_and_bytes_are_those_captured(home: Home, tmp_path: Path) -> None:
    manifests = capture_three(home, tmp_path)
    info = read_info(home, TOP)
    assert (info.packages, info.snapshots, info.packs) == (3, 3, 0)
    assert info.files == sum(len(manifest.files) for manifest in manifests.values())
    assert info.raw == sum(manifest.size for manifest in manifests.values())
    assert info.stored == info.unsealed == sum(path.stat().st_size for path in home.store.glob("open/*.part"))
    assert info.unreadable == []


def test_what_two_packages_share_counts_once_and_belongs_to_neither(home: Home, tmp_path: Path) -> None:
    with writing(home) as store:
        for package in ("hf:a/a", "hf:b/b"):
            capture(store, tmp_path, package, {"shared.bin": bytes(range(256)) * 40, "own.bin": package.encode() * 900})
        store.seal()
    info = read_info(home, TOP)
    assert info.raw == 2 * info.unique - 2 * 900 * 6
    assert {package for package, _ in info.top} == {"hf:a/a", "hf:b/b"}
    assert sum(size for _, size in info.top) < info.plain.stored
    assert ratio(info.raw, info.unique) == round(info.raw / info.unique, 3)


def test_as_many_packages_are_named_as_were_requested(home: Home, tmp_path: Path) -> None:
    capture_three(home, tmp_path)
    assert len(read_info(home, 1).top) == 1
    assert read_info(home, 0).top == []


def test_everything_stored_is_accounted_for(home: Home, tmp_path: Path) -> None:
    capture_three(home, tmp_path)
    with writing(home) as store:
        store.seal()
    info = read_info(home, TOP)
    parts = (info.plain, info.deltas, info.documents, info.bases, info.rest)
    assert info.stored == sum(packs_of(home).values())
    assert info.stored == info.heads + info.frames + sum(share.stored for share in parts)
    assert info.frames > 0
    assert info.documents.objects >= 2 * info.packages  # manifests and captures are no packages' own objects
    assert info.rest.objects == 0
    assert info.objects == sum(share.objects for share in parts)


def test_a_manifest_that_cannot_be_read_is_named(home: Home, tmp_path: Path) -> None:
    capture_three(home, tmp_path)
    with writing(home) as store:
        store.seal()
        place = store.location(store.captures()[0].snapshot)  # type: ignore[arg-type]  # a snapshot is an object
    flip(pack_file(home, place.pack), place.offset + 1)
    info = read_info(home, TOP)
    assert info.unreadable == ["hf:a/popular"]
    assert info.packages == 3


def test_an_empty_store_has_no_ratios(home: Home) -> None:
    with writing(home):
        pass
    info = read_info(home, TOP)
    assert (info.packages, info.stored) == (0, 0)
    assert ratio(info.raw, info.stored) is None


def test_a_home_without_a_store_has_no_info(home: Home) -> None:
    with pytest.raises(NotFound, match="there is no store"):
        read_info(home, TOP)


def test_references_have_no_owner_one_or_several() -> None:
    first, second, third = map(name_of, (b"1", b"2", b"3"))
    with References() as references:
        references.add(4, [first, second, first])
        references.add(5, [second])
        assert [references.owner(each) for each in (first, second, third)] == [4, SHARED, None]
