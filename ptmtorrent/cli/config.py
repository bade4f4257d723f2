"""`config show`: every setting and its origin."""

from dataclasses import fields

import typer

from ptmtorrent import config
from ptmtorrent.cli._session import Session

SECRETS = tuple(name for name, _ in config.SECRETS)
NAMES = tuple(field.name for field in fields(config.Settings) if field.name not in {*SECRETS, "origins"})

app = typer.Typer()
verbs = typer.Typer(help="Show the settings.", no_args_is_help=True)
app.add_typer(verbs, name="config")


@verbs.command("show", epilog="Example: ptmtorrent config show")
def show(ctx: typer.Context) -> None:
    """Show every setting with its value and origin; secrets are shown only as set or not."""
    session: Session = ctx.obj
    settings = session.settings
    values: dict[str, object] = {name: getattr(settings, name) for name in NAMES}
    values["channel"] = None if settings.channel is None else str(settings.channel)
    values.update({name: "set" if getattr(settings, name) else None for name in SECRETS})
    rows = [{"setting": name, "value": value, "origin": settings.origins[name]} for name, value in values.items()]
    session.sink.rows("setting", rows)
