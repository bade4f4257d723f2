"""What a release writes, and what it lists of earlier ones: runs, documents and tables of what changed."""

import random
import shutil
import sqlite3
from pathlib import Path

import duckdb
import pytest
import zstandard

from ptmtorrent.catalogue.index import describe_members, find_members
from ptmtorrent.catalogue.runs import EarlierRuns
from ptmtorrent.channel import unlisted
from ptmtorrent.channel.folder import OwnReader
from ptmtorrent.errors import ConfigError, IntegrityError, NotFound, UsageError
from ptmtorrent.facts.licences import RightsClass
from ptmtorrent.model.ids import PackId, ReleaseName
from ptmtorrent.model.members import MemberRow
from ptmtorrent.model.policy import Policy, PolicyFile, new_policy
from ptmtorrent.model.records import ignore
from ptmtorrent.model.release import Release
from ptmtorrent.paths import Home
from ptmtorrent.store.codecs import streams
from ptmtorrent.store.store import Store
from ptmtorrent.workflows.maintain.released import read_released_packs
from ptmtorrent.workflows.release import recall
from ptmtorrent.workflows.release.delete import delete_release
from ptmtorrent.workflows.release.release import release
from tests.workflows.captured import TickingClock, capture, new_home, writing
from tests.workflows.histories import rows_of


