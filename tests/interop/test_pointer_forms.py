"""Whatever git-lfs downloads for is downloaded, and nothing that names an object of LFS becomes a file of its own."""

import hashlib
import os
import random
import shutil
import subprocess
from pathlib import Path

import pytest

from ptmtorrent.errors import IntegrityError
from ptmtorrent.hubs.client.download import check_no_pointer
from ptmtorrent.hubs.port import HubFile
from ptmtorrent.model.pointers import MAX_PADDED_BYTES, MAX_POINTER_BYTES, git_blob_id, parse_pointer
from tests import in_process
from tests.interop.pointer_forms import accepted_forms, permitted_forms, refused_forms
from tests.program import ptmtorrent
from tests.simulators.git_server import GitServer, serve_git

pytestmark = pytest.mark.interop

WEIGHTS = random.Random(7).randbytes(4_321)
OID = hashlib.sha256(WEIGHTS).hexdigest()
ATTRIBUTES = b"*.bin filter=lfs -text\nextended-*.bin filter=one\nlong-*.bin filter=one\n"
NAMES = ("keep", "keep2")


def git_lfs(*arguments: str, folder: Path, home: Path) -> bytes:
    """Run git with git-lfs, which knows the extensions `NAMES`: programs that change nothing.

    Its long-running filter fails with such programs and with long pointers, so these files are filtered one by one.
    """
    settings = {"filter.lfs.process": "git-lfs filter-process", "filter.one.smudge": "git-lfs smudge -- %f"}
    for priority, name in enumerate(NAMES):
        settings |= {f"lfs.extension.{name}.{what}": "cat" for what in ("clean", "smudge")}
        settings[f"lfs.extension.{name}.priority"] = str(priority)
    chosen = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    env = {"PATH": os.environ["PATH"], "HOME": str(home), "GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0"}
    done = subprocess.run(
        ["git", *chosen, *arguments], cwd=folder, env=env, capture_output=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def pull(remote: str, folder: Path) -> Path:
    """Return a clone whose files `git lfs pull` replaced: those that it reads as pointers before it downloads any."""
    here = folder / "pulled"
    git_lfs("clone", "--quiet", "--no-checkout", remote, str(here), folder=folder, home=folder)
    raw = ("filter.lfs.process=", "filter.lfs.smudge=cat", "filter.one.smudge=cat")
    git_lfs(*(part for each in raw for part in ("-c", each)), "checkout", "--quiet", "HEAD", folder=here, home=folder)
    git_lfs("lfs", "install", "--local", "--skip-smudge", folder=here, home=folder)
    git_lfs("lfs", "pull", folder=here, home=folder)
    return here


def serve(server: GitServer, forms: dict[str, bytes]) -> str:
    assert server.keep_object(WEIGHTS).sha256 == OID
    files = {f"{name}.bin": text for name, text in forms.items()}
    server.commit("team/m", {".gitattributes": ATTRIBUTES, **files})
    return server.remote("team/m")


@pytest.mark.skipif(shutil.which("git-lfs") is None, reason="git-lfs is not installed")
def test_whatever_git_lfs_downloads_for_is_downloaded_and_proven(tmp_path: Path) -> None:
    forms = accepted_forms(OID, len(WEIGHTS)) | dict(permitted_forms(OID, len(WEIGHTS)))
    home, theirs = tmp_path / "home", tmp_path / "theirs"
    (tmp_path / "served").mkdir()
    with serve_git(tmp_path / "served") as server:
        remote = serve(server, forms)
        git_lfs("clone", "--quiet", f"{remote}.git", str(theirs), folder=tmp_path, home=tmp_path)
        pulled = pull(f"{remote}.git", tmp_path)
        events = ptmtorrent(home, "clone", "git", "--endpoint", server.url, "--id", "team/m")
    [package] = [event["id"] for event in events if event["type"] == "result"]
    checked = ptmtorrent(home, "verify", "--store")
    ptmtorrent(home, "keys", "init", "--no-passphrase")
    ptmtorrent(home, "release", "r1", "--include", "unknown")
    ptmtorrent(home, "fetch", package, "--channel", home / "channel", "--to", tmp_path / "out")

    ours = tmp_path / "out" / package.replace(":", "/", 1)
    downloaded = [name for name in forms if (theirs / f"{name}.bin").read_bytes() == WEIGHTS]
    assert len(downloaded) >= 200
    assert set(accepted_forms(OID, len(WEIGHTS))) - set(downloaded) == set()
    # A checkout looks for a pointer in the first 1,024 bytes of any file, `git lfs pull` in files that are shorter.
    short = {name for name in downloaded if len(forms[name]) < MAX_POINTER_BYTES}
    assert {name for name in forms if (pulled / f"{name}.bin").read_bytes() == WEIGHTS} == short
    assert [name for name in forms if (ours / f"{name}.bin").read_bytes() != WEIGHTS] == []
    assert any("matches its upstream git commit" in event.get("message", "") for event in checked)


@pytest.mark.parametrize("length", [MAX_PADDED_BYTES + 1, 100_000])
def test_pointer_in_a_longer_file_than_is_read_for_one_is_refused(tmp_path: Path, length: int) -> None:
    """A checkout by git-lfs downloads for these too; they are not taken for weights."""
    text = accepted_forms(OID, len(WEIGHTS))["long-1024"].ljust(length, b"\n")
    (tmp_path / "served").mkdir()
    with serve_git(tmp_path / "served") as server:
        serve(server, {"padded": text})
        url = server.url
        events = in_process.ptmtorrent(tmp_path / "home", "clone", "git", "--endpoint", url, "--id", "team/m", code=3)

    [reason] = [event["reason"] for event in events if event["type"] == "result"]
    assert all(word in reason for word in ("padded.bin", "pointer", OID))


@pytest.mark.skipif(shutil.which("git-lfs") is None, reason="git-lfs is not installed")
def test_what_names_an_object_and_is_no_pointer_is_refused(tmp_path: Path) -> None:
    forms = dict(refused_forms(OID, len(WEIGHTS)))
    (tmp_path / "served").mkdir()
    with serve_git(tmp_path / "served") as server:
        remote = serve(server, forms)
        git_lfs("clone", "--quiet", f"{remote}.git", "theirs", folder=tmp_path, home=tmp_path)
    left = {name: (tmp_path / "theirs" / f"{name}.bin").read_bytes() for name in forms}
    assert left == forms
    for name, text in forms.items():
        assert parse_pointer(text) is None, name
        part = tmp_path / "part"
        part.write_bytes(text)
        file = HubFile(path="model.bin", size=len(text), oid=f"git:{git_blob_id(text)}", source="git")
        with pytest.raises(IntegrityError, match="pointer"):
            check_no_pointer(file, part, name)
