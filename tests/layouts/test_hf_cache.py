import json
import tracemalloc
from pathlib import Path

import pytest
from huggingface_hub import _tree_cache

from ptmtorrent.errors import UnsupportedFormat
from ptmtorrent.layouts.hf_cache import HfCache
from ptmtorrent.model.manifest import Manifest
from tests.channels import COMMIT, git_id
from tests.layouts.manifests import Kept, manifest_of


def place(root: Path, manifest: Manifest, path: str) -> tuple[str, str, str | None]:
    file = next(file for file in manifest.files if file.path == path)
    destination = HfCache(root).destination(manifest, file)
    assert destination.link is not None
    return (
        destination.target.relative_to(root).as_posix(),
        destination.link.relative_to(root).as_posix(),
        destination.claimed_hash,
    )


def test_a_small_file_is_named_by_its_git_id(tmp_path: Path) -> None:
    etag = git_id(b"{}")
    assert place(tmp_path, manifest_of(), "config.json") == (
        f"models--org--name/blobs/{etag}",
        f"models--org--name/snapshots/{COMMIT}/config.json",
        f"git:{etag}",
    )


def test_an_lfs_file_is_named_by_its_sha256(tmp_path: Path) -> None:
    manifest = manifest_of()
    etag = next(file.sha256 for file in manifest.files if file.source == "lfs")
    target, link, claimed_hash = place(tmp_path, manifest, "deep/model.safetensors")
    assert (target, claimed_hash) == (f"models--org--name/blobs/{etag}", f"sha256:{etag}")
    assert link == f"models--org--name/snapshots/{COMMIT}/deep/model.safetensors"


def test_a_package_without_an_organisation_has_a_folder_too(tmp_path: Path) -> None:
    assert place(tmp_path, manifest_of("gpt2"), "config.json")[0].startswith("models--gpt2/blobs/")


def test_the_tree_and_the_ref_are_those_that_huggingface_hub_writes(tmp_path: Path) -> None:
    manifest = manifest_of()
    HfCache(tmp_path / "ours").finish(manifest, manifest.files, Kept())
    ours = tmp_path / "ours" / "models--org--name"
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:%b\nsize 63\n"
    weights = next(file for file in manifest.files if file.source == "lfs")
    entries = {
        "README.md": _tree_cache.TreeCacheEntry(size=6, blob_id=git_id(b"# card")),
        "config.json": _tree_cache.TreeCacheEntry(size=2, blob_id=git_id(b"{}")),
        "deep/model.safetensors": _tree_cache.TreeCacheEntry(
            size=63, blob_id=git_id(pointer % weights.sha256.encode()), lfs_sha256=weights.sha256, lfs_size=63
        ),
    }
    _tree_cache.write_tree_cache(str(tmp_path / "theirs"), COMMIT, entries)
    assert (ours / "trees" / f"{COMMIT}.json").read_bytes() == (
        tmp_path / "theirs" / "trees" / f"{COMMIT}.json"
    ).read_bytes()
    assert (ours / "refs" / "main").read_text() == COMMIT


def test_a_newer_commit_moves_the_ref_that_a_fetch_wrote(tmp_path: Path) -> None:
    marks = Kept()
    for commit in (COMMIT, "d" * 40, COMMIT, "d" * 40):
        finished = HfCache(tmp_path).finish(manifest_of(commit=commit), (), marks)
        assert finished.note == ""
        assert (tmp_path / "models--org--name" / "refs" / "main").read_text() == commit
    trees = {path.stem for path in (tmp_path / "models--org--name" / "trees").iterdir()}
    assert trees == {COMMIT, "d" * 40}


@pytest.mark.parametrize("name", ["refs/main", f"trees/{COMMIT}.json"])
def test_no_more_of_a_file_that_others_write_is_read_than_is_compared(tmp_path: Path, name: str) -> None:
    manifest, marks = manifest_of(commit=COMMIT), Kept()
    HfCache(tmp_path).finish(manifest, (), marks)
    path = tmp_path / "models--org--name" / name
    wrong = path.read_bytes().ljust(1 << 24)
    path.write_bytes(wrong)

    tracemalloc.start()
    finished = HfCache(tmp_path).finish(manifest, (), marks)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 1 << 20
    assert finished.note == ""
    assert (path.read_bytes() == wrong) == (name == "refs/main")


@pytest.mark.parametrize("earlier", [False, True], ids=["of another program", "moved since a fetch"])
def test_a_ref_that_no_fetch_wrote_is_left_with_a_note(tmp_path: Path, earlier: bool) -> None:
    marks, ref = Kept(), tmp_path / "models--org--name" / "refs" / "main"
    if earlier:
        HfCache(tmp_path).finish(manifest_of(commit=COMMIT), (), marks)
    ref.parent.mkdir(parents=True, exist_ok=True)
    ref.write_text("e" * 40)
    for _ in range(2):
        finished = HfCache(tmp_path).finish(manifest_of(commit="d" * 40), (), marks)
        assert ref.read_text() == "e" * 40
        assert str(ref) in finished.note
        assert f"revision={'d' * 40}" in finished.note
    assert HfCache(tmp_path).finish(manifest_of(commit="e" * 40), (), marks).note == ""


@pytest.mark.parametrize(
    ("hub", "name", "commit"),
    [
        ("onnx", "vision/x", COMMIT),
        ("hf", "a/b/c", COMMIT),
        ("hf", "a--b/c", COMMIT),
        ("hf", "org/na me", COMMIT),
        ("hf", "org/name", "main"),
    ],
)
def test_a_package_that_a_cache_cannot_hold_is_refused(tmp_path: Path, hub: str, name: str, commit: str) -> None:
    manifest = manifest_of(name, hub, commit)
    with pytest.raises(UnsupportedFormat, match="a Hugging Face cache cannot hold"):
        HfCache(tmp_path).destination(manifest, manifest.files[0])


def test_the_tree_lists_files_that_were_not_fetched(tmp_path: Path) -> None:
    manifest = manifest_of()
    HfCache(tmp_path).finish(manifest, manifest.files[:1], Kept())
    tree = json.loads((tmp_path / "models--org--name" / "trees" / f"{COMMIT}.json").read_bytes())
    assert list(tree["files"]) == ["README.md", "config.json", "deep/model.safetensors"]


def test_a_disk_without_links_has_the_files_themselves_in_the_snapshot(tmp_path: Path) -> None:
    manifest = manifest_of()
    flat, linked = HfCache(tmp_path, links=False), HfCache(tmp_path)
    for file in manifest.files:
        with_link, without = linked.destination(manifest, file), flat.destination(manifest, file)
        assert without.target == with_link.link
        assert without.link is None
        assert without.claimed_hash == with_link.claimed_hash
        assert flat.place(manifest, file) == file.name
        assert linked.place(manifest, file) == with_link.target.name
