"""`clone`: capture packages of a hub into the store."""

from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from ptmtorrent.cli._session import Session, stopping
from ptmtorrent.cli._values import parse_url
from ptmtorrent.errors import UsageError
from ptmtorrent.hubs.registry import HUBS, HubKind, HubOptions, find_kind

app = typer.Typer()


@app.command(epilog="Example: ptmtorrent clone huggingface --id org/name --id org/other")
def clone(
    ctx: typer.Context,
    hub: Annotated[str, typer.Argument(metavar="HUB", help=f"{', '.join(kind.name for kind in HUBS)}.")],
    endpoint: Annotated[
        str | None, typer.Option(metavar="URL", help="Where the hub answers, or its folder.", show_default=False)
    ] = None,
    mirror: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Where copies of its files lie, or its names lead.", show_default=False),
    ] = None,
    identifiers: Annotated[
        list[str] | None, typer.Option("--id", metavar="ID", help="One package; repeatable.", show_default=False)
    ] = None,
    popular: Annotated[bool, typer.Option("--popular", help="More than 50 downloads in 30 days.")] = False,
    min_downloads: Annotated[int | None, typer.Option(min=0, metavar="N", help="At least N downloads.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, metavar="N", help="The N most downloaded at most.")] = None,
    max_bytes: Annotated[str | None, typer.Option(metavar="SIZE", help="Stop before more than this.")] = None,
    also: Annotated[
        str | None,
        typer.Option("--with", metavar="WHAT", help="Keep as well: history, discussions.", show_default=False),
    ] = None,
    xet: Annotated[bool, typer.Option("--xet", help="Get files in Xet storage by its own protocol (hf-xet).")] = False,
    jobs: Annotated[int | None, typer.Option(metavar="N", help="Downloads at a time [PTMTORRENT_JOBS].")] = None,
    max_memory: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Memory to stay below [PTMTORRENT_MAX_MEMORY].")
    ] = None,
    cluster: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Have the workers that FILE describes do the work.", show_default=False),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print packages and bytes, download nothing.")] = False,
) -> None:
    """Clone packages of a hub, pinned to commits and checked against its hashes; run again to resume."""
    session: Session = ctx.obj
    if popular and min_downloads is not None:
        raise UsageError("`--popular` and `--min-downloads` exclude each other", hint="give one of them")
    kind = find_kind(hub)
    if endpoint is not None and kind.schemes:
        parse_url(endpoint, kind.schemes, "--endpoint")
    wanted = _wanted(kind, also)
    if xet and not kind.xet:
        raise UsageError(f"`--xet`: `{kind.name}` has no Xet storage", hint="leave it out")
    if mirror is not None:
        parse_url(mirror, kind.schemes, "--mirror")
    settings = session.settings.with_flags(jobs=jobs, max_memory=max_memory)

    from ptmtorrent.clusters.description import read_cluster
    from ptmtorrent.config import hub_tokens, way_out
    from ptmtorrent.model.moments import read_clock
    from ptmtorrent.model.sizes import parse_size
    from ptmtorrent.workflows.clone.clone import CloneRequest
    from ptmtorrent.workflows.clone.clone import clone as run
    from ptmtorrent.workflows.clone.cluster.cluster import Crew

    request = CloneRequest(
        ids=tuple(identifiers or ()),
        popular=popular,
        min_downloads=min_downloads,
        limit=limit,
        max_bytes=parse_size(max_bytes) if max_bytes else None,
        jobs=settings.jobs,
        max_memory=settings.max_memory,
        dry_run=dry_run,
        also=wanted,
    )
    # A zoo of one's own does not ask for its files where copies of the public one lie.
    copies = mirror or (kind.mirror if endpoint is None else None)
    options = HubOptions(
        endpoint=endpoint or kind.endpoint,
        work=session.home.hubs / kind.name,
        mirror=copies,
        also=wanted,
        xet=xet,
        environment=way_out(),
        tokens=hub_tokens(),
    )
    described = read_cluster(cluster) if cluster is not None else None
    crew = Crew(described, options, request.jobs, request.max_memory) if described is not None else None
    adapter = kind.make(options)
    with stopping() as stop, closing(adapter):
        summary = run(adapter, request, session.home, clock=read_clock, emit=session.emit, stop=stop, crew=crew)
    session.finish(summary)


def _wanted(kind: HubKind, also: str | None) -> frozenset[str]:
    """Read `--with`.

    Raises:
        UsageError: the hub keeps no such thing.
    """
    wanted = frozenset(filter(None, (also or "").split(",")))
    if unknown := sorted(wanted - kind.keeps):
        known = ", ".join(f"`{one}`" for one in sorted(kind.keeps))
        hint = f"it can keep {known}" if known else "leave `--with` out"
        raise UsageError(f"`--with {unknown[0]}`: `{kind.name}` keeps no such thing", hint=hint)
    return wanted
