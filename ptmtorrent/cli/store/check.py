"""`store check`: whether the store is complete and undamaged."""

from typing import TYPE_CHECKING, Annotated

import typer

from ptmtorrent.cli._session import Session, stopping
from ptmtorrent.errors import IntegrityError, UsageError

if TYPE_CHECKING:
    from ptmtorrent.workflows.maintain.inspect import Level

app = typer.Typer()


@app.command("check", epilog="Example: ptmtorrent store check --data")
def check(
    ctx: typer.Context,
    quick: Annotated[bool, typer.Option("--quick", help="Check files, sizes and the index only.")] = False,
    data: Annotated[bool, typer.Option("--data", help="Read every byte, decode and hash every object.")] = False,
) -> None:
    """Check that the store is complete and undamaged; exit with 50 if not. Changes nothing."""
    session: Session = ctx.obj
    if quick and data:
        raise UsageError("`--quick` and `--data` exclude each other", hint="pass only one of them")

    from ptmtorrent.workflows.maintain.check import check as check_store

    level: Level = "quick" if quick else "data" if data else "normal"
    with stopping() as stop:
        checked = check_store(session.home, level, emit=session.emit, stop=stop)
    if checked.findings:
        session.sink.rows("damage", [_row(finding) for finding in checked.findings])
    session.report(checked.summary)
    if checked.summary.failed:
        from ptmtorrent.model.text import count

        hint = "repair: `ptmtorrent store repair --from CHANNEL`"
        raise IntegrityError(f"{count(checked.summary.failed, 'item')} damaged (see above)", hint=hint)


def _row(finding: object) -> dict[str, object]:
    names = ("pack", "what", "object", "offset", "bytes", "packages")
    return {name: getattr(finding, name) for name in names}
