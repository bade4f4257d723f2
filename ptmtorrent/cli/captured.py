"""`captured`: what the store of this home has."""

import typer

from ptmtorrent.cli._session import Session

app = typer.Typer()


@app.command(epilog="Example: ptmtorrent captured")
def captured(ctx: typer.Context) -> None:
    """List the captured packages with time, licence, rights, downloads and task."""
    session: Session = ctx.obj

    from ptmtorrent.workflows.captured import captured as run

    rows = [
        {
            "package": capture.package,
            "captured": capture.captured,
            "licence": capture.licence,
            "rights": capture.rights,
            "downloads": capture.downloads,
            "missing": capture.missing or None,
            "task": capture.task,
            "snapshot": capture.snapshot,
        }
        for capture in run(session.home)
    ]
    session.sink.rows("capture", rows)