class Maker:
    """A home with six packages, sealed one by one, and its releases."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.home, self.keys = new_home(root / "home")
        self.clock, self.number = TickingClock(), 0
        for number in range(6):
            self.capture(f"hf:a/p{number}")

    def capture(self, name: str, content: str = "", **facts: object) -> None:
        self.number += 1
        files = {"model.safetensors": random.Random(name + content).randbytes(900)}
        with writing(self.home) as store:
            capture(
                store, self.root, name, files, captured=f"2026-11-20T12:{self.number:02}:00Z", downloads=100, **facts
            )
            store.seal()

    def release(
        self, name: str, policy: Policy | None = None, include: frozenset[RightsClass] = frozenset()
    ) -> Release:
        return release(
            ReleaseName(name), self.home, self.keys, clock=self.clock, emit=ignore, policy=policy, include=include
        )

    def own_files(self, name: str) -> list[str]:
        folder = self.home.channel / "releases" / name
        return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())

    def members(self, made: Release) -> list[str]:
        found = find_members(made, OwnReader(self.home.channel), (), "all", ())
        return sorted(member.package for member in found)

    def named(self, made: Release, name: str) -> list[str]:
        """The files that a release lists in which a package is named."""
        found = []
        for ref in made.listed:
            path = self.home.channel / ref.path
            data = path.read_bytes()
            if path.suffix == ".parquet":
                data = repr(duckdb.read_parquet(str(path)).fetchall()).encode()
            if path.name == "documents.bin":
                data = b"".join(zstandard.decompress(frame) for frame in frames(data))
            found += [ref.path] * (name.encode() in data)
        return found


def frames(data: bytes) -> list[bytes]:
    """The Zstandard frames in a file of documents."""
    magic = b"\x28\xb5\x2f\xfd"
    return [magic + part for part in data.split(magic)[1:]]


@pytest.fixture
def maker(tmp_path: Path) -> Maker:
    return Maker(tmp_path)


def excluding(*names: str) -> Policy:
    return new_policy(PolicyFile(exclude=dict.fromkeys(names, "asked")), {}, name="policy")


def test_a_release_without_changes_writes_nothing_but_release_json(maker: Maker) -> None:
    first, second = maker.release("r1"), maker.release("r2")

    assert maker.own_files("r2") == ["release.json", "release.json.minisig"]
    assert second.listed == first.listed
    assert second.members_root == first.members_root


def test_a_release_writes_one_run_of_what_is_new(maker: Maker) -> None:
    first = maker.release("r1")
    maker.capture("hf:a/new")
    maker.capture("hf:a/p3", "changed")

    second = maker.release("r2")

    assert second.runs[:1] == first.runs
    assert [(run.level, run.rows) for run in second.runs] == [(0, 6), (0, 2)]
    assert [ref.files[0] for ref in second.tables] == [ref.files[0] for ref in first.tables]
    assert [len(ref.files) for ref in second.tables] == [2, 2]
    assert maker.members(second) == [f"hf:a/{name}" for name in ("new", "p0", "p1", "p2", "p3", "p4", "p5")]


def test_a_package_that_is_excluded_is_named_by_no_file_that_the_release_lists(maker: Maker) -> None:
    first = maker.release("r1")
    assert {Path(path).name for path in maker.named(first, "a/p2")} == {
        *("rows.bin", "documents.bin", "packages.parquet", "files.parquet"),
    }

    second = maker.release("r2", excluding("hf:a/p2"))

    assert [run.rows for run in second.runs] == [5]
    assert maker.named(second, "a/p2") == ["releases/r2/policy.json"]
    assert len(maker.members(second)) == 5


def test_a_snapshot_that_may_not_be_passed_on_any_more_is_in_no_listed_file(maker: Maker) -> None:
    maker.capture("hf:a/freed", "before", rights="restricted", licence="cc-by-nc-4.0")
    first = maker.release("r1", include=frozenset({"restricted"}))
    snapshot = next(row.snapshot for row in _rows(maker, first) if row.package == "hf:a/freed")
    maker.capture("hf:a/freed", "after")

    kept = maker.release("r2", include=frozenset({"restricted"}))
    public = maker.release("r3")

    assert kept.runs[0] == first.runs[0]
    assert first.runs[0] not in public.runs
    assert snapshot not in {row.snapshot for row in _rows(maker, public)}
    assert len(maker.members(public)) == 7


def test_a_package_that_is_not_complete_is_removed_by_a_row_and_comes_back(maker: Maker) -> None:
    first = maker.release("r1")
    with Store.open(maker.home.store) as store:
        lost = store.pack_file(_weights_of(maker, first, "hf:a/p4"))
    hidden = lost.rename(maker.root / lost.name)

    second = maker.release("r2")

    assert [run.rows for run in second.runs] == [6, 1]
    assert maker.members(second) == [f"hf:a/p{number}" for number in (0, 1, 2, 3, 5)]
    with pytest.raises(NotFound):
        find_members(second, OwnReader(maker.home.channel), ["hf:a/p4"], None, ())
    assert [row[0] for row in rows_of(maker.home, second, "packages")] == maker.members(second)
    assert {row[0] for row in rows_of(maker.home, second, "files")} == set(maker.members(second))

    hidden.rename(lost)
    third = maker.release("r3")
    assert maker.members(third) == maker.members(first)
    assert third.members_root == first.members_root


def test_eight_runs_of_a_level_become_one_of_the_next(maker: Maker) -> None:
    made = [maker.release("r0")]
    for number in range(1, 9):
        maker.capture(f"hf:n/{number}")
        made.append(maker.release(f"r{number}"))

    assert [len(each.runs) for each in made] == [1, 2, 3, 4, 5, 6, 7, 1, 2]
    merged = made[7].runs[0]
    assert (merged.level, merged.rows, len(merged.documents)) == (1, 13, 8)
    assert merged.documents[0].path == "releases/r7/index/documents.bin"
    assert set(merged.documents[1:]) == {run.documents[0] for run in made[6].runs}
    assert [len(ref.files) for ref in made[8].tables] == [2, 2]


def test_documents_of_a_run_with_superseded_rows_are_copied_when_it_is_merged(maker: Maker) -> None:
    made = [maker.release("r0")]
    for number in range(1, 8):
        maker.capture(f"hf:n/{number}" if number > 1 else "hf:a/p1", "changed")
        made.append(maker.release(f"r{number}"))

    [merged] = made[7].runs
    assert made[0].runs[0].documents[0] not in merged.documents
    assert (merged.rows, len(merged.documents)) == (12, 7)


def test_a_run_of_which_little_is_left_is_written_again(maker: Maker) -> None:
    maker.release("r1")
    for number in range(4):
        maker.capture(f"hf:a/p{number}", "changed")

    second = maker.release("r2")

    assert [run.rows for run in second.runs] == [6]
    assert [ref.path for ref in second.runs[0].documents] == ["releases/r2/index/documents.bin"]


def test_files_of_a_deleted_release_that_others_list_stay_until_these_are_deleted(maker: Maker) -> None:
    names = [ReleaseName(name) for name in ("r1", "r2", "r3")]
    maker.release("r1")
    maker.capture("hf:a/new")
    maker.release("r2")
    third = maker.release("r3")

    _delete(maker, names[0])

    assert "release.json" not in maker.own_files("r1")
    assert {ref.path for ref in third.listed if ref.path.startswith("releases/r1/")} == {
        f"releases/r1/{name}" for name in maker.own_files("r1")
    }
    assert maker.members(third) == maker.members(maker.release("r4"))
    assert set(read_released_packs(maker.home.channel).releases) != set()
    with pytest.raises(UsageError, match="files of a deleted release"):
        maker.release("r1")
    with pytest.raises(NotFound):
        _delete(maker, names[0])


def test_what_an_earlier_deletion_left_goes_with_the_last_release_that_lists_it(maker: Maker) -> None:
    maker.release("r1")
    for number in range(6):
        maker.capture(f"hf:a/p{number}", "changed")
    maker.release("r2")
    _delete(maker, ReleaseName("r1"))

    assert not (maker.home.channel / "releases/r1").exists()


def test_a_leftover_folder_goes_when_nothing_lists_its_files(maker: Maker) -> None:
    maker.release("r1")
    maker.capture("hf:a/new")
    maker.release("r2")
    _delete(maker, ReleaseName("r1"))
    assert maker.own_files("r1")
    for number in range(6):
        maker.capture(f"hf:a/p{number}", "changed")
    maker.release("r3")

    _delete(maker, ReleaseName("r2"))

    assert sorted(path.name for path in (maker.home.channel / "releases").iterdir()) == ["r2", "r3"]


def test_the_name_of_a_deleted_release_is_free_once_nothing_lists_its_files(maker: Maker) -> None:
    """A release of another policy alone writes one file, in a folder with empty ones beside it."""
    maker.release("r0")
    for name in ("r1", "r2"):
        maker.release(name, excluding("hf:none/x"))
    _delete(maker, ReleaseName("r1"))
    assert maker.own_files("r1") == ["policy.json"]

    _delete(maker, ReleaseName("r2"))

    assert [path.name for path in (maker.home.channel / "releases").iterdir()] == ["r0"]
    (maker.home.channel / "releases/r1/index").mkdir(parents=True)  # as an interrupted deletion leaves it
    maker.release("r1", excluding("hf:none/x"))
    assert "release.json" in maker.own_files("r1")


def test_an_interrupted_deletion_is_finished_by_the_same_command(
    maker: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    maker.release("r1")
    maker.capture("hf:a/new")
    maker.release("r2")
    _delete(maker, ReleaseName("r1"))
    for name in ("new", *(f"p{number}" for number in range(6))):
        maker.capture(f"hf:a/{name}", "changed")
    maker.release("r3")
    home, unlink = maker.home, unlisted._unlink  # each step of a deletion
    found = unlisted.find_unlisted(home.channel, [ReleaseName("r3")], ReleaseName("r2"))
    assert {path.split("/")[1] for path in found.files} == {"r1", "r2"}

    for step in range(len(found.paths) + len(found.files)):
        left = step

        def crash(path: Path) -> None:
            nonlocal left
            if not left:
                raise KeyboardInterrupt
            left -= 1
            unlink(path)

        maker.home = Home(shutil.copytree(home.root, tmp_path / "copies" / str(step)))
        monkeypatch.setattr(unlisted, "_unlink", crash)
        with pytest.raises(KeyboardInterrupt):
            _delete(maker, ReleaseName("r2"))
        monkeypatch.setattr(unlisted, "_unlink", unlink)
        if (maker.home.channel / "releases/r2/release.json").exists():
            for name in ("r2", "r4"):
                with pytest.raises(ConfigError) as caught:
                    maker.release(name)
                assert caught.value.hint == "finish it: ptmtorrent release delete r2"

        if (maker.home.channel / "releases/r1").exists():
            _delete(maker, ReleaseName("r2"))

        assert [path.name for path in (maker.home.channel / "releases").iterdir()] == ["r3"]


def test_what_is_known_of_packs_and_is_damaged_changes_no_release(maker: Maker, tmp_path: Path) -> None:
    maker.release("r1")
    maker.capture("hf:a/p3", "changed")
    home = maker.home
    without = Home(shutil.copytree(home.root, tmp_path / "without"))
    without.release_state.unlink()
    with sqlite3.connect(home.release_state) as database:
        found = database.execute("SELECT id, use FROM packs WHERE use IS NOT NULL").fetchall()
        for pack, use in found:
            counts = bytearray(recall._expand(use))
            counts[-4] ^= 1
            changed = use[:40] + streams.shrink_general(memoryview(counts))
            database.execute("UPDATE packs SET use = ? WHERE id = ?", (changed, pack))
    assert found

    made = maker.release("r2")

    maker.home = without
    whole = maker.release("r2")
    assert (made.totals, made.subsets) == (whole.totals, whole.subsets)


def test_a_damaged_file_of_an_earlier_release_stops_what_needs_it(maker: Maker) -> None:
    first = maker.release("r1")
    path = maker.home.channel / first.runs[0].documents[0].path
    data = bytearray(path.read_bytes())
    data[20] ^= 1
    path.write_bytes(data)
    maker.capture("hf:a/new")

    with pytest.raises(IntegrityError, match=r"documents\.bin"):
        maker.release("r2")


def _delete(maker: Maker, name: ReleaseName) -> None:
    delete_release(name, maker.home, maker.keys, clock=maker.clock, emit=ignore)


def _rows(maker: Maker, made: Release) -> list[MemberRow]:
    runs = EarlierRuns(made, OwnReader(maker.home.channel))
    return [row for run in range(len(made.runs)) for _, row in runs.rows_of(run)]


def _weights_of(maker: Maker, made: Release, name: str) -> PackId:
    reader = OwnReader(maker.home.channel)
    [each] = describe_members(find_members(made, reader, [name], None, ()), reader)
    assert each.placement
    return each.placement.form(0).at.pack
