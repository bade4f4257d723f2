"""Releases of catalogues that link to git remotes: what the licence files of the remotes allow, and records without."""

import json
from pathlib import Path

import pytest

from ptmtorrent.catalogue.query import list_packages
from tests.hubs.catalogues_samples import WEIGHTS, serve_catalogue
from tests.in_process import ptmtorrent


def release_of(kind: str, folder: Path) -> tuple[set[str], Path]:
    """Clone what a catalogue serves, every remote with a licence text; return the packages of a release of it."""
    home = folder / "home"
    with serve_catalogue(kind, folder) as world:
        for name in ("small", "plain", "vision"):
            files = {"LICENSE": b"MIT License", "hubconf.py": b"def small(): pass\n", "model.bin": WEIGHTS}
            world.git.commit(f"team/{name}", files)
        if kind == "modelzoo":
            rows = json.loads(world.assets.data[world.weights])["models"]
            rows.append(
                {"slug": "paper", "title": "A paper", "link": None, "papers": {"P": "https://arxiv.org/abs/1602.07360"}}
            )
            world.assets.data[world.weights] = json.dumps({"models": rows}).encode()
        ptmtorrent(home, "clone", kind, "--endpoint", world.endpoint)
    ptmtorrent(home, "keys", "init", "--no-passphrase")
    ptmtorrent(home, "release", "r1")
    return {row["name"] for row in rows_of(home, folder)}, home


def rows_of(home: Path, folder: Path) -> list[dict[str, str]]:
    exported = folder / "exported"
    ptmtorrent(home, "export", "ptmtorrent-json", "--to", exported)
    return [{"name": row["package"], **row} for row in json.loads((exported / "ptmtorrent.json").read_bytes())]


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("pytorch", {"pytorch:team_small"}),
        ("modelzoo", {"modelzoo:small", "modelzoo:paper"}),
        ("modelhub", {"modelhub:small", "modelhub:plain"}),
    ],
)
def test_packages_whose_remotes_have_a_licence_text_are_released(kind: str, names: set[str], tmp_path: Path) -> None:
    found, home = release_of(kind, tmp_path)
    assert found == names
    table = home / "channel/releases/r1/tables/packages.parquet"
    assert {facts.package for facts in list_packages(table)} == names - {"modelzoo:paper"}


def test_branch_of_modelhub_that_is_gone_is_replaced_by_the_one_that_head_names(tmp_path: Path) -> None:
    with serve_catalogue("modelhub", tmp_path) as world:
        row = {"id": "1", "name": "small", "github": world.git.remote("team/small"), "github_branch": "gone"}
        world.git.commit("team/registry", {"models.json": json.dumps([row]).encode()})
        lines = ptmtorrent(tmp_path / "home", "clone", "modelhub", "--endpoint", world.endpoint)
    assert [line["status"] for line in lines if line["type"] == "result"] == ["ok"]
