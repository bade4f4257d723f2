import random
import sqlite3
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptmtorrent.errors import StoreError, UnsupportedFormat
from ptmtorrent.model.ids import SnapshotId
from ptmtorrent.state import clone_outcomes
from ptmtorrent.state.clone_journal import LEASE_SECONDS, Journal, Run
from ptmtorrent.state.clone_outcomes import MAX_DIFFERENCES, SeenKeys

PAGE = [("b/five", 5, b"1"), ("a/five", 5, b"2"), ("c/none", None, b"3"), ("d/nine", 9, b"4")]


def planned(journal: Journal, page: list[tuple[str, int | None, bytes]] = PAGE) -> Run:
    """A run whose packages are all to do."""
    run = journal.start("hub", "{}", "2026-11-20T12:00:00Z")
    journal.add_page(run.id, page, None)
    journal.rank(run.id, None)
    for work in list(journal.works(run.id)):
        journal.keep_plan(run.id, work.name, b"plan", files=2, size=10, requests=1)
    return run


def test_packages_are_worked_by_downloads_then_name() -> None:
    with Journal(None) as journal:
        run = planned(journal)

        assert [work.name for work in journal.works(run.id)] == ["d/nine", "a/five", "b/five", "c/none"]


def test_limit_keeps_the_most_popular() -> None:
    with Journal(None) as journal:
        run = journal.start("hub", "{}", "now")
        journal.add_page(run.id, PAGE, None)
        journal.rank(run.id, 2)

        assert [work.name for work in journal.works(run.id)] == ["d/nine", "a/five"]


def test_package_that_shifted_onto_a_second_page_is_kept_once() -> None:
    with Journal(None) as journal:
        run = journal.start("hub", "{}", "now")
        journal.add_page(run.id, PAGE, "next")
        journal.add_page(run.id, [("a/five", 6, b"again")], None)
        journal.rank(run.id, None)

        assert len(list(journal.works(run.id))) == 4


def test_listing_continues_in_another_process(tmp_path: Path) -> None:
    with Journal(tmp_path / "journal.sqlite") as journal:
        run = journal.start("hub", "{}", "now")
        journal.add_page(run.id, PAGE, "page 2")

    with Journal(tmp_path / "journal.sqlite") as journal:
        found = journal.unfinished("hub", "{}")

    assert found is not None
    assert (found.id, found.state, found.cursor, found.requests) == (run.id, "listing", "page 2", 1)


def test_finished_run_and_other_requests_are_not_resumed() -> None:
    with Journal(None) as journal:
        run = planned(journal)
        journal.set_state(run.id, "finished")

        assert journal.unfinished("hub", "{}") is None
        journal.start("hub", '{"other":1}', "now")
        assert journal.unfinished("hub", "{}") is None


def test_claim_leases_each_package_once_in_order() -> None:
    with Journal(None) as journal:
        run = planned(journal)
        claimed = [journal.claim(run.id, "me", 0.0) for _ in range(5)]

        assert [work and work.name for work in claimed] == ["d/nine", "a/five", "b/five", "c/none", None]
        assert claimed[0] is not None
        assert (claimed[0].plan, claimed[0].attempts, claimed[0].state) == (b"plan", 1, "leased")


def test_lease_that_ran_out_is_claimed_by_another() -> None:
    with Journal(None) as journal:
        run = planned(journal, PAGE[:1])
        journal.claim(run.id, "dead", 0.0)

        assert journal.claim(run.id, "me", LEASE_SECONDS - 1.0) is None
        again = journal.claim(run.id, "me", LEASE_SECONDS + 1.0)
        assert again is not None
        assert again.attempts == 2


def test_renewed_lease_is_kept() -> None:
    with Journal(None) as journal:
        run = planned(journal, PAGE[:1])
        journal.claim(run.id, "me", 0.0)
        journal.renew(run.id, "me", 500.0)

        assert journal.claim(run.id, "other", LEASE_SECONDS + 1.0) is None


def test_lease_of_another_process_expires_by_the_clock_of_the_process_that_waits(tmp_path: Path) -> None:
    """The numbers of two monotonic clocks have nothing to do with each other, and a renewal shows by itself."""
    path = tmp_path / "journal.sqlite"
    with Journal(path) as mine, Journal(path) as other:
        run = planned(other, PAGE[:1])
        assert other.claim(run.id, "other", 10.0**9) is not None
        assert mine.claim(run.id, "me", 5.0) is None
        other.renew(run.id, "other", 10.0**9 + 500)
        assert mine.claim(run.id, "me", 5.0 + LEASE_SECONDS + 1) is None
        assert mine.claim(run.id, "me", 5.0 + 2 * LEASE_SECONDS) is None
        assert mine.claim(run.id, "me", 5.0 + 2 * LEASE_SECONDS + 2) is not None


