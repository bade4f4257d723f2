"""`status`: the state of a home."""

import time
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

from ptmtorrent.disk.durable import free_bytes
from ptmtorrent.errors import IntegrityError
from ptmtorrent.model.moments import Clock, read_clock
from ptmtorrent.paths import Home
from ptmtorrent.state.upstream_flags import read_flags

MAX_FLAGS = 50
"""Limit of flagged packages that `status` names; `list` marks all those of a release."""


def status(home: Home, *, clock: Clock = read_clock) -> list[tuple[str, str | int]]:
    """Return what `home` holds, as names and values; sizes are in bytes.

    Raises:
        StoreError: the store cannot be read.
    """
    return [
        ("home", str(home.root)),
        *_store_status(home.store),
        *_clone_status(home),
        *_flags_status(home.flags),
        *_fetched_status(home.ledger),
        *_channel_status(home.channel, clock()),
        ("keys", "yes" if home.keys.is_dir() else "none"),
        ("free_bytes", free_bytes(home.root)),
    ]


def _channel_status(channel: Path, now: datetime) -> Iterator[tuple[str, str]]:
    """Yield the releases of the home's own channel, and when each of its roles expires."""
    if not channel.is_dir():
        yield "releases", "none"
        return
    from ptmtorrent.channel.folder import release_names  # each part imports what it needs: most homes have few parts
    from ptmtorrent.trust.channel_state import read_expiries
    from ptmtorrent.trust.expiry import RENEW_HINT, spell_expiry

    yield "releases", ", ".join(release_names(channel)) or "none"
    try:
        expiries = read_expiries(channel)
    except IntegrityError as error:
        yield "expires", error.message
        return
    for role, moment in expiries.items():
        yield f"{role} expires", spell_expiry(role, moment, now, hint=RENEW_HINT)


def _store_status(folder: Path) -> Iterator[tuple[str, str | int]]:
    if not folder.is_dir():
        yield "packages", 0
        return
    from ptmtorrent.store.store import Store

    with Store.open(folder) as store:
        packs = store.packs()
        captures = store.captures()
        yield "packages", len(captures)
        if incomplete := sum(1 for capture in captures if capture.missing):
            yield "incomplete packages", incomplete
        yield "packs", len(packs)
        yield "packs_bytes", sum(store.pack_file(pack).stat().st_size for pack in packs)


def _clone_status(home: Home) -> Iterator[tuple[str, str | int]]:
    """Say what the last unfinished clone of each hub has yet to do; every file counts as a request, here or not.

    A clone that was stopped before anything was listed, such as one of a mistyped server, is passed over.
    """
    if not home.journal.is_file():
        return
    from ptmtorrent.state.clone_journal import COMMIT_BYTES, Journal

    with Journal(home.journal) as journal:
        left_by_run = {run: journal.tally(run.id, "listed", "todo", "leased") for run in journal.runs()}
        last = {run.hub.partition(" ")[0]: run for run, left in left_by_run.items() if left.packages or run.cursor}
        for hub, run in last.items():
            endpoint, left = run.hub.partition(" ")[2], left_by_run[run]
            unplanned = journal.tally(run.id, "listed").packages
            name = f"clone {hub} {endpoint}".rstrip()
            yield name, f"{run.state}: {left.packages} packages left, {unplanned} of them not asked for yet"
            yield f"{name} requests", left.files + unplanned
            yield f"{name} hours", _hours(home, hub, endpoint, left.files)
            yield f"{name} bytes", left.bytes
            yield f"{name} disk bytes", left.bytes + min(left.bytes, COMMIT_BYTES)


def _hours(home: Home, hub: str, endpoint: str, requests: int) -> str:
    if not home.limits.is_file():
        return "no limit is known"
    from ptmtorrent.hubs.client.rate_limiter import file_limit
    from ptmtorrent.state.rate_windows import StoredWindows

    with StoredWindows(home.limits, time.time) as windows:
        host = urlsplit(endpoint).netloc
        quotas = {budget.kind: quota for budget, quota in windows.quotas().items() if budget.host == host}
    limit = file_limit(hub, quotas)
    if limit is None:
        return "no limit is known"
    return f"{limit.hours(requests):.1f} at {limit.requests:,} requests in {limit.seconds} seconds"


def _fetched_status(ledger: Path) -> Iterator[tuple[str, int]]:
    """Yield how many packages were laid out by fetches of this home, into how many folders, and with how many files."""
    if not ledger.is_file():
        return
    from ptmtorrent.state.laid_out import Ledger

    with Ledger(ledger) as laid_out:
        folders = laid_out.folders()
        yield "fetched packages", len({folder.package for folder in folders})
        yield "fetched folders", len(folders)
        yield "fetched files", laid_out.count_files()


def _flags_status(file: Path) -> Iterator[tuple[str, str | int]]:
    """Yield how many packages carry each flag, then what some of them are."""
    flags = read_flags(file)
    yield from sorted(Counter(flag.flag for flag in flags).items())
    for flag in flags[:MAX_FLAGS]:
        yield flag.package, f"{flag.flag} since {flag.since}: {flag.reason}"
    if len(flags) > MAX_FLAGS:
        yield "and more flags", len(flags) - MAX_FLAGS
