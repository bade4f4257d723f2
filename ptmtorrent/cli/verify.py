"""`verify`: re-check files that were fetched, the packs of the store, or the packs of a channel folder."""

from typing import Annotated

import typer

from ptmtorrent.cli._session import Session, stopping
from ptmtorrent.cli._text import finding_row
from ptmtorrent.errors import IntegrityError, UsageError

app = typer.Typer()


@app.command(epilog="Example: ptmtorrent verify models")
def verify(
    ctx: typer.Context,
    target: Annotated[
        str | None, typer.Argument(metavar="PACKAGE|PATH", help="What to check (default: everything that was fetched).")
    ] = None,
    store: Annotated[bool, typer.Option("--store", help="Check the packs of the store instead.")] = False,
    channel: Annotated[
        str | None, typer.Option(metavar="DIR", help="Read all packs of a channel folder again instead.")
    ] = None,
    scan: Annotated[
        bool, typer.Option("--scan", help="Look for code in fetched files that runs when they are loaded, instead.")
    ] = False,
    upstream: Annotated[
        bool,
        typer.Option("--upstream", help="Prove that captured packages are those of their upstream commits, instead."),
    ] = False,
    keys: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="With --upstream: public keys (PGP, SSH) that signed commits must be by."),
    ] = None,
) -> None:
    """Re-check files that were fetched, the packs of the store, or those of a channel; exit with 50 if damaged.

    A folder must be exactly one snapshot of its package: whatever else is in it, your own files too, is named and
    gives 50, because programs load what they find there. Keep your own files beside it.
    """
    session: Session = ctx.obj
    _check_choice(target, store=store, channel=channel, scan=scan, upstream=upstream, keys=keys)
    if upstream:
        _prove(session, target, keys)
        return
    if scan:
        _scan(session, target)
        return

    from ptmtorrent.model.locations import parse_folder
    from ptmtorrent.model.text import count
    from ptmtorrent.workflows.maintain.check import check as check_store
    from ptmtorrent.workflows.maintain.check_channel import check_channel
    from ptmtorrent.workflows.verify import verify as verify_files

    folder = None if channel is None else parse_folder(channel, "--channel")
    with stopping() as stop:
        if folder is not None:
            summary = check_channel(session.home, folder, emit=session.emit, stop=stop)
        elif store:
            summary = check_store(session.home, "data", emit=session.emit, stop=stop).summary
        else:
            summary = verify_files(session.home, target, emit=session.emit, stop=stop)
    session.report(summary)
    if summary.failed:
        number = count(summary.failed, summary.unit)
        if channel is not None:
            raise IntegrityError(f"{number} damaged (see above)", hint="copy the files again, then verify again")
        if store:
            raise IntegrityError(
                f"{number} damaged (see above)", hint="repair: `ptmtorrent store repair --from CHANNEL`"
            )
        raise IntegrityError(
            f"{number} not exactly what was fetched (see above)",
            hint="run the same fetch again; move away what it does not replace, or pass `--force`",
        )


def _scan(session: Session, target: str | None) -> None:
    from ptmtorrent.workflows.maintain.scan import scan_fetched

    with stopping() as stop:
        scanned, summary = scan_fetched(session.home, target, emit=session.emit, stop=stop)
    rows = [{"package": each.package, **finding_row(finding)} for each in scanned for finding in each.scan.findings]
    if rows:
        session.sink.rows("finding", rows)
    session.finish(summary)


def _prove(session: Session, target: str | None, keys: str | None) -> None:
    from ptmtorrent.model.ids import parse_package_name
    from ptmtorrent.model.locations import parse_folder
    from ptmtorrent.workflows.maintain.upstream import verify_upstream

    package = None if target is None else parse_package_name(target)
    file = None if keys is None else parse_folder(keys, "--keys")
    with stopping() as stop:
        summary, wrong = verify_upstream(session.home, package, keys=file, emit=session.emit, stop=stop)
    if not wrong:
        session.finish(summary)
        return
    session.report(summary)
    raise IntegrityError(
        "not every package is what its upstream commit has (see above)", hint="clone the package again"
    )


def _check_choice(
    target: str | None, *, store: bool, channel: str | None, scan: bool, upstream: bool, keys: str | None
) -> None:
    """Refuse options that do not go together.

    Raises:
        UsageError: naming them.
    """
    if store and target is not None:
        raise UsageError("`--store` checks all packs and takes no target", hint="omit one of them")
    if channel is not None and (store or target is not None):
        raise UsageError("`--channel` checks all packs of a channel folder alone", hint="omit the others")
    if upstream and (store or scan or channel is not None):
        raise UsageError("`--upstream` looks at packages that were captured", hint="omit the other options")
    if keys is not None and not upstream:
        raise UsageError("`--keys` verifies signatures of upstream commits", hint="pass it with `--upstream`")
    if scan and (store or channel is not None):
        raise UsageError("`--scan` looks at files that were fetched", hint="omit `--store` and `--channel`")
