"""What a release that is being made sees of the runs of earlier ones."""

import msgspec
import pytest

from ptmtorrent.catalogue.runs import EarlierRuns
from ptmtorrent.errors import IntegrityError
from ptmtorrent.model.ids import PackageName
from ptmtorrent.model.members import Frame
from ptmtorrent.model.release import Release
from tests.catalogue.releases import BITS, NAMES, NAMES_LEFT, Files, documents_of
from tests.model.generated import hash_members


def test_the_successor_of_a_release_sees_every_row_and_the_newest_of_each(release: Release, files: Files) -> None:
    runs = EarlierRuns(release, files)

    assert dict(runs.members()).keys() == set(NAMES_LEFT)
    assert list(runs.removed_in([0, 1])) == list(runs.removed_in([1])) == [NAMES[1]]
    assert list(runs.removed_in([0])) == []
    assert [runs.is_member(PackageName(name)) for name in (NAMES[0], NAMES[1], "hf:none/x")] == [True, False, False]
    assert [[runs.has(run, PackageName(NAMES[number])) for number in (0, 1, 2)] for run in range(2)] == [
        [True, True, True],
        [True, True, False],
    ]
    assert len(list(runs.rows_of(0))) == 40
    assert all(runs.row(place) == row for run in range(2) for place, row in runs.rows_of(run))
    assert runs.newest_counts([]) == [38, 3]
    assert runs.newest_counts([PackageName(name) for name in (NAMES[0], NAMES[5], "hf:none/x")]) == [37, 2]


@pytest.mark.parametrize("bits", [0, 1, BITS, BITS + 1])
def test_buckets_that_are_hashed_on_top_of_earlier_ones_are_those_of_all_members(
    release: Release, files: Files, bits: int
) -> None:
    runs = EarlierRuns(release, files)
    fresh = {name: documents_of(name, "fresh")[0] for name in (NAMES[4], "hf:two/more")}
    gone = {PackageName(NAMES[7])}
    kept = [runs.row(place) for name, place in runs.members() if name not in {*fresh, *gone}]

    hashed = runs.hash_buckets(bits, {PackageName(name): row for name, row in fresh.items()}, gone)

    assert hashed == hash_members([*kept, *fresh.values()], bits)
    assert runs.hash_buckets(bits, {}, ()) == hash_members([runs.row(place) for _, place in runs.members()], bits)


@pytest.mark.parametrize("frame", [None, Frame(file=1, offset=0, length=1, blake3="0" * 64)])
def test_documents_in_a_file_that_the_run_does_not_list_are_refused(
    release: Release, files: Files, frame: Frame | None
) -> None:
    runs = EarlierRuns(release, files)
    row = msgspec.structs.replace(runs.row(runs.newest[PackageName(NAMES[2])]), frame=frame)

    with pytest.raises(
        IntegrityError, match=r"`releases/r0/index/rows\.bin` states an implausible place for `hf:many/02`"
    ):
        runs.documents(0, row)
    assert runs.documents(0, runs.row(runs.newest[PackageName(NAMES[2])])) == release.runs[0].documents[0]


def test_no_release_has_no_earlier_runs(files: Files) -> None:
    runs = EarlierRuns(None, files)
    row, _ = documents_of(NAMES[0], "new")

    assert (list(runs.members()), runs.newest_counts([PackageName(NAMES[0])])) == ([], [])
    assert runs.hash_buckets(1, {row.package: row}, ()) == hash_members([row], 1)
    assert files.asked == []
