"""`fetch`: download packages or a subset of a release, verified and ready to use."""

from enum import StrEnum
from typing import Annotated

import typer

from ptmtorrent.cli._completion import complete_kinds, complete_packages
from ptmtorrent.cli._options import (
    ChannelOption,
    ReleaseOption,
    SubsetOption,
    open_requested,
    parse_address,
    parse_choices,
    parse_list,
)
from ptmtorrent.cli._session import Session, stopping
from ptmtorrent.errors import UsageError

app = typer.Typer()


class Into(StrEnum):
    """Layouts of fetched packages."""

    DIR = "dir"
    HF_CACHE = "hf-cache"


class Transport(StrEnum):
    """Transports of packs; the choices of `config.TRANSPORTS`."""

    AUTO = "auto"
    TORRENT = "torrent"
    HTTP = "http"
    GLOBUS = "globus"
    GLOBUS_HTTP = "globus+http"
    LOCAL = "local"


class FindingLevel(StrEnum):
    """Levels of findings, the mildest first; the choices of `model.findings.LEVELS`."""

    NOTICE = "notice"
    SUSPICIOUS = "suspicious"
    RUNS_CODE = "runs-code"


@app.command(epilog="Example: ptmtorrent fetch --subset popular --only config,docs --to models")
def fetch(
    ctx: typer.Context,
    packages: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PACKAGE", help="Such as hf:org/name.", show_default=False, autocompletion=complete_packages
        ),
    ] = None,
    subset: SubsetOption = None,
    channel: ChannelOption = None,
    release: ReleaseOption = None,
    accept_expired: Annotated[
        bool, typer.Option("--accept-expired", help="Offline: use a channel whose signatures have expired.")
    ] = False,
    only: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KINDS", help="Only these: weights, docs, config, code, metadata.", autocompletion=complete_kinds
        ),
    ] = None,
    max_bytes: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Take what fits into this size, most downloaded first.")
    ] = None,
    into: Annotated[Into, typer.Option(help="Plain folders or a Hugging Face cache.")] = Into.DIR,
    to: Annotated[
        str | None,
        typer.Option(
            metavar="PATH",
            help="Destination (default: current folder; with `--into hf-cache`, the home's HF cache).",
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace files in the way that were changed or are your own.")
    ] = False,
    prune: Annotated[
        bool,
        typer.Option("--prune", help="Remove packages that were fetched to there and that the subset has no more."),
    ] = False,
    transport: Annotated[Transport | None, typer.Option(help="Transport of packs [PTMTORRENT_TRANSPORT].")] = None,
    peer: Annotated[list[str] | None, typer.Option(metavar="HOST:PORT", help="Peers to connect to.")] = None,
    keep_packs: Annotated[bool, typer.Option("--keep-packs", help="Keep packs in the store to seed them.")] = False,
    refuse_findings: Annotated[
        FindingLevel | None,
        typer.Option("--refuse-findings", help="Skip packages with findings of this level or a worse one."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print requests, bytes and disk without moving data.")
    ] = False,
) -> None:
    """Fetch packages or a subset; every byte is verified before it becomes visible. Resumable.

    A file of yours in the way of a package fails that package alone; `--force` replaces it. Packages that an earlier
    fetch of the subset left there and that it has no more are named; `--prune` removes them, but no file of yours.
    """
    session: Session = ctx.obj
    if not packages and subset is None:
        raise UsageError("nothing to fetch", hint="name a package, such as `hf:org/name`, or pass `--subset popular`")
    peers = tuple(parse_address(address) for address in parse_list(peer))
    settings = session.settings.with_flags(transport=transport)

    from ptmtorrent.model.ids import parse_package_name
    from ptmtorrent.model.kinds import FILE_KINDS
    from ptmtorrent.model.locations import parse_folder
    from ptmtorrent.model.moments import read_clock
    from ptmtorrent.model.text import parse_size
    from ptmtorrent.workflows.fetch.fetch import FetchRequest
    from ptmtorrent.workflows.fetch.fetch import fetch as run

    request = FetchRequest(
        packages=tuple(parse_package_name(name) for name in packages or ()),
        subset=subset,
        only=parse_choices(only, FILE_KINDS, "--only"),
        max_bytes=parse_size(max_bytes) if max_bytes else None,
        into=into.value,
        to=None if to is None else parse_folder(to, "--to"),
        force=force,
        prune=prune,
        transport=settings.transport,
        peers=peers,
        keep_packs=keep_packs,
        refuse_findings=None if refuse_findings is None else refuse_findings.value,
        dry_run=dry_run,
    )
    with stopping() as stop:
        source = open_requested(session, channel, release, stop, accept_expired=accept_expired)
        summary = run(request, source, session.home, clock=read_clock, emit=session.emit, stop=stop)
    session.finish(summary)
