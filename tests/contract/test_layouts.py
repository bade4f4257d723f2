"""The contract of layouts. Add a new one to `LAYOUTS`."""

from collections.abc import Callable
from pathlib import Path

import pytest

from ptmtorrent.layouts.folders import PlainDir
from ptmtorrent.layouts.hf_cache import HfCache
from ptmtorrent.layouts.port import Destination, Layout
from ptmtorrent.model.manifest import Manifest
from tests.layouts.manifests import Kept, manifest_of

LAYOUTS: list[Callable[[Path], Layout]] = [PlainDir, HfCache]


@pytest.mark.parametrize("new_layout", LAYOUTS)
class TestLayouts:
    def test_every_destination_is_below_the_root(self, new_layout: Callable[[Path], Layout], tmp_path: Path) -> None:
        layout, manifest = new_layout(tmp_path), manifest_of()
        destinations = map_destinations(layout, manifest)
        assert all(destination.target.is_relative_to(tmp_path) for destination in destinations)
        assert all(
            destination.link is None or destination.link.is_relative_to(tmp_path) for destination in destinations
        )

    def test_different_files_have_different_destinations(
        self, new_layout: Callable[[Path], Layout], tmp_path: Path
    ) -> None:
        layout = new_layout(tmp_path)
        manifests = [manifest_of("org/a"), manifest_of("org/b")]
        seen = [
            destination.link or destination.target
            for manifest in manifests
            for destination in map_destinations(layout, manifest)
        ]
        assert len(set(seen)) == 6

    def test_files_have_one_target_just_where_their_places_are_equal(
        self, new_layout: Callable[[Path], Layout], tmp_path: Path
    ) -> None:
        layout, manifest = new_layout(tmp_path), manifest_of()
        twice = [*manifest.files, *manifest.files]
        places = [layout.place(manifest, file) for file in twice]
        targets = [layout.destination(manifest, file).target for file in twice]
        assert [places.index(place) for place in places] == [targets.index(target) for target in targets]

    def test_incoming_is_below_the_root_and_no_destination_is_in_it(
        self, new_layout: Callable[[Path], Layout], tmp_path: Path
    ) -> None:
        layout = new_layout(tmp_path)
        assert layout.incoming().is_relative_to(tmp_path)
        assert not any(
            destination.target.is_relative_to(layout.incoming())
            for destination in map_destinations(layout, manifest_of())
        )

    def test_finishing_twice_changes_nothing(self, new_layout: Callable[[Path], Layout], tmp_path: Path) -> None:
        layout, manifest = new_layout(tmp_path), manifest_of()
        marks = Kept()
        first = layout.finish(manifest, manifest.files, marks)
        before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
        assert layout.finish(manifest, manifest.files, marks) == first
        assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before

    def test_choosing_destinations_writes_nothing(self, new_layout: Callable[[Path], Layout], tmp_path: Path) -> None:
        map_destinations(new_layout(tmp_path), manifest_of())
        assert list(tmp_path.iterdir()) == []


def map_destinations(layout: Layout, manifest: Manifest) -> list[Destination]:
    return [layout.destination(manifest, file) for file in manifest.files]
