"""Packages that an update of a target finds to be in its subset no more: named, and removed if that is asked for."""

from pathlib import Path

import pytest

from ptmtorrent.errors import UsageError
from ptmtorrent.model.ids import ReleaseName
from ptmtorrent.model.records import Dropped, ignore
from ptmtorrent.paths import Home
from ptmtorrent.reading.open_channel import open_channel
from ptmtorrent.state.laid_out import Ledger
from ptmtorrent.stop import Stop
from ptmtorrent.store.store import Store
from ptmtorrent.trust.fingerprints import fingerprint, read_first_root
from ptmtorrent.trust.keys import init_keys, load_keys
from ptmtorrent.trust.pins import Pins
from ptmtorrent.workflows.fetch.fetch import FetchRequest, fetch
from ptmtorrent.workflows.release.release import release
from ptmtorrent.workflows.verify import verify
from tests.channels import Heard, capture, check_laid_out, clock
from tests.in_process import ptmtorrent, run_verb

KEPT = {
    "hf:org/kept": {"config.json": b"{}", "deep/model.bin": b"W" * 900},
    "hf:solo": {"README.md": b"rarely fetched"},
}
GONE = {"hf:org/gone": {"config.json": b"[]", "deep/model.bin": b"X" * 900}}
ALL = KEPT | GONE


