"""`doctor`: whether this installation has what it needs."""

import typer

from ptmtorrent.cli._session import Session
from ptmtorrent.errors import ConfigError

app = typer.Typer()


@app.command(epilog="Example: ptmtorrent doctor")
def doctor(ctx: typer.Context) -> None:
    """Check Python, the libraries, the sample channel and the disk; exit with 10 if something required is missing."""
    session: Session = ctx.obj

    from ptmtorrent.workflows.doctor import doctor as check_installation

    checks = check_installation(session.home)
    session.sink.rows("check", [{"check": check.name, "ok": check.ok, "found": check.found} for check in checks])
    missing = [f"`{check.name}`" for check in checks if not check.ok]
    if missing:
        raise ConfigError(f"{', '.join(missing)} cannot be used", hint="reinstall: `pip install --upgrade ptmtorrent`")
