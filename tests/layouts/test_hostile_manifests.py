"""No manifest reaches anything outside the folder it is laid out in (`scripts/fuzz-manifest` has 100,000)."""

from pathlib import Path

import pytest

from ptmtorrent.model import manifest as manifests
from tests.layouts import hostile_manifests
from tests.layouts.hostile_manifests import check


def test_nothing_outside_is_reached_by_hostile_manifests(tmp_path: Path) -> None:
    counted, wrong = check(tmp_path, 1_500, seed=1)
    assert wrong == []
    assert counted["accepted"] > 60
    assert counted["refused"] > 600


def follow_links(_root: Path, folder: Path, _unsynced: set[Path]) -> None:
    folder.mkdir(parents=True, exist_ok=True)


def test_the_sweep_finds_a_layout_that_follows_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the checks of a manifest's paths, or with links followed, it reports what was reached."""
    monkeypatch.setattr(manifests, "check_paths", lambda *_, **__: None)
    monkeypatch.setattr(hostile_manifests, "ensure_real_dir", follow_links)
    _, wrong = check(tmp_path, 1_500, seed=1)
    assert wrong
