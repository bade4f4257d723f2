from pathlib import Path

from ptmtorrent.layouts.folders import PlainDir
from ptmtorrent.model.manifest import EXECUTABLE_MODE
from tests.layouts.manifests import Kept, manifest_of, new_file


def test_a_package_is_a_folder_below_its_hub(tmp_path: Path) -> None:
    manifest = manifest_of()
    [readme, *_] = manifest.files
    assert PlainDir(tmp_path).destination(manifest, readme).target == tmp_path / "hf/org/name/README.md"
    assert PlainDir(tmp_path).finish(manifest, manifest.files, Kept()).folder == tmp_path / "hf/org/name"


def test_an_executable_stays_one(tmp_path: Path) -> None:
    file = new_file("run.py", b"x", 0, mode=EXECUTABLE_MODE)
    assert PlainDir(tmp_path).destination(manifest_of(), file).mode == 0o755
    assert PlainDir(tmp_path).destination(manifest_of(), new_file("a", b"x", 0)).mode == 0o644
