import sqlite3
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptmtorrent.errors import StoreError, UnsupportedFormat
from ptmtorrent.state.clone_journal import LEASE_SECONDS, Journal, Run

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
