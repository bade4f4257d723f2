"""`store init|info|check|repair|gc`: the care of what was captured."""

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from ptmtorrent.cli._session import Session, stopping
from ptmtorrent.cli._values import Size
from ptmtorrent.errors import IntegrityError, UsageError

if TYPE_CHECKING:
    from ptmtorrent.workflows.maintain.info import StoreInfo
    from ptmtorrent.workflows.maintain.inspect import Level

MAX_HOURS = 10 * 365 * 24

app = typer.Typer()
verbs = typer.Typer(help="Look after the store: what it holds, whether it is whole, mending it.", no_args_is_help=True)
app.add_typer(verbs, name="store")


@verbs.command("init", epilog="Example: ptmtorrent store init")
def init(ctx: typer.Context) -> None:
    """Make an empty store in this home, unless there is one, and say where."""
    session: Session = ctx.obj

    from ptmtorrent.store.store import Store

    with Store.open(session.home.store, write=True):
        pass
    session.sink.rows("store", [{"what": "store", "value": str(session.home.store)}])


@verbs.command("info", epilog="Example: ptmtorrent store info --top 20")
def info(
    ctx: typer.Context,
    top: Annotated[
        int, typer.Option(min=0, metavar="N", help="Name the N packages with most bytes of their own.")
    ] = 10,
) -> None:
    """Say what was captured, what it takes, and why that is less; weights are not read for it."""
    session: Session = ctx.obj

    from ptmtorrent.model.records import Note
    from ptmtorrent.workflows.maintain.info import codec_name, read_info

    found = read_info(session.home, top)
    session.sink.rows("store", [{"what": name, "value": value} for name, value in _measures(found)])
    shares = [
        {
            "codec": number,
            "name": codec_name(number),
            "objects": share.objects,
            "raw": Size(share.raw),
            "stored": Size(share.stored),
        }
        for number, share in sorted(found.codecs.items())
    ]
    if shares:
        session.sink.rows("codec", shares)
    if found.top:
        session.sink.rows("top", [{"package": package, "stored": Size(size)} for package, size in found.top])
    for package in found.unreadable:
        session.emit(
            Note(message=f"the manifest of `{package}` cannot be read; its files are not counted", warning=True)
        )


@verbs.command("check", epilog="Example: ptmtorrent store check --data")
def check(
    ctx: typer.Context,
    quick: Annotated[bool, typer.Option("--quick", help="Files, sizes and the index only.")] = False,
    data: Annotated[bool, typer.Option("--data", help="Read every byte, decode and hash every object.")] = False,
) -> None:
    """Check that everything is there and as it was written; damage is named and ends with 50. Nothing is changed."""
    session: Session = ctx.obj
    if quick and data:
        raise UsageError("`--quick` and `--data` exclude each other", hint="give one of them")

    from ptmtorrent.workflows.maintain.check import check_store

    level: Level = "quick" if quick else "data" if data else "normal"
    with stopping() as stop:
        checked = check_store(session.home, level, emit=session.emit, stop=stop)
    if checked.findings:
        session.sink.rows("damage", [_row(finding) for finding in checked.findings])
    session.report(checked.summary)
    if checked.summary.failed:
        hint = "mend what is damaged: ptmtorrent store repair --from CHANNEL"
        raise IntegrityError(f"{_things(checked.summary.failed)} damaged, as named above", hint=hint)


@verbs.command("repair", epilog="Example: ptmtorrent store repair --from https://example.org/channel/")
def repair(
    ctx: typer.Context,
    channel: Annotated[
        str | None, typer.Option("--from", metavar="CHANNEL", help="URL or folder that has the same packs.")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Look for damage without reading all bytes.")] = False,
    index: Annotated[bool, typer.Option("--index", help="Make the index again from the packs.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what is damaged and would be asked for.")] = False,
) -> None:
    """Make what is damaged what it was: from a channel, or from what is left; lost packages are named for `clone`."""
    session: Session = ctx.obj

    from ptmtorrent.model.moments import read_clock
    from ptmtorrent.reading.collection import access_of
    from ptmtorrent.reading.open_channel import open_channel
    from ptmtorrent.workflows.maintain.repair import repair as run

    named = None
    if channel is not None:
        globus = access_of(session.settings, session.home)
        named = open_channel(channel, None, session.home, clock=read_clock, emit=session.emit, globus=globus)
    with stopping() as stop:
        repaired = run(
            session.home,
            named,
            level="normal" if quick else "data",
            rebuild=index,
            dry_run=dry_run,
            emit=session.emit,
            stop=stop,
        )
    session.report(repaired.summary)
    if repaired.summary.failed:
        hint = "name another channel with --from, or clone the packages again that are named above"
        raise IntegrityError(f"{_things(repaired.summary.failed)} still damaged, as named above", hint=hint)


@verbs.command("gc", epilog="Example: ptmtorrent store gc --grace 48")
def gc(
    ctx: typer.Context,
    grace: Annotated[
        int,
        typer.Option(min=0, max=MAX_HOURS, metavar="HOURS", help="How long a pack is dead before it goes; 0: now."),
    ] = 24,
    kept: Annotated[bool, typer.Option("--kept", help="Let go of packs that `fetch --keep-packs` kept, too.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go, and mark nothing.")] = False,
) -> None:
    """Let go of packs that no newest capture and no release needs: marked first, gone after the grace."""
    session: Session = ctx.obj

    from ptmtorrent.model.moments import read_clock
    from ptmtorrent.workflows.maintain.gc import collect

    done = collect(
        session.home, grace=timedelta(hours=grace), kept=kept, dry_run=dry_run, clock=read_clock, emit=session.emit
    )
    measures = {
        "packs_freed": done.packs_freed,
        "bytes_freed": Size(done.bytes_freed),
        "packs_marked": done.packs_marked,
        "bytes_marked": Size(done.bytes_marked),
        "bytes_dead_in_live_packs": Size(done.bytes_dead),
    }
    session.sink.rows("gc", [{"what": what, "value": value} for what, value in measures.items()])
    session.report(done.summary)


def _measures(found: "StoreInfo") -> list[tuple[str, object]]:
    from ptmtorrent.workflows.maintain.info import ratio

    counts = ("packages", "snapshots", "files", "packs", "objects")
    sizes = ("raw", "unique", "stored", "unsealed", "heads", "frames")
    shares = {"plain": found.plain, "delta": found.deltas}
    others = {"documents": found.documents, "bases": found.bases, "rest": found.rest}
    return [
        *((name, getattr(found, name)) for name in counts),
        *((f"{name}_bytes", Size(getattr(found, name))) for name in sizes),
        *((f"{name}_raw_bytes", Size(share.raw)) for name, share in shares.items()),
        *((f"{name}_stored_bytes", Size(share.stored)) for name, share in {**shares, **others}.items()),
        ("ratio", ratio(found.raw, found.stored)),
        ("ratio_dedupe", ratio(found.raw, found.unique)),
        ("ratio_codec", ratio(found.plain.raw, found.plain.stored)),
        ("ratio_delta", ratio(found.deltas.raw, found.deltas.stored)),
    ]


def _things(number: int) -> str:
    return "1 thing is" if number == 1 else f"{number:,} things are"


def _row(finding: object) -> dict[str, object]:
    names = ("pack", "what", "object", "offset", "bytes", "packages")
    return {name: getattr(finding, name) for name in names}
