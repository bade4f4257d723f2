import random
from pathlib import Path

import pytest

from ptmtorrent.errors import AuthError, HubError, IntegrityError, Interrupted, NotFound
from ptmtorrent.hubs.git.addresses import split_remote
from ptmtorrent.hubs.git.clones import check_files
from ptmtorrent.hubs.git.objects import check_proof, git_object_id, parse_commit, parse_tree, split_proof
from ptmtorrent.hubs.git.process import Git, git_environment
from ptmtorrent.hubs.port import Query
from ptmtorrent.model.pointers import Pointer, format_pointer
from tests.hubs.git.samples import fetch, fill, remotes
from tests.simulators.git_server import GitServer, run_git, serve_git


@pytest.fixture
def server(tmp_path: Path) -> GitServer:
    (tmp_path / "served").mkdir()
    (tmp_path / "parts").mkdir()
    with serve_git(tmp_path / "served") as made:
        yield made


def test_files_come_with_their_modes_and_belong_to_the_commit(server: GitServer, tmp_path: Path) -> None:
    [name] = fill(server, 1)
    with remotes(server, tmp_path / "work", [name]) as hub:
        [page] = hub.listing(Query(), None)
        described = hub.describe(page.packages[0])
        files, [(_, joined)] = hub.files(described)
    proof = split_proof(joined)

    modes = {file.path: file.mode for file in files}
    assert modes["run.sh"] == 0o100755
    assert modes["docs/link"] == 0o120000
    assert modes["README.md"] == 0o100644
    assert {kind for kind, _ in proof} == {"commit", "tree"}
    check_files(described.identity.commit, proof, files)


def test_file_that_is_not_of_the_commit_is_refused(server: GitServer, tmp_path: Path) -> None:
    [name] = fill(server, 1)
    with remotes(server, tmp_path / "work", [name]) as hub:
        [page] = hub.listing(Query(), None)
        described = hub.describe(page.packages[0])
        _, [(_, joined)] = hub.files(described)
    proof = split_proof(joined)
    commit = described.identity.commit
    regular = frozenset({0o100644})
    right = frozenset({git_object_id("blob", b"# model 0\n")})

    with pytest.raises(IntegrityError, match=r"README\.md"):
        check_proof(commit, proof, {b"README.md": (regular, frozenset({"0" * 40}))})
    with pytest.raises(IntegrityError, match=r"README\.md"):
        check_proof(commit, proof, {b"README.md": (frozenset({0o100755}), right)})
    with pytest.raises(IntegrityError, match="not kept"):
        check_proof(commit, proof[:1], {b"README.md": (regular, right)})
    with pytest.raises(IntegrityError, match="does not match the id"):
        check_proof("1" * 40, proof, {})


def test_lfsconfig_neither_hides_nor_redirects_files(server: GitServer, tmp_path: Path) -> None:
    [name] = fill(server, 1)
    with remotes(server, tmp_path / "work", [name]) as hub:
        got = fetch(hub, name, tmp_path / "parts")

    assert got["weights/model.bin"][0].source == "lfs"
    assert len(got["weights/model.bin"][1]) == 300_001
    assert got[".lfsconfig"][1].startswith(b"[lfs]")


def test_commit_that_moves_between_listing_and_download_is_still_the_one_fetched(
    server: GitServer, tmp_path: Path
) -> None:
    before = server.commit("team/m", {"a.txt": b"before"})
    with remotes(server, tmp_path / "work", []) as hub:
        [page] = hub.listing(Query(ids=("team/m",)), None)
        server.commit("team/m", {"a.txt": b"after"})
        described = hub.describe(page.packages[0])
        [file], _ = hub.files(described)
        located = hub.locate(described, file)

        assert described.identity.commit == before
        assert located.pieces is not None
        assert b"".join(located.pieces()) == b"before"


def test_commit_that_is_gone_is_not_found(server: GitServer, tmp_path: Path) -> None:
    server.commit("team/m", {"a.txt": b"x"})

    with pytest.raises(NotFound, match="team/m"):
        Git({"PATH": "/usr/bin:/bin"}).fetch(server.remote("team/m"), "7" * 40, tmp_path / "b", "`git:team/m`")


def test_gitlinks_are_left_out_and_stay_in_the_tree(server: GitServer, tmp_path: Path) -> None:
    server.commit("team/m", {"a.txt": b"x", "module": b"5" * 40}, {"module": "160000"})
    with remotes(server, tmp_path / "work", []) as hub:
        [page] = hub.listing(Query(ids=("team/m",)), None)
        files, [(_, joined)] = hub.files(hub.describe(page.packages[0]))
    proof = split_proof(joined)

    assert [file.path for file in files] == ["a.txt"]
    entries = [entry for kind, body in proof if kind == "tree" for entry in parse_tree(body)]
    assert [entry.oid for entry in entries if entry.mode == 0o160000] == ["5" * 40]


