"""A fetch into a Hugging Face cache: what the unmodified client finds there, and what belongs to its user."""

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ptmtorrent.layouts.hf_cache import HfCache
from ptmtorrent.model.records import Note
from ptmtorrent.paths import Home
from ptmtorrent.workflows.fetch.fetch import FetchRequest
from tests.channels import Heard, Made, fetch_from, make_channel
from tests.program import environment


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_channel(tmp_path_factory.mktemp("made"))


@pytest.fixture
def home(tmp_path: Path, made: Made) -> Home:
    """A user's home that trusts the channel's folder."""
    home = Home(tmp_path / "user")
    made.trusted_by(home, str(made.folder))
    return home


def test_an_hf_cache_is_what_the_unmodified_client_finds_offline(made: Made, home: Home) -> None:
    heard = Heard()
    request = FetchRequest(packages=("hf:org/tuned",), into="hf-cache")
    fetch_from(made.folder, home, request, emit=heard)
    code = "import huggingface_hub, sys\nprint(huggingface_hub.snapshot_download('org/tuned', cache_dir=sys.argv[1]))\n"
    done = subprocess.run(
        [sys.executable, "-c", code, str(home.hf_cache)],
        env=environment(HF_HUB_OFFLINE="1"),
        capture_output=True,
        text=True,
        check=True,
    )
    folder = Path(done.stdout.strip())
    assert heard.results["hf:org/tuned"].path == str(folder)
    found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert found == made.packages["hf:org/tuned"]
    assert all(path.readlink().parts[0] == ".." for path in folder.rglob("*") if path.is_symlink())


def test_a_partial_hf_cache_is_not_taken_for_a_whole_one(made: Made, home: Home) -> None:
    heard = Heard()
    request = FetchRequest(packages=("hf:org/tuned",), only=("config",), into="hf-cache")
    fetch_from(made.folder, home, request, emit=heard)
    assert any("fetched in part" in record.message for record in heard.records if isinstance(record, Note))
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    with pytest.raises(LocalEntryNotFoundError, match="incomplete"):
        snapshot_download("org/tuned", cache_dir=home.hf_cache, local_files_only=True)
    folder = snapshot_download("org/tuned", cache_dir=home.hf_cache, local_files_only=True, allow_patterns="conf*")
    assert (Path(folder) / "config.json").read_bytes() == made.packages["hf:org/tuned"]["config.json"]


def test_an_hf_cache_missing_its_links_is_finished_by_the_next_run(made: Made, home: Home) -> None:
    request = FetchRequest(packages=("hf:org/base",), into="hf-cache")
    heard = Heard()
    fetch_from(made.folder, home, request, emit=heard)
    folder = Path(str(heard.results["hf:org/base"].path))
    (folder / "config.json").unlink()
    (folder.parents[1] / "refs" / "main").unlink()
    assert fetch_from(made.folder, home, request).bytes_moved == 0
    assert (folder / "config.json").read_bytes() == made.packages["hf:org/base"]["config.json"]
    assert (folder.parents[1] / "refs" / "main").read_text() == folder.name


def test_files_with_the_same_bytes_cost_the_others_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {f"{number}.txt": b"%d" % max(number, 1) for number in range(100)}
    made, home, asked = make_channel(tmp_path / "made", {"hf:org/many": files}), Home(tmp_path / "user"), []
    made.trusted_by(home, str(made.folder))
    real = HfCache.destination
    monkeypatch.setattr(HfCache, "destination", lambda *given: asked.append(given) or real(*given))
    heard = Heard()
    for _ in range(2):
        fetch_from(made.folder, home, FetchRequest(packages=("hf:org/many",), into="hf-cache"), emit=heard)

    folder = Path(str(heard.results["hf:org/many"].path))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == files
    assert (folder / "0.txt").readlink() == (folder / "1.txt").readlink()
    assert len(asked) <= 5 * len(files)


def test_an_hf_cache_on_a_disk_without_links_has_files_in_their_place(
    made: Made, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.symlink

    def refuse(to: Any, path: Any, *more: Any, **options: Any) -> None:
        if Path(path).is_relative_to(home.hf_cache):
            raise PermissionError(errno.EPERM, "Operation not permitted", str(path))
        real(to, path, *more, **options)

    monkeypatch.setattr(os, "symlink", refuse)
    request = FetchRequest(packages=("hf:org/tuned",), into="hf-cache")
    heard = Heard()
    fetch_from(made.folder, home, request, emit=heard)
    assert fetch_from(made.folder, home, request).bytes_moved == 0
    from huggingface_hub import snapshot_download

    folder = Path(snapshot_download("org/tuned", cache_dir=home.hf_cache, local_files_only=True))
    assert heard.results["hf:org/tuned"].path == str(folder)
    found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert found == made.packages["hf:org/tuned"]
    assert not (folder.parents[1] / "blobs").exists()


def test_a_ref_of_the_users_own_cache_is_left_with_a_warning(made: Made, home: Home) -> None:
    ref = home.hf_cache / "models--org--tuned" / "refs" / "main"
    ref.parent.mkdir(parents=True)
    ref.write_text("e" * 40)
    for _ in range(2):
        heard = Heard()
        fetch_from(made.folder, home, FetchRequest(packages=("hf:org/tuned",), into="hf-cache"), emit=heard)
        assert ref.read_text() == "e" * 40
        [warning] = [record.message for record in heard.records if isinstance(record, Note) and record.warning]
        assert str(ref) in warning


def test_other_hubs_are_impossible_in_an_hf_cache(made: Made, home: Home) -> None:
    heard = Heard()
    summary = fetch_from(made.folder, home, FetchRequest(subset="all", into="hf-cache"), emit=heard)
    assert (heard.results["onnx:vision/x"].status, summary.failed) == ("impossible", 1)
    assert heard.results["hf:solo"].status == "ok"


def test_packages_that_share_files_are_linked_without_looking_through_them_for_each(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {f"{name}-{number}.json": b"%d" % number for number in range(20) for name in "ab"}
    made = make_channel(tmp_path, {"hf:a/x": files, "hf:a/y": files})
    made.trusted_by(home, str(made.folder))
    asked: list[str] = []
    real = HfCache.destination

    def note(layout: HfCache, manifest: Any, file: Any) -> Any:
        asked.append(file.name)
        return real(layout, manifest, file)

    monkeypatch.setattr(HfCache, "destination", note)
    fetch_from(made.folder, home, FetchRequest(subset="all", into="hf-cache", to=tmp_path / "cache"))

    assert len(asked) < 8 * len(files)
    assert len(list((tmp_path / "cache").rglob("[ab]-*.json"))) == 2 * len(files)
