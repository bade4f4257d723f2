"""`store history`: take the history of a captured package out of the store."""

from pathlib import Path
from typing import Annotated

import typer

from ptmtorrent.cli._session import Session

app = typer.Typer()


@app.command("history", epilog="Example: ptmtorrent store history git:host/team/model --to model.bundle")
def history(
    ctx: typer.Context,
    package: Annotated[str, typer.Argument(metavar="PACKAGE", help="A package captured with `--with history`.")],
    to: Annotated[Path, typer.Option(metavar="FILE", help="The file to write; it must not exist.")],
) -> None:
    """Write the git history of a captured package as a bundle, which `git clone` reads."""
    session: Session = ctx.obj

    from ptmtorrent.model.records import Result
    from ptmtorrent.workflows.maintain.history import history as write

    size = write(session.home, package, to)
    session.emit(Result(kind="package", id=package, status="ok", path=str(to), bytes=size))
