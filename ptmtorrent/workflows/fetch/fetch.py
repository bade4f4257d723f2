"""Fetch: from a verified release to packages laid out, every byte checked before it is visible.

::

    members -> manifests, placements -> files wanted -> what is here -> plan -> packs -> objects -> files -> layout

Running it again goes on where it stopped: laid-out files are in the ledger, unfinished files and staging files are
rechecked.
"""

import os
import time
from collections import Counter
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Literal

import msgspec

from ptmtorrent.catalogue.index import describe_members, find_members
from ptmtorrent.disk.locks import LOCK_NAME, WriteLock
from ptmtorrent.errors import UsageError
from ptmtorrent.layouts.folders import ensure_real_dir, ignores_case, remove_shared
from ptmtorrent.layouts.hf_cache import HfCache
from ptmtorrent.layouts.plain_dir import PlainDir
from ptmtorrent.layouts.port import Layout
from ptmtorrent.model.kinds import FileKind
from ptmtorrent.model.moments import Clock, Monotonic
from ptmtorrent.model.plan import Plan
from ptmtorrent.model.records import Emit, Note, PlanMade, Summary
from ptmtorrent.paths import Home
from ptmtorrent.reading.open_channel import OpenChannel
from ptmtorrent.reading.sources import find_sources
from ptmtorrent.stop import Stop
from ptmtorrent.workflows.fetch.disk_space import Room, clear_abandoned, clear_incoming
from ptmtorrent.workflows.fetch.report import Records
from ptmtorrent.workflows.fetch.run import FetchRun
from ptmtorrent.workflows.fetch.select import Wanted, take_orders

ABANDONED_AFTER = timedelta(days=14)
"""What a fetch left half-moved is kept this long for one that wants it, and then until the next fetch ends."""


class FetchRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What to fetch, how, and to where. `to` None: the current folder, or this home's HF cache."""

    packages: tuple[str, ...] = ()
    subset: str | None = None
    only: tuple[FileKind, ...] = ()
    max_bytes: int | None = None
    into: Literal["dir", "hf-cache"] = "dir"
    to: Path | None = None
    transport: Literal["auto", "torrent", "http", "globus", "local"] = "auto"
    peers: tuple[tuple[str, int], ...] = ()
    keep_packs: bool = False
    dry_run: bool = False


def fetch(  # noqa: PLR0913  # what a workflow is given, by name
    request: FetchRequest,
    channel: OpenChannel,
    home: Home,
    *,
    clock: Clock,
    emit: Emit,
    stop: Stop,
    monotonic: Monotonic = time.monotonic,
) -> Summary:
    """Lay the wanted packages out; a record per package, then the summary.

    Raises:
        NotFound: no such package or subset, naming near matches.
        NoSource, TransportError, IntegrityError: every package that failed did so for this reason; the others are
            laid out.
        NoSpace: the disk would be, or is, full; what arrived is kept.
        Interrupted: `stop` was set; the same command goes on from there.
        UsageError, StoreError, UnsupportedFormat: as they say.
    """
    now, started = clock(), monotonic()
    layout = choose_layout(request, home)
    members = find_members(channel.release, channel.reader, request.packages, request.subset, request.only)
    with ExitStack() as stack:
        if not request.dry_run:
            stack.enter_context(WriteLock(home.incoming))
            _occupy(layout, stack)
        wanted = Wanted(layout, folds=not request.dry_run and ignores_case(layout.root))
        records = Records(wanted, layout, emit, monotonic)
        for refused in take_orders(describe_members(members, channel.reader), wanted, request.max_bytes, stop):
            records.refuse(refused)
        _tell_of_parts(wanted, layout, emit)
        keep = request.keep_packs and not request.dry_run
        run = stack.enter_context(FetchRun(wanted, layout, records, home, keep=keep, emit=emit, stop=stop))
        sources = find_sources(
            request.transport,
            request.peers,
            channel,
            stack,
            records.counted,
            keeps_packs=request.keep_packs,
            emit=emit,
        )
        plan, room = run.plan(sources)
        emit(_plan_made(wanted, plan, room))
        moved = Counter[str]()
        if not request.dry_run:
            moved = run.run(plan, room, sources)
            clear_abandoned(home.incoming, wanted.packs, (now - ABANDONED_AFTER).timestamp())
    summary = records.summary(moved, monotonic() - started)
    if (error := records.worst()) is not None:
        emit(summary)
        raise error
    return summary


def choose_layout(request: FetchRequest, home: Home) -> Layout:
    """Return the layout that `request` names, at the place it names or at its own.

    Raises:
        UsageError: the place lies in a folder that this home keeps for itself.
    """
    own = home.hf_cache if request.into == "hf-cache" else Path()
    root = Path(os.path.abspath(request.to or own))  # noqa: PTH100  # links stay as they are
    real = root.resolve()
    for folder in (home.store, home.channel, home.keys, home.listings, home.spool, home.incoming, home.trust):
        if real.is_relative_to(folder.resolve()):
            raise UsageError(
                f"`{root}` lies in `{folder}`, which ptmtorrent keeps for its own files",
                hint="lay out elsewhere with `--to`",
            )
    return HfCache(root) if request.into == "hf-cache" else PlainDir(root)


def _occupy(layout: Layout, stack: ExitStack) -> None:
    """Lock the layout's folder of unfinished files until `stack` is closed.

    Raises:
        StoreError: another process does (`StoreLocked`), or a link is in the way.
    """
    incoming = layout.incoming()
    ensure_real_dir(layout.root, incoming)
    remove_shared(incoming / LOCK_NAME)
    stack.enter_context(WriteLock(incoming))
    stack.callback(clear_incoming, incoming)


def _tell_of_parts(wanted: Wanted, layout: Layout, emit: Emit) -> None:
    """Say what an HF cache that lacks files of a package is good for: its readers refuse to call it whole."""
    parts = sum(0 < len(order.files) < len(order.manifest.files) for order in wanted.orders)
    if parts and isinstance(layout, HfCache):
        emit(
            Note(
                message=f"{parts} packages are fetched in part. Offline, `from_pretrained` and `hf_hub_download` find"
                " what is there; `snapshot_download` refuses, unless `allow_patterns` names just those files"
            )
        )


def _plan_made(wanted: Wanted, plan: Plan, room: Room) -> PlanMade:
    return PlanMade(
        packages=len(wanted.orders),
        files=sum(len(order.files) for order in wanted.orders),
        bytes=sum(order.size for order in wanted.orders),
        bytes_to_move=plan.bytes_to_move,
        requests=sum(len(request.extents) for request in plan.requests),
        disk=room.bytes,
    )
