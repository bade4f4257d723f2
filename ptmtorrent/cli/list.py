"""`list`: the packages of a release or of one of its subsets."""

import typer

from ptmtorrent.cli._options import ChannelOption, ReleaseOption, SubsetOption, open_requested
from ptmtorrent.cli._session import Session, stopping
from ptmtorrent.cli._text import Size

app = typer.Typer()


@app.command("list", epilog="Example: ptmtorrent list --subset popular")
def list_(
    ctx: typer.Context,
    subset: SubsetOption = None,
    channel: ChannelOption = None,
    release: ReleaseOption = None,
) -> None:
    """List the packages of a release with files, bytes, licence, downloads, task and flags."""
    session: Session = ctx.obj

    from ptmtorrent.stop import ANEW_HINT
    from ptmtorrent.workflows.list import list_ as list_members
    from ptmtorrent.workflows.list import read_marks

    marks = read_marks(session.home)
    with stopping() as stop:
        members = list_members(open_requested(session, channel, release, stop), subset)
        stop.raise_if_set("the listing", hint=ANEW_HINT)
    rows = [
        {
            "package": facts.package,
            "files": facts.files,
            "bytes": Size(facts.bytes),
            "missing": facts.missing,
            "licence": facts.licence,
            "downloads": facts.downloads,
            "task": facts.task,
            "flags": marks.get(facts.package),
            "snapshot": facts.snapshot,
        }
        for facts in members
    ]
    session.sink.rows("package", rows)
