"""The frozen listing of a clone: it is read once and written down, because download counts change while it runs."""

import os
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import msgspec

from ptmtorrent.disk.durable import disk_errors, ensure_dir, new_temporary, publish_file
from ptmtorrent.errors import HubError
from ptmtorrent.hubs.client.status_errors import Unreachable
from ptmtorrent.hubs.port import Hub, Listed, Page, Query
from ptmtorrent.model.moments import SKEW, Clock, spell
from ptmtorrent.scrub import scrub_bytes, without_secrets
from ptmtorrent.state.clone_journal import Journal, Run

STALE = timedelta(days=1)
"""Age at which an incomplete listing is started again: half of it would be of another day. So is one from the future,
which was begun under a wrong clock."""

FORMAT = "ptmtorrent/listing"

MAX_PAGES = 1 << 17
"""Limit of pages: with a thousand packages each, that is fifty times the largest hub."""


def find_run(hub: Hub, request: str, journal: Journal, clock: Clock) -> Run:
    """Return the unfinished run of the same request, or a new one."""
    key = f"{hub.name} {hub.endpoint}"
    now = clock()
    run = journal.unfinished(key, request)
    if (
        run is not None
        and run.state == "listing"
        and not now - STALE <= datetime.fromisoformat(run.listed) <= now + SKEW
    ):
        journal.set_state(run.id, "finished")
        run = None
    return run or journal.start(key, request, spell(now))


def list_packages(hub: Hub, query: Query, journal: Journal, run: Run, wanted: Callable[[Listed], bool]) -> None:
    """Read the hub's listing into the journal, starting at the page where an earlier process stopped.

    Raises:
        HubError: the listing repeats itself or does not end; otherwise as `Hub.listing`.
    """
    cursor = run.cursor
    if run.requests > 0 and cursor is None:
        return
    found = 0
    seen = {cursor}
    for _ in range(MAX_PAGES):
        hub.session.stop.raise_if_set("the clone")
        try:
            page = hub.session.retry(lambda at=cursor: _one_page(hub, query, at))  # type: ignore[misc]
        except Unreachable as error:
            error.hint = error.hint or "check `--endpoint`, or run the same command again later"
            raise
        rows = [
            (listed.name, listed.downloads, scrub_bytes(msgspec.json.encode(listed)))
            for listed in page.packages
            if wanted(listed)
        ]
        found += len(rows)
        cursor = page.cursor if query.limit is None or found < query.limit else None
        cursor = cursor and without_secrets(cursor)
        journal.add_page(run.id, rows, cursor)
        if cursor is None:
            return
        if cursor in seen:
            break
        seen.add(cursor)
    raise HubError(f"the listing of `{hub.endpoint}` does not end: after {len(seen)} pages it continues at `{cursor}`")


def _one_page(hub: Hub, query: Query, cursor: str | None) -> Page:
    return next(hub.listing(query, cursor), Page(packages=(), cursor=None))


def freeze(hub: Hub, journal: Journal, run: Run, limit: int | None, folder: Path | None) -> None:
    r"""Rank the listing and write it durably to `folder` as JSON lines, after a head that names its format.

    ::

        {"format":"ptmtorrent/listing","version":1,"requires":[],"hub":"huggingface","endpoint":"https://…","listed":…}
        {"name":"org/name","commit":"cccc…","downloads":123,"raw":"{\"_id\": …}"}
    """
    journal.rank(run.id, limit)
    if folder is not None:
        stamp = run.listed.translate(str.maketrans("", "", "-:"))
        _write(folder / f"{hub.name}-{stamp}-{run.id}.jsonl", hub, journal, run)
    journal.set_state(run.id, "planning")


def _write(path: Path, hub: Hub, journal: Journal, run: Run) -> None:
    ensure_dir(path.parent)
    temporary = new_temporary(path)
    head = {
        "format": FORMAT,
        "version": 1,
        "requires": [],
        "hub": hub.name,
        "endpoint": hub.endpoint,
        "listed": run.listed,
    }
    with disk_errors(path), temporary.open("wb") as stream:
        stream.write(msgspec.json.encode({**head, "request": msgspec.Raw(run.request.encode())}) + b"\n")
        for work in journal.works(run.id):
            stream.write(work.listed + b"\n")
        stream.flush()
        os.fsync(stream.fileno())
    publish_file(temporary, path)
