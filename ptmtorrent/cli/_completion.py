"""Completion of hubs, kinds, subsets and packages. What a name needs is imported only when it is completed.

Packages and subsets are read from the channel that the command line or the settings name, so completing them takes as
long as opening the channel. A channel that cannot be read completes to nothing: a shell has no place for an error.
"""

from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING

import typer

from ptmtorrent.cli._session import Session
from ptmtorrent.errors import PtmError
from ptmtorrent.scrub import escape

if TYPE_CHECKING:
    from ptmtorrent.reading.open_channel import OpenChannel

MAX_NAMES = 200


def complete_hubs(incomplete: str) -> list[str]:
    """Return the hubs that start like what was typed."""
    from ptmtorrent.hubs.registry import HUBS

    return _starting(incomplete, (kind.name for kind in HUBS))


def complete_kinds(incomplete: str) -> list[str]:
    """Return the file kinds that start like the last item of a list."""
    from ptmtorrent.model.kinds import FILE_KINDS

    typed, comma, last = incomplete.rpartition(",")
    return [f"{typed}{comma}{kind}" for kind in _starting(last, FILE_KINDS)]


def complete_subsets(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the subsets of the release that start like what was typed."""
    with suppress(PtmError):
        return _starting(incomplete, (subset.name for subset in _open(ctx).release.subsets))
    return []


def complete_packages(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the packages of the release that start like what was typed, at most 200."""
    with suppress(PtmError):
        from ptmtorrent.workflows.list import list_ as list_members

        names = (str(row.package) for row in list_members(_open(ctx), None))
        return _starting(incomplete, names)[:MAX_NAMES]
    return []


def _open(ctx: typer.Context) -> "OpenChannel":
    from ptmtorrent.model.moments import read_clock
    from ptmtorrent.model.records import ignore
    from ptmtorrent.reading.open_channel import open_channel

    session: Session = ctx.obj
    if not session.has_flag("home"):  # the callback of the program is not called when completing
        session.take("home", ctx.find_root().params.get("home"))
    settings = session.settings.with_flags(channel=ctx.params.get("channel"))
    return open_channel(settings.channel, ctx.params.get("release"), session.home, clock=read_clock, emit=ignore)


def _starting(incomplete: str, names: Iterable[str]) -> list[str]:
    # A name that cannot be shown as it is would do in the shell what it does on a terminal.
    return sorted(name for name in names if name.startswith(incomplete) and name == escape(name))