@pytest.fixture(scope="module")
def channel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A channel of two releases: `full`, and `less`, which lacks a package of it."""
    root = tmp_path_factory.mktemp("made")
    home = Home(root / "maintainer")
    init_keys(home.keys, None)
    for name, packages in (("less", KEPT), ("full", GONE)):
        with Store.open(home.store, write=True) as store:
            for package, files in packages.items():
                capture(store, root, package, files)
        release(ReleaseName(name), home, load_keys(home.keys, lambda: None), clock=clock, emit=ignore)
    return home.channel


@pytest.fixture
def user(tmp_path: Path, channel: Path) -> Home:
    home = Home(tmp_path / "user")
    root = read_first_root(channel)
    Pins(home.trust).add(str(channel), fingerprint(root), root)
    return home


def get(channel: Path, user: Home, to: Path, which: str, **more: object) -> list[Dropped]:
    """Fetch everything of a release, or what `more` says; return what was said of packages that it lacks."""
    heard = Heard()
    request = FetchRequest(**({"subset": "all", "to": to} | more))  # type: ignore[arg-type]
    opened = open_channel(str(channel), which, user, clock=clock, emit=ignore)
    fetch(request, opened, user, clock=clock, emit=heard, stop=Stop())
    return [record for record in heard.records if isinstance(record, Dropped)]


def verified(user: Home, target: Path) -> list[Dropped]:
    heard = Heard()
    assert verify(user, str(target), emit=heard, stop=Stop()).failed == 0
    return [record for record in heard.records if isinstance(record, Dropped)]


def test_a_package_that_a_release_lacks_is_named_and_removed_with_prune(
    channel: Path, user: Home, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert get(channel, user, out, "full") == []
    [named] = get(channel, user, out, "less")
    assert named == Dropped(package="hf:org/gone", path=str(out / "hf" / "org" / "gone"), subset="all", release="less")
    check_laid_out(out, ALL)
    assert verified(user, out) == [named]
    assert get(channel, user, out, "less", dry_run=True, prune=True) == [named]
    [removed] = get(channel, user, out, "less", prune=True)
    assert (removed.removed, removed.kept) == (True, ())
    check_laid_out(out, KEPT)
    assert not (out / "hf" / "org" / "gone").exists()
    assert verified(user, out) == get(channel, user, out, "less") == []
    with Ledger(user.ledger) as ledger:
        assert {folder.package for folder in ledger.folders()} == set(KEPT)
    assert get(channel, user, out, "full") == verified(user, out) == []
    check_laid_out(out, ALL)


@pytest.mark.parametrize("how", ["changed", "own", "link"])
def test_prune_keeps_what_is_the_users(channel: Path, user: Home, tmp_path: Path, how: str) -> None:
    out = tmp_path / "out"
    get(channel, user, out, "full")
    folder = out / "hf" / "org" / "gone"
    mine = folder / "deep" / ("model.bin" if how == "changed" else "mine.txt")
    if how == "link":
        mine = folder
        folder.rename(tmp_path / "moved")
        folder.symlink_to(tmp_path / "moved")
    else:
        mine.write_bytes(b"my own work")
    [record] = get(channel, user, out, "less", prune=True)
    assert (record.removed, record.kept) == (False, (str(mine),))
    if how == "link":
        assert (mine / "config.json").read_bytes() == b"[]"
    else:
        assert mine.read_bytes() == b"my own work"
        assert not (folder / "config.json").exists()


def test_a_package_is_dropped_by_the_subset_that_chose_it(channel: Path, user: Home, tmp_path: Path) -> None:
    out = tmp_path / "out"
    get(channel, user, out, "full", subset="popular")
    assert [record.subset for record in get(channel, user, out, "less", subset="popular")] == ["popular"]
    for chosen in ({"subset": "all"}, {"subset": None, "packages": ("hf:org/gone",)}):
        get(channel, user, out, "full", **chosen)
        assert get(channel, user, out, "less", subset="popular", prune=True) == []
        assert verified(user, out) == []
    [record] = get(channel, user, out, "less")
    assert record.package == "hf:org/gone", "the release lacks it, by whatever it was chosen"


def test_what_another_place_or_channel_has_is_left_alone(channel: Path, user: Home, tmp_path: Path) -> None:
    get(channel, user, tmp_path / "out", "full")
    assert get(channel, user, tmp_path / "elsewhere", "less", prune=True) == []
    other = tmp_path / "other"
    other.symlink_to(channel)
    root = read_first_root(channel)
    Pins(user.trust).add(str(other), fingerprint(root), root)
    assert get(other, user, tmp_path / "out", "less", prune=True) == []
    check_laid_out(tmp_path / "out", ALL)


def test_a_cache_is_named_and_not_pruned(channel: Path, user: Home, tmp_path: Path) -> None:
    out = tmp_path / "out"
    get(channel, user, out, "full", into="hf-cache")
    [record] = get(channel, user, out, "less", into="hf-cache")
    assert record.path.endswith("models--org--gone")
    for wrong in ({"into": "hf-cache"}, {"subset": None, "packages": ("hf:org/kept",)}):
        with pytest.raises(UsageError, match="--prune"):
            get(channel, user, out, "less", prune=True, **wrong)


def test_program_names_what_was_dropped_and_what_helps(channel: Path, user: Home, tmp_path: Path) -> None:
    out = tmp_path / "out"
    typed = ("fetch", "--subset", "all", "--channel", channel, "--to", out)
    ptmtorrent(user.root, *typed, "--release", "full")
    typed = (*typed, "--release", "less")
    found = [event for event in ptmtorrent(user.root, *typed) if event["type"] == "dropped"]
    assert [(event["package"], event["removed"]) for event in found] == [("hf:org/gone", False)]
    code, _, said = run_verb("--home", str(user.root), "--format", "human", *map(str, typed), cwd=tmp_path)
    assert code == 0
    assert "warning: `hf:org/gone` is still in" in said
    assert "--prune" in said
    code, _, said = run_verb("--home", str(user.root), "--format", "human", "verify", str(out), cwd=tmp_path)
    assert (code, "`hf:org/gone` is still in" in said) == (0, True)
    code, _, said = run_verb("--home", str(user.root), *map(str, typed), "--prune", cwd=tmp_path)
    assert (code, "removed `hf:org/gone`" in said) == (0, True)


def test_a_file_in_the_way_is_not_helped_by_the_same_command(channel: Path, user: Home, tmp_path: Path) -> None:
    out = tmp_path / "out"
    mine = out / "hf" / "org" / "kept" / "config.json"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"my own")
    events = ptmtorrent(user.root, "fetch", "--subset", "all", "--channel", channel, "--to", out, code=3)
    [summary] = [event for event in events if event["type"] == "summary"]
    assert (summary["failed"], summary["retryable"]) == (1, 0)
    hint = events[-1]["hint"]
    assert "--force" in hint
    assert "run the same command again" not in hint
