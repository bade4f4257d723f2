"""`store info`: what was captured and the disk space it takes."""

from typing import TYPE_CHECKING, Annotated

import typer

from ptmtorrent.cli._session import Session
from ptmtorrent.cli._text import Size

if TYPE_CHECKING:
    from ptmtorrent.workflows.maintain.info import StoreInfo

app = typer.Typer()


@app.command("info", epilog="Example: ptmtorrent store info --top 20")
def info(
    ctx: typer.Context,
    top: Annotated[
        int, typer.Option(min=0, metavar="N", help="List the N packages with the most bytes of their own.")
    ] = 10,
) -> None:
    """Show what was captured, its size on disk and what saved space; reads no weights."""
    session: Session = ctx.obj

    from ptmtorrent.model.records import Note
    from ptmtorrent.workflows.maintain.info import codec_name
    from ptmtorrent.workflows.maintain.info import info as read_info

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
