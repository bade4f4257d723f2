"""Contents can be read from any offset, and ids are those of the real git."""

import hashlib
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptmtorrent.demo.bulk import bulk_packages
from ptmtorrent.demo.contents import Content, InMemory, OnDisk, sha256_of
from ptmtorrent.demo.hub.catalogue import Catalogue
from ptmtorrent.demo.package import Package
from ptmtorrent.demo.packages import sample_packages

BULK_BYTES = (2 << 20) + 4321


@cache
def bulk() -> tuple[Content, bytes]:
    (package,) = bulk_packages(1, BULK_BYTES)
    content = package.files[-1].content
    return content, b"".join(content.chunks(0, content.size))


@settings(max_examples=30)
@given(st.integers(0, BULK_BYTES + 200), st.integers(0, BULK_BYTES + 200))
def test_bulk_content_is_the_same_from_any_offset(start: int, stop: int) -> None:
    content, whole = bulk()
    stop = min(stop, content.size)
    assert b"".join(content.chunks(start, stop)) == whole[start:stop]


def test_bulk_is_a_safetensors_file_of_different_blocks() -> None:
    safetensors = pytest.importorskip("safetensors")
    content, whole = bulk()
    ((_, tensor),) = safetensors.deserialize(whole)
    data = bytes(tensor["data"])
    assert (len(whole), tensor["dtype"], len(data)) == (content.size, "BF16", BULK_BYTES & ~1)
    assert data[: 1 << 20] != data[1 << 20 : 2 << 20]


def test_bulk_packages_differ() -> None:
    hashes = {sha256_of(package.files[-1].content) for package in bulk_packages(3, 1 << 20)}
    assert len(hashes) == 3


@given(st.binary(max_size=100), st.integers(0, 100), st.integers(0, 100))
def test_memory_slices(data: bytes, start: int, stop: int) -> None:
    stop = min(stop, len(data))
    assert b"".join(InMemory(data).chunks(start, stop)) == data[start:stop]


def test_file_on_disk_is_read_in_chunks(tmp_path: Path) -> None:
    data = bytes(range(256)) * 10_000
    path = tmp_path / "weights"
    path.write_bytes(data)
    chunks = list(OnDisk(path, len(data)).chunks(5, len(data) - 5))
    assert max(map(len, chunks)) <= 1 << 20
    assert b"".join(chunks) == data[5:-5]


@pytest.mark.parametrize("name", ["world/names", "painter/tiny-diffusion", "Case-Lab/case-study"])
def test_git_agrees_with_our_blob_tree_and_commit_ids(name: str, tmp_path: Path) -> None:
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    (package,) = (each for each in sample_packages() if each.name == name)
    revision = Catalogue([package]).find(name)
    assert revision is not None
    assert commit_with_git(package, tmp_path) == revision.commit


def commit_with_git(package: Package, folder: Path) -> str:
    """Commit the package with the real git, LFS files as the pointers git-lfs writes."""
    for file in package.files:
        path = folder / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        data = b"".join(file.content.chunks(0, file.content.size))
        if file.is_lfs:
            text = f"oid sha256:{hashlib.sha256(data).hexdigest()}\nsize {len(data)}\n"
            data = b"version https://git-lfs.github.com/spec/v1\n" + text.encode()
        path.write_bytes(data)
    who = {"NAME": "Sample Hub", "EMAIL": "sample@hub.invalid", "DATE": f"{package.created_seconds} +0000"}
    env = {f"GIT_{role}_{key}": value for role in ("AUTHOR", "COMMITTER") for key, value in who.items()}
    env |= {"HOME": str(folder), "GIT_CONFIG_NOSYSTEM": "1", "PATH": "/usr/bin:/bin:/usr/local/bin"}
    plain = ["-c", "filter.lfs.clean=cat", "-c", "filter.lfs.required=false", "-c", "core.autocrlf=false"]
    for step in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "Add the model"]):
        subprocess.run(["git", *plain, *step], cwd=folder, env=env, check=True)
    shown = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=folder, env=env, check=True, capture_output=True, text=True
    )
    return shown.stdout.strip()
