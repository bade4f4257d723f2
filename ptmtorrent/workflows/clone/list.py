"""The frozen listing of a clone: it is read once and written down, because download counts change while it runs."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import msgspec

from ptmtorrent.disk.durable import disk_errors, ensure_dir, new_temporary, publish_file
from ptmtorrent.errors import HubError
from ptmtorrent.hubs.client.status_errors import Unreachable
from ptmtorrent.hubs.port import Hub, Listed, Page, Query
from ptmtorrent.model.ids import SnapshotId
from ptmtorrent.model.locations import spell_place
from ptmtorrent.model.moments import SKEW, Clock, spell
from ptmtorrent.scrub import scrub_bytes, without_secrets
from ptmtorrent.state.clone_journal import Journal, Run
from ptmtorrent.store.codecs.streams import shrink_general

STALE = timedelta(days=1)
"""Age at which an incomplete listing is started again: half of it would be of another day. So is one from the future,
which was begun under a wrong clock."""

FORMAT = "ptmtorrent/listing"
VERSION = 2
BLOCK_BYTES = 1 << 20

Confirm = Callable[[Mapping[str, SnapshotId]], Iterable[str]]
"""Returns those packages, given with a snapshot each, of which that snapshot is the newest in the store."""

MAX_PAGES = 1 << 17
"""Limit of pages: with a thousand packages each, that is fifty times the largest hub."""


def find_run(  # noqa: PLR0913  # what a run is known by
    hub: Hub, request: str, journal: Journal, clock: Clock, *, whole: bool = False, called: str | None = None
) -> Run:
    """Return the unfinished run of the same request, or a new one, which lists the `whole` hub or some of it.

    A local folder that is `called` by another name is another hub: its packages are others.
    """
    key = f"{hub.name} {spell_place(hub.endpoint)}" + (f" as {called}" if called else "")
    now = clock()
    run = journal.unfinished(key, request)
    if (
        run is not None
        and run.state == "listing"
        and not now - STALE <= datetime.fromisoformat(run.listed) <= now + SKEW
    ):
        journal.set_state(run.id, "finished")
        run = None
    return run or journal.start(key, request, spell(now), whole=whole)


def list_packages(  # noqa: PLR0913, PLR0917  # the ends of a pipeline
    hub: Hub,
    query: Query,
    journal: Journal,
    run: Run,
    wanted: Callable[[Listed], bool],
    confirm: Confirm = lambda _: (),
    report: Callable[[str], None] = lambda _: None,
    begin: Callable[[Sequence[Listed]], None] = lambda _: None,
) -> None:
    """Read the hub's listing into the journal, starting at the page where an earlier process stopped.

    A package whose record is that of the listing before, and that was captured then as the given snapshot, needs no
    work if `confirm` returns it; `report` is called with its name. `begin` is called with each page before the journal
    has it.

    Raises:
        HubError: the listing repeats itself or does not end; otherwise as `Hub.listing`.
    """
    if run.requests > 0 and run.cursor is None:
        return
    for page in read_pages(hub, query, wanted, run.cursor):
        begin(page.packages)
        rows = [(listed, scrub_bytes(msgspec.json.encode(listed))) for listed in page.packages]
        for name in _add_page(journal, run, rows, page.cursor, confirm):
            report(name)


def read_pages(hub: Hub, query: Query, wanted: Callable[[Listed], bool], cursor: str | None = None) -> Iterator[Page]:
    """Yield the pages of the hub's listing from `cursor` on, each with the packages that are wanted.

    Raises:
        HubError: the listing repeats itself or does not end; otherwise as `Hub.listing`.
    """
    found = 0
    seen = {cursor}
    for _ in range(MAX_PAGES):
        hub.session.stop.raise_if_set("the clone")
        try:
            read = partial(_one_page, hub, query, cursor)
            page = hub.session.retry(read, what=f"the listing of `{hub.endpoint}`")
        except Unreachable as error:
            error.hint = error.hint or "check `--endpoint`, or run the same command again later"
            raise
        packages = tuple(listed for listed in page.packages if wanted(listed))
        found += len(packages)
        cursor = page.cursor if query.limit is None or found < query.limit else None
        cursor = cursor and without_secrets(cursor)
        yield Page(packages=packages, cursor=cursor)
        if cursor is None:
            return
        if cursor in seen:
            break
        seen.add(cursor)
    raise HubError(f"the listing of `{hub.endpoint}` does not end: after {len(seen)} pages it continues at `{cursor}`")


def _add_page(
    journal: Journal, run: Run, rows: Sequence[tuple[Listed, bytes]], cursor: str | None, confirm: Confirm
) -> list[str]:
    """Add a page to the journal; return the packages on it that need no work."""
    unchanged: set[str] = set()
    if run.base is not None:
        before = journal.outcomes.unchanged_before(run.id, (listed.name for listed, _ in rows))
        rows = [row for row in rows if row[0].name not in before]
        pinned = [(listed.name, record) for listed, record in rows if (listed.commit or listed.stamp) is not None]
        unchanged = set(confirm(journal.outcomes.unchanged(run.id, run.hub, pinned)))
    new = [(listed.name, listed.downloads, record) for listed, record in rows if listed.name not in unchanged]
    order = list(dict.fromkeys(listed.name for listed, _ in rows if listed.name in unchanged))
    journal.add_page(run.id, new, cursor, order)
    return order


def _one_page(hub: Hub, query: Query, cursor: str | None) -> Page:
    return next(hub.listing(query, cursor), Page(packages=(), cursor=None))


def freeze(hub: Hub, journal: Journal, run: Run, limit: int | None, folder: Path | None) -> None:
    """Rank the listing and write it durably to `folder`, in the format of `docs/formats/listing.md`.

    With a `base`, the file has only what differs from that listing.
    """
    journal.rank(run.id, limit)
    if folder is not None:
        stamp = run.listed.translate(str.maketrans("", "", "-:"))
        path = folder / f"{hub.name}-{stamp}-{run.id}.jsonl.zst"
        _write(path, hub, journal, run)
        journal.set_listing(run.id, path.name)
    journal.set_state(run.id, "planning")


def _write(path: Path, hub: Hub, journal: Journal, run: Run) -> None:
    ensure_dir(path.parent)
    temporary = new_temporary(path)
    with disk_errors(path), temporary.open("wb") as stream:
        for block in _blocks(_lines(hub, journal, run)):
            stream.write(shrink_general(memoryview(block)))
        stream.flush()
        os.fsync(stream.fileno())
    publish_file(temporary, path)


def _lines(hub: Hub, journal: Journal, run: Run) -> Iterator[bytes]:
    head = {
        "format": FORMAT,
        "version": VERSION,
        "requires": [],
        "hub": hub.name,
        "endpoint": spell_place(hub.endpoint),
        "listed": run.listed,
        "request": msgspec.Raw(run.request.encode()),
    }
    yield msgspec.json.encode(head | ({"base": run.base} if run.base is not None else {}))
    for work in journal.works(run.id):
        yield work.listed
    if run.base is not None:
        for name in journal.outcomes.gone(run.id):
            yield msgspec.json.encode({"gone": name})


def _blocks(lines: Iterable[bytes]) -> Iterator[bytearray]:
    """Join lines to blocks of about `BLOCK_BYTES`, each of which becomes a frame."""
    block = bytearray()
    for line in lines:
        block += line + b"\n"
        if len(block) >= BLOCK_BYTES:
            yield block
            block = bytearray()
    yield block
