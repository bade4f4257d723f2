"""`fetch`: get packages or a subset of a release, verified, laid out for use."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ptmtorrent.cli._options import ChannelOption, ReleaseOption, open_wanted
from ptmtorrent.cli._session import Session, stopping
from ptmtorrent.cli._values import parse_address, parse_choices
from ptmtorrent.errors import UsageError

app = typer.Typer()


class Into(StrEnum):
    """How a package is laid out."""

    DIR = "dir"
    HF_CACHE = "hf-cache"


class Transport(StrEnum):
    """How packs are moved; the choices of `config.TRANSPORTS`."""

    AUTO = "auto"
    TORRENT = "torrent"
    HTTP = "http"
    GLOBUS = "globus"
    LOCAL = "local"


@app.command(epilog="Example: ptmtorrent fetch --subset popular --only config,docs --to models")
def fetch(
    ctx: typer.Context,
    packages: Annotated[
        list[str] | None, typer.Argument(metavar="PACKAGE", help="Such as hf:org/name.", show_default=False)
    ] = None,
    subset: Annotated[str | None, typer.Option(metavar="NAME", help="A subset of the release; see `subsets`.")] = None,
    channel: ChannelOption = None,
    release: ReleaseOption = None,
    only: Annotated[
        str | None, typer.Option(metavar="KINDS", help="Some of weights, docs, config, metadata; joined by commas.")
    ] = None,
    max_bytes: Annotated[str | None, typer.Option(metavar="SIZE", help="Stop before more than this.")] = None,
    into: Annotated[Into, typer.Option(help="Plain folders, or a Hugging Face cache.")] = Into.DIR,
    to: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH", help="Where to lay packages out: the current folder, or the home's HF cache, without one."
        ),
    ] = None,
    transport: Annotated[Transport | None, typer.Option(help="How packs come [PTMTORRENT_TRANSPORT].")] = None,
    peer: Annotated[list[str] | None, typer.Option(metavar="HOST:PORT", help="A peer to ask; repeatable.")] = None,
    keep_packs: Annotated[bool, typer.Option("--keep-packs", help="Keep packs after use, to seed them.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print requests, bytes and disk, move nothing.")] = False,
) -> None:
    """Fetch packages or a subset: every byte is verified before it is visible; run again to resume."""
    session: Session = ctx.obj
    if not packages and subset is None:
        raise UsageError("nothing to fetch was named", hint="say --subset popular, or a package such as hf:org/name")
    peers = tuple(parse_address(address) for address in peer or ())
    settings = session.settings.with_flags(transport=transport)

    from ptmtorrent.model.ids import parse_package_name
    from ptmtorrent.model.kinds import FILE_KINDS
    from ptmtorrent.model.moments import read_clock
    from ptmtorrent.model.sizes import parse_size
    from ptmtorrent.workflows.fetch.fetch import FetchRequest
    from ptmtorrent.workflows.fetch.fetch import fetch as run

    request = FetchRequest(
        packages=tuple(parse_package_name(name) for name in packages or ()),
        subset=subset,
        only=parse_choices(only, FILE_KINDS, "--only"),
        max_bytes=parse_size(max_bytes) if max_bytes else None,
        into=into.value,
        to=to,
        transport=settings.transport,
        peers=peers,
        keep_packs=keep_packs,
        dry_run=dry_run,
    )
    with stopping() as stop:
        source = open_wanted(session, channel, release)
        summary = run(request, source, session.home, clock=read_clock, emit=session.emit, stop=stop)
    session.finish(summary)
