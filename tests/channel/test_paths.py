"""Paths below a channel are spelled only in `channel/paths.py`."""

import ast
from pathlib import Path

import ptmtorrent
from ptmtorrent.channel import paths

PACKAGE = Path(ptmtorrent.__file__).parent
FOLDERS = {"metadata", "releases", "torrents"}
FILES = {"timestamp.json", "1.root.json", "minisign.pub"}
OTHER_MEANINGS = {
    *("model/kinds.py", "model/subset.py"),  # a kind of file and a subset are called `metadata`
    *("hubs/onnx/records.py", "exports/ptmtorrent_json.py"),  # a field of a hub's answer
    "model/volume.py",  # part of every infohash; `paths` exports it
    "workflows/status.py",  # a row of `status` is called `releases`
    "trust/keys.py",  # the keys of a home, outside of any channel
    "paths.py",  # the folders of a home
    "model/release.py",  # the folders in which a release may list files
}


def spelled(path: Path) -> set[str]:
    """Return the strings of a module that are, or start with, a folder or file of a channel."""
    texts = {node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)}
    named = {text for text in texts if isinstance(text, str) and "\n" not in text and " " not in text}
    return {text for text in named if text in FOLDERS | FILES or (text.partition("/")[0] in FOLDERS and "/" in text)}


def test_no_other_module_spells_a_path_of_a_channel() -> None:
    others = {path: path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py")}
    left_out = OTHER_MEANINGS | {"channel/paths.py"}
    found = {
        name: spelled(path)
        for path, name in others.items()
        if name not in left_out and not name.startswith("demo/") and spelled(path)
    }
    assert spelled(PACKAGE / "channel" / "paths.py")  # the search works
    assert found == {}


def test_a_listed_torrent_is_shared_and_the_rest_is_of_its_release() -> None:
    assert paths.release_path(paths.ReleaseName("r1")) == "releases/r1/release.json"
    assert paths.parse_release_path("releases/r1/release.json") == "r1"
    assert paths.parse_release_path("releases/../release.json") is None