def test_lease_never_expires_for_its_owner() -> None:
    with Journal(None) as journal:
        run = planned(journal, PAGE[:1])
        assert journal.claim(run.id, "me", 0.0) is not None
        assert journal.claim(run.id, "me", 10.0**9) is None


def test_released_packages_are_to_do_again() -> None:
    with Journal(None) as journal:
        run = planned(journal, PAGE[:1])
        journal.claim(run.id, "me", 0.0)
        journal.release(run.id)

        assert journal.claim(run.id, "other", 0.0) is not None


def test_settled_package_is_never_claimed_again() -> None:
    with Journal(None) as journal:
        run = planned(journal, PAGE[:1])
        journal.claim(run.id, "me", 0.0)
        journal.settle(run.id, "b/five", "error", "why")
        [work] = journal.works(run.id, ("error",))

        assert (work.reason, work.plan) == ("why", None)
        assert journal.claim(run.id, "me", 10.0**9) is None


def test_packages_beyond_a_rank_are_left() -> None:
    with Journal(None) as journal:
        run = planned(journal)

        assert journal.leave_after(run.id, 3) == 2
        assert journal.tally(run.id, "todo").packages == 2
        assert journal.tally(run.id, "left").bytes == 20


def _claim_all(path: Path, run: int, owner: str) -> list[str]:
    with Journal(path) as journal:
        names = []
        while work := journal.claim(run, owner, 0.0):
            names.append(work.name)
        return names