def test_text_that_git_lfs_does_not_read_as_a_pointer_stays_the_text_it_is(server: GitServer, tmp_path: Path) -> None:
    pointer = format_pointer(Pointer(sha256="a" * 64, size=5))
    odd = {
        "version": pointer.replace(b"spec/v1", b"spec/v2"),
        "swapped": b"".join(pointer.splitlines(keepends=True)[::-1]),
        "prose": b"As follows:\n" + pointer,
    }
    server.commit("team/m", odd)
    with remotes(server, tmp_path / "work", []) as hub:
        got = fetch(hub, "team/m", tmp_path / "parts")

    assert {path: data for path, (_, data) in got.items()} == odd
    assert {file.source for file, _ in got.values()} == {"git"}


def test_remote_that_is_not_there_is_listed_as_gone(server: GitServer, tmp_path: Path) -> None:
    with remotes(server, tmp_path / "work", []) as hub:
        [page] = hub.listing(Query(ids=("team/none",)), None)

        assert page.packages[0].access == "gone"
        with pytest.raises(NotFound, match="team/none"):
            hub.describe(page.packages[0])


def test_remote_that_wants_a_login_is_an_auth_error_and_opens_with_one(server: GitServer, tmp_path: Path) -> None:
    [name] = fill(server, 1)
    server.login = "Basic dG9rZW46c2VjcmV0"
    with remotes(server, tmp_path / "closed", []) as hub:
        [page] = hub.listing(Query(ids=(name,)), None)
        with pytest.raises(AuthError, match=name):
            hub.describe(page.packages[0])

    with remotes(server, tmp_path / "open", [], credentials={f"{server.url}/": server.login}) as hub:
        got = fetch(hub, name, tmp_path / "parts")

    assert len(got["weights/model.bin"][1]) == 300_001
    stored = [asked for asked in server.asked if "try=" in asked.path]
    assert stored
    assert not any("authorization" in asked.headers for asked in stored)


def test_protocols_that_run_programs_are_refused(tmp_path: Path) -> None:
    mark = tmp_path / "mark"

    with pytest.raises(HubError):
        Git({"PATH": "/usr/bin:/bin"}).head(f"ext::sh -c 'touch {mark}'", "it")
    with pytest.raises(HubError):
        Git({"PATH": "/usr/bin:/bin"}).head(str(tmp_path), "it")
    assert not mark.exists()


def test_git_knows_nothing_of_the_user() -> None:
    given = {
        "PATH": "/bin",
        "GIT_DIR": "/elsewhere",
        "HOME": "/home",
        "GIT_SSH_COMMAND": "x",
        "https_proxy": "http://p",
    }

    made = git_environment(given, "https", "https://hub.example/a")

    assert "GIT_DIR" not in made
    assert "HOME" not in made
    assert "GIT_SSH_COMMAND" not in made
    assert made["https_proxy"] == "http://p"


def test_running_git_ends_when_stopped(tmp_path: Path) -> None:
    git = Git({"PATH": "/usr/bin:/bin"}, stopped=lambda: True)
    run_git("init", "--quiet", "--bare", str(tmp_path / "b"))

    with pytest.raises(Interrupted):
        git.run(["-c", "alias.wait=!sleep 30", "wait"], "it", tmp_path / "b")


@pytest.mark.parametrize(
    "text", ["", "https://", "https://host", "ftp://host/a", "https://u@host/a", "https://host/a?b", "--upload-pack=x"]
)
def test_what_is_no_remote_is_refused(text: str) -> None:
    with pytest.raises((NotFound, IntegrityError)):
        split_remote(text, ("https", "http"))


def test_remote_gives_the_name_of_its_package() -> None:
    assert split_remote("https://example.org:81/team/m.git/", ("https",)) == (
        "https://example.org:81/team/m.git",
        "example.org+81/team/m",
    )


@pytest.mark.parametrize("seed", range(20))
def test_trees_and_commits_of_noise_are_our_errors(seed: int) -> None:
    noise = random.Random(seed).randbytes(200)

    with pytest.raises(HubError):
        parse_commit(noise)
    with pytest.raises(HubError):
        parse_tree(b"100644 a\0" + noise[:19])


def test_history_is_kept_as_a_file_that_git_clones(server: GitServer, tmp_path: Path) -> None:
    first = server.commit("team/m", {"a.txt": b"1"})
    second = server.commit("team/m", {"a.txt": b"2"})
    git = Git({"PATH": "/usr/bin:/bin"})
    git.fetch(server.remote("team/m"), second, tmp_path / "b", "it", history=True)

    (tmp_path / "kept").write_bytes(b"".join(git.bundle(tmp_path / "b", "it")))

    run_git("clone", "--quiet", "--bare", "--branch", "kept", str(tmp_path / "kept"), str(tmp_path / "c"))
    assert run_git("rev-list", "kept", folder=tmp_path / "c").decode().split() == [second, first]
