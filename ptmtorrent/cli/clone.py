"""`clone`: capture packages of a hub into the store."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from ptmtorrent.cli._completion import complete_hubs
from ptmtorrent.cli._options import parse_list, parse_url
from ptmtorrent.cli._session import Session, stopping
from ptmtorrent.errors import UsageError
from ptmtorrent.hubs.registry import HUBS, HubKind, HubOptions, find_kind
from ptmtorrent.scrub import Login, is_web, scrub_address, shown, split_login

app = typer.Typer()


@app.command(epilog="Example: ptmtorrent clone huggingface --id org/name --id org/other")
def clone(
    ctx: typer.Context,
    hub: Annotated[
        str,
        typer.Argument(
            metavar="HUB", help=f"One of {', '.join(kind.name for kind in HUBS)}.", autocompletion=complete_hubs
        ),
    ],
    endpoints: Annotated[
        list[str] | None,
        typer.Option("--endpoint", metavar="URL", help="Base URL of the hub, or its folder.", show_default=False),
    ] = None,
    called: Annotated[
        str | None,
        typer.Option("--as", metavar="NAME", help="Name of a local folder, instead of its own.", show_default=False),
    ] = None,
    mirror: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Base URL of copies to use when the hub lacks a file.", show_default=False),
    ] = None,
    identifiers: Annotated[
        list[str] | None, typer.Option("--id", metavar="ID", help="Clone only these packages.", show_default=False)
    ] = None,
    popular: Annotated[
        bool, typer.Option("--popular", help="Only packages with more than 50 downloads in 30 days.")
    ] = False,
    min_downloads: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="Only packages with at least N downloads in 30 days.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, metavar="N", help="Only the N most downloaded packages.")] = None,
    max_bytes: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Skip packages once the total would exceed this size.")
    ] = None,
    also: Annotated[
        list[str] | None,
        typer.Option("--with", metavar="WHAT", help="Also keep history, discussions.", show_default=False),
    ] = None,
    xet: Annotated[bool, typer.Option("--xet", help="Download files in Xet storage with hf-xet.")] = False,
    jobs: Annotated[int | None, typer.Option(metavar="N", help="Parallel downloads [PTMTORRENT_JOBS].")] = None,
    max_memory: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Memory limit [PTMTORRENT_MAX_MEMORY].")
    ] = None,
    cluster: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Run on the workers that FILE describes.", show_default=False),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print packages, bytes and hours, as far as the listing of the hub says.")
    ] = False,
    exact: Annotated[
        bool, typer.Option("--exact", help="With `--dry-run`: ask the hub for the files of every package.")
    ] = False,
) -> None:
    """Clone packages of a hub into the store, pinned to commits and verified against its hashes. Resumable."""
    session: Session = ctx.obj

    from ptmtorrent.model.locations import parse_folder

    if popular and min_downloads is not None:
        raise UsageError("`--popular` and `--min-downloads` exclude each other", hint="pass only one of them")
    if exact and not dry_run:
        raise UsageError("`--exact` applies to `--dry-run` only", hint="pass both, or omit `--exact`")
    kind = find_kind(hub)
    endpoint, mirror, ids, logins = _take_logins(_one_endpoint(endpoints), mirror, identifiers)
    if endpoint is not None and kind.schemes:
        parse_url(endpoint, kind.schemes, "--endpoint")
    elif endpoint is not None:
        endpoint = str(parse_folder(endpoint, "--endpoint"))
    _check_name(kind, called)
    wanted = _wanted(kind, also)
    if xet and not kind.xet:
        raise UsageError(f"`--xet`: `{kind.name}` has no Xet storage", hint="omit `--xet`")
    if mirror is not None:
        parse_url(mirror, kind.schemes, "--mirror")
    settings = session.settings.with_flags(jobs=jobs, max_memory=max_memory)

    from ptmtorrent.clusters.description import read_cluster
    from ptmtorrent.config import hub_tokens, network_environment, ssh_environment
    from ptmtorrent.model.moments import read_clock
    from ptmtorrent.model.text import parse_size
    from ptmtorrent.workflows.clone.clone import CloneRequest
    from ptmtorrent.workflows.clone.clone import clone as run
    from ptmtorrent.workflows.clone.cluster.cluster import ClusterRunner

    request = CloneRequest(
        ids=ids,
        popular=popular,
        min_downloads=min_downloads,
        limit=limit,
        max_bytes=parse_size(max_bytes) if max_bytes else None,
        jobs=settings.jobs,
        max_memory=settings.max_memory,
        dry_run=dry_run,
        exact=exact,
        also=wanted,
        called=called,
    )
    # The public mirror holds copies of the public zoo only, so another endpoint does not use it.
    copies = mirror or (kind.mirror if endpoint is None else None)
    options = HubOptions(
        endpoint=endpoint or kind.endpoint,
        work=session.home.hubs / kind.name,
        mirror=copies,
        logins=logins,
        also=wanted,
        xet=xet,
        called=called,
        environment={**network_environment(), **ssh_environment()},
        tokens=hub_tokens(),
    )
    described = read_cluster(cluster) if cluster is not None else None
    runner = ClusterRunner(described, options, request.jobs, request.max_memory) if described is not None else None
    make = partial(kind.make, options)
    with stopping() as stop:
        summary = run(make, request, session.home, clock=read_clock, emit=session.emit, stop=stop, cluster=runner)
    session.finish(summary)


def _one_endpoint(endpoints: list[str] | None) -> str | None:
    """Return the only endpoint; None if there is none.

    Raises:
        UsageError: there are several.
    """
    if endpoints and len(endpoints) > 1:
        named = " and ".join(f"`{scrub_address(endpoint)}`" for endpoint in endpoints)
        hint = "clone one at a time; a folder whose name another one has is named with `--as NAME`"
        raise UsageError(f"`--endpoint` is one place, and {named} were given", hint=hint)
    return endpoints[0] if endpoints else None


def _check_name(kind: HubKind, called: str | None) -> None:
    """Check the name that a folder is given.

    Raises:
        UsageError: the hub is no folder, or no package can have the name.
    """
    if called is None:
        return
    if kind.schemes:
        raise UsageError(f"`--as`: `{kind.name}` names its packages itself", hint="omit `--as`")

    from ptmtorrent.errors import IntegrityError
    from ptmtorrent.model.ids import check_path

    try:
        check_path(called)
    except IntegrityError as error:
        hint = "write a name such as `model` or `team/model`"
        raise UsageError(f"`--as` cannot be `{shown(called)}`: {error.message}", hint=hint) from error


def _take_logins(
    endpoint: str | None, mirror: str | None, identifiers: list[str] | None
) -> tuple[str | None, str | None, tuple[str, ...], dict[str, Login]]:
    """Return the addresses without their logins, and the logins by address.

    Raises:
        UsageError: the name of a package is not UTF-8.
    """
    from ptmtorrent.model.ids import show_path
    from ptmtorrent.model.locations import spell_place

    texts = [text for text in (endpoint, mirror, *parse_list(identifiers)) if text]
    split = {text: split_login(text) if is_web(text) else (text, None) for text in texts}
    logins = {address: login for address, login in split.values() if login is not None}
    ids = tuple(split[text][0] for text in parse_list(identifiers))
    if unfit := next((each for each in ids if spell_place(each) != each), None):
        raise UsageError(f"`--id` cannot be `{show_path(unfit)}`: it is not UTF-8", hint="write names as the hub does")
    return endpoint and split[endpoint][0], mirror and split[mirror][0], ids, logins


def _wanted(kind: HubKind, also: list[str] | None) -> frozenset[str]:
    """Return what `--with` names.

    Raises:
        UsageError: the hub cannot provide it.
    """
    wanted = frozenset(parse_list(also))
    if unknown := sorted(wanted - kind.keeps):
        known = ", ".join(f"`{one}`" for one in sorted(kind.keeps))
        hint = f"choose from {known}" if known else "omit `--with`"
        raise UsageError(f"`--with {unknown[0]}`: `{kind.name}` does not provide it", hint=hint)
    return wanted