def test_processes_that_share_a_journal_claim_every_package_once(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    with Journal(path) as journal:
        run = planned(journal, [(f"a/{number}", number, b"") for number in range(60)])
    with ProcessPoolExecutor(3, mp_context=get_context("spawn")) as pool:
        claims = list(pool.map(_claim_all, [path] * 3, [run.id] * 3, "abc"))

    assert Counter(name for names in claims for name in names) == Counter(f"a/{number}" for number in range(60))


@given(st.lists(st.tuples(st.text("abc/", min_size=1), st.none() | st.integers(0, 9)), max_size=12))
def test_ranks_count_from_one_without_gaps(rows: list[tuple[str, int | None]]) -> None:
    with Journal(None) as journal:
        run = journal.start("hub", "{}", "now")
        journal.add_page(run.id, [(name, downloads, b"") for name, downloads in rows], None)
        journal.rank(run.id, None)
        works = list(journal.works(run.id))

    assert [work.rank for work in works] == list(range(1, len({name for name, _ in rows}) + 1))
    order = [(-1 if work.downloads is None else work.downloads) for work in works]
    assert order == sorted(order, reverse=True)


def test_rows_may_be_settled_while_they_are_read() -> None:
    with Journal(None) as journal:
        run = planned(journal, [(f"a/{number:04}", None, b"") for number in range(1200)])
        seen = []
        for work in journal.works(run.id, ("todo",)):
            journal.settle(run.id, work.name, "done")
            seen.append(work.name)

    assert len(seen) == len(set(seen)) == 1200


def test_newer_journal_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    base = sqlite3.connect(path)
    base.execute("PRAGMA user_version = 99")
    base.close()

    with pytest.raises(UnsupportedFormat, match="version 99"):
        Journal(path)


def test_file_that_is_not_a_journal_is_a_store_error(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    path.write_bytes(b"something else entirely" * 100)

    with pytest.raises(StoreError, match=r"journal\.sqlite"):
        Journal(path)


def test_packages_are_claimed_and_settled_together_in_order() -> None:
    with Journal(None) as journal:
        run = planned(journal)
        first = journal.claim_many(run.id, "me", 0.0, 3)
        journal.settle_many(run.id, [(first[0].name, "done", ""), (first[1].name, "error", "why")])
        rest = journal.claim_many(run.id, "me", 0.0, 3)

        assert [work.name for work in first] == ["d/nine", "a/five", "b/five"]
        assert [work.name for work in rest] == ["c/none"]
        assert journal.tally(run.id, "done").packages == journal.tally(run.id, "error").packages == 1


SNAPSHOT = SnapshotId("a" * 64)


def frozen(journal: Journal, page: list[tuple[str, int | None, bytes]], request: str = "{}") -> Run:
    """A run of a whole hub whose listing is frozen."""
    run = journal.start("hub", request, "2026-11-20T12:00:00Z", whole=True)
    found = journal.outcomes.unchanged(run.id, run.hub, [(name, record) for name, _, record in page])
    unchanged = [name for name in found if run.base is not None]
    journal.add_page(run.id, [row for row in page if row[0] not in unchanged], None, unchanged)
    journal.rank(run.id, None)
    journal.set_listing(run.id, f"hub-{run.id}.jsonl.zst")
    return run


def finished(journal: Journal, page: list[tuple[str, int | None, bytes]], request: str = "{}") -> Run:
    """A finished run of a whole hub that captured what was listed."""
    run = frozen(journal, page, request)
    names = [work.name for work in journal.works(run.id)]
    journal.settle_many(run.id, [(name, "done", "") for name in names], dict.fromkeys(names, SNAPSHOT))
    journal.set_state(run.id, "finished")
    return run


def rows(path: Path, table: str) -> int:
    base = sqlite3.connect(path)
    [[count]] = base.execute(f"SELECT count(*) FROM {table}").fetchall()  # noqa: S608  # a name of this test
    base.close()
    return int(count)


def test_finished_run_leaves_the_last_outcome_of_each_package_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    with Journal(path) as journal:
        for _ in range(3):
            run = finished(journal, PAGE)

        assert journal.runs() == []
        assert [name for name, _ in journal.outcomes.captured("hub")] == ["a/five", "b/five", "c/none", "d/nine"]
        assert dict(journal.outcomes.captured("hub")).popitem()[1] == SNAPSHOT

    assert {table: rows(path, table) for table in ("work", "record", "plan", "base", "unchanged")} == {
        "work": 0,
        "record": 0,
        "plan": 0,
        "base": 0,
        "unchanged": 0,
    }
    assert rows(path, "package") == 4
    assert rows(path, "run") <= 2
    assert run.id == 3


def test_pruning_leaves_the_rows_of_runs_that_are_not_finished() -> None:
    with Journal(None) as journal:
        other = planned(journal)
        finished(journal, PAGE, request="another")

        assert [work.plan for work in journal.works(other.id)] == [b"plan"] * 4
        assert [run.id for run in journal.runs()] == [other.id]


def test_package_that_is_listed_as_it_was_needs_no_row() -> None:
    with Journal(None) as journal:
        finished(journal, PAGE)
        run = frozen(journal, [*PAGE[:2], ("c/none", None, b"another record"), ("e/new", 1, b"5")])

        assert run.base == "hub-1.jsonl.zst"
        assert [work.name for work in journal.works(run.id)] == ["e/new", "c/none"]
        assert journal.tally(run.id, "notneeded").packages == 2
        assert list(journal.outcomes.gone(run.id)) == journal.missing(run) == ["d/nine"]


def test_unchanged_packages_are_remembered_in_another_process(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    with Journal(path) as journal:
        finished(journal, PAGE)
        run = journal.start("hub", "{}", "now", whole=True)
        journal.add_page(run.id, [], "next", ["a/five"])
    with Journal(path) as journal:
        assert journal.outcomes.unchanged_before(run.id, ["a/five", "b/five"]) == {"a/five"}
        assert journal.missing(run) == ["b/five", "c/none", "d/nine"]


def test_listing_is_a_difference_only_from_the_last_one_of_the_same_request() -> None:
    with Journal(None) as journal:
        finished(journal, PAGE)
        assert finished(journal, PAGE, request="another").base is None
        assert finished(journal, PAGE).base is None
        assert finished(journal, PAGE).base == "hub-3.jsonl.zst"


def test_listing_that_another_one_overtook_is_no_base() -> None:
    """Two runs begin from one listing: what they say of its packages cannot both be told from it."""
    with Journal(None) as journal:
        finished(journal, PAGE)
        first = frozen(journal, PAGE)
        second = finished(journal, PAGE)
        journal.set_state(first.id, "finished")

        assert second.base == "hub-1.jsonl.zst"
        assert frozen(journal, PAGE).base is None


def test_every_so_often_a_listing_is_written_in_full() -> None:
    with Journal(None) as journal:
        bases = [finished(journal, PAGE).base for _ in range(MAX_DIFFERENCES + 2)]

    assert [place for place, base in enumerate(bases) if base is None] == [0, MAX_DIFFERENCES + 1]


def test_listing_that_was_given_up_leaves_no_outcome() -> None:
    with Journal(None) as journal:
        run = journal.start("hub", "{}", "now", whole=True)
        journal.add_page(run.id, PAGE, "next")
        journal.set_state(run.id, "finished")

        assert journal.missing(journal.start("hub", "{}", "now", whole=True)) == []
        assert journal.outcomes.base_for("hub", "{}") is None


def test_failure_after_a_capture_is_no_loss_of_the_capture() -> None:
    with Journal(None) as journal:
        finished(journal, PAGE[:1])
        run = frozen(journal, [("b/five", 5, b"changed")])
        journal.settle(run.id, "b/five", "error", "why")
        journal.set_state(run.id, "finished")

        assert list(journal.outcomes.captured("hub")) == [("b/five", SNAPSHOT)]
        again = frozen(journal, [("b/five", 5, b"changed")])
        assert [work.name for work in journal.works(again.id)] == ["b/five"]


def test_captured_package_is_put_back_with_its_plan() -> None:
    with Journal(None) as journal:
        run = planned(journal)
        journal.settle_many(run.id, [("a/five", "done", "")], {"a/five": SNAPSHOT})
        assert list(journal.captured(run.id)) == [("a/five", SNAPSHOT)]
        journal.capture_again(run.id, ["a/five"])

        assert journal.tally(run.id, "todo").packages == 4
        assert {work.plan for work in journal.works(run.id)} == {b"plan"}


def test_lease_of_a_package_before_the_last_one_claimed_is_found_when_it_expires() -> None:
    with Journal(None) as journal:
        run = planned(journal)
        first = journal.claim(run.id, "dead", 0.0)
        assert len(journal.claim_many(run.id, "me", 0.0, 9)) == 3
        assert journal.claim(run.id, "me", 1.0) is None
        again = journal.claim(run.id, "me", LEASE_SECONDS + 2.0)

        assert first is not None
        assert again is not None
        assert again.name == first.name


def test_older_journal_is_refused_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    base = sqlite3.connect(path)
    base.execute("PRAGMA user_version = 1")
    base.close()

    with pytest.raises(UnsupportedFormat, match="version 1") as caught:
        Journal(path)
    assert f"rm {path}" in (caught.value.hint or "")


def test_run_of_some_packages_leaves_the_listing_of_the_hub_as_it_was() -> None:
    """What it captured may be of another commit than the listing of the hub has: the next one looks at it."""
    with Journal(None) as journal:
        finished(journal, PAGE)
        some = journal.start("hub", "some", "now")
        journal.add_page(some.id, [("a/five", 5, b"newer")], None)
        journal.rank(some.id, None)
        journal.set_listing(some.id, "some.jsonl.zst")
        journal.settle_many(some.id, [("a/five", "done", "")], {"a/five": SnapshotId("b" * 64)})
        journal.set_state(some.id, "finished")
        run = frozen(journal, PAGE)

        assert dict(journal.outcomes.captured("hub"))["a/five"] == "b" * 64
        assert run.base == "hub-1.jsonl.zst"
        assert [work.name for work in journal.works(run.id)] == ["a/five"]
        assert list(journal.outcomes.gone(run.id)) == []


def test_package_that_was_given_back_behind_the_last_one_claimed_is_claimed(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    with Journal(path) as mine, Journal(path) as other:
        run = planned(other)
        assert [work.name for work in other.claim_many(run.id, "other", 0.0, 2)] == ["d/nine", "a/five"]
        assert len(mine.claim_many(run.id, "me", 0.0, 2)) == 2
        mine.settle_many(run.id, [("b/five", "done", ""), ("c/none", "done", "")])
        other.release(run.id)

        assert [work.name for work in mine.claim_many(run.id, "me", 0.0, 9)] == ["d/nine", "a/five"]


def test_package_that_is_gone_is_named_once_and_is_new_when_it_comes_back() -> None:
    with Journal(None) as journal:
        finished(journal, PAGE)
        finished(journal, PAGE[:3])
        run = frozen(journal, PAGE[:3])
        assert list(journal.outcomes.gone(run.id)) == []
        journal.set_state(run.id, "finished")

        assert [work.name for work in journal.works(frozen(journal, PAGE).id)] == ["d/nine"]


def test_full_listing_takes_the_place_of_what_was_listed_before() -> None:
    with Journal(None) as journal:
        finished(journal, PAGE)
        finished(journal, PAGE[:2], request="another")

        assert list(journal.outcomes.gone(frozen(journal, PAGE[:2], request="another").id)) == []


def test_a_set_of_numbers_that_outgrows_memory_is_a_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clone_outcomes, "FRESH_KEYS", 5)
    monkeypatch.setattr(clone_outcomes, "KEYS_FAN", 3)
    source, known = random.Random(3), set[int]()
    with SeenKeys() as seen:
        for _ in range(400):
            key = source.randrange(-150, 150)
            assert (key in seen) == (key in known)
            assert seen.add(key) == (key not in known)
            known.add(key)
        assert len(seen._levels) > 2
        assert seen._rows.all("SELECT count(*) FROM seen") == [(len(known) - len(seen._fresh),)]
