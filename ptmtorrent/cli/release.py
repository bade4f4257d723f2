"""`release`: write a named, signed release of the store into the home's own channel."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from typer.core import TyperCommand

from ptmtorrent.cli._options import parse_choices
from ptmtorrent.cli._session import Session, ask_passphrase
from ptmtorrent.cli._text import Size
from ptmtorrent.errors import UsageError

app = typer.Typer()


class Redistributed(StrEnum):
    """Rights classes that a release leaves out by default."""

    RESTRICTED = "restricted"
    UNKNOWN = "unknown"
    GATED = "gated"


class _Release(TyperCommand):
    """`release NAME`, whose usage line shows `release delete NAME` too."""

    def collect_usage_pieces(self, ctx: object) -> list[str]:  # noqa: ARG002  # as the base class calls it
        """Return the parts of the usage line after the command's name."""
        return ["[OPTIONS]", "NAME | delete NAME"]


@app.command(cls=_Release, epilog="Example: ptmtorrent release 2026.11")
def release(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Such as 2026.11.")],
    include: Annotated[
        list[str] | None,
        typer.Option(metavar="CLASS", help="Also include packages that are restricted, unknown, gated."),
    ] = None,
    policy: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="TOML with decisions and subsets (default: the previous release's)."),
    ] = None,
    allow_incomplete: Annotated[
        bool,
        typer.Option("--allow-incomplete", help="Also include packages some of whose files were not captured."),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be included and left out; write nothing.")
    ] = False,
    deleted: Annotated[str | None, typer.Argument(metavar="", hidden=True)] = None,
) -> None:
    """Make a signed release of every captured package whose licence allows redistribution.

    `release delete NAME` deletes a release that is published nowhere.
    """
    session: Session = ctx.obj
    if name == "delete" or deleted is not None:
        _delete(session, name, deleted)
        return

    from ptmtorrent.channel.paths import release_folder
    from ptmtorrent.facts.licences import RightsClass
    from ptmtorrent.model.ids import parse_release_name
    from ptmtorrent.model.moments import read_clock
    from ptmtorrent.model.records import Event, Result
    from ptmtorrent.trust.keys import load_keys
    from ptmtorrent.workflows.release.dry_run import plan_release
    from ptmtorrent.workflows.release.policy import read_policy
    from ptmtorrent.workflows.release.release import release as run

    def emit(event: Event) -> None:
        if not isinstance(event, Result) or event.kind == "package":  # the row below has the content of the release's
            session.emit(event)

    classes: frozenset[RightsClass] = frozenset(
        each.value for each in parse_choices(include, tuple(Redistributed), "--include")
    )
    release_name = parse_release_name(name)
    keys = load_keys(session.home.keys, lambda: ask_passphrase(session.settings, confirm=False, declined=False))
    decisions = None if policy is None else read_policy(policy)
    if dry_run:
        plan_release(
            release_name,
            session.home,
            keys,
            emit=emit,
            include=classes,
            policy=decisions,
            allow_incomplete=allow_incomplete,
        )
        session.finish()
        return
    made = run(
        release_name,
        session.home,
        keys,
        clock=read_clock,
        emit=emit,
        include=classes,
        policy=decisions,
        allow_incomplete=allow_incomplete,
    )
    row = {
        "name": made.name,
        "content_root": f"b3:{made.content_root}",
        "sequence": made.sequence,
        "packages": made.totals.packages,
        "files": made.totals.files,
        "bytes": Size(made.totals.raw),
        "stored": Size(made.totals.stored),
        "folder": str(session.home.channel / release_folder(made.name)),
    }
    session.sink.rows("release", [row])
    session.finish()


def _delete(session: Session, verb: str, name: str | None) -> None:
    if verb != "delete" or name is None:
        message = f"`{name}` is one argument too many" if verb != "delete" else "`release delete` needs a name"
        raise UsageError(message, hint="ptmtorrent release NAME, or ptmtorrent release delete NAME")

    from ptmtorrent.model.ids import parse_release_name
    from ptmtorrent.model.moments import read_clock
    from ptmtorrent.trust.keys import load_keys
    from ptmtorrent.workflows.release.delete import delete_release

    release_name = parse_release_name(name)
    keys = load_keys(session.home.keys, lambda: ask_passphrase(session.settings, confirm=False, declined=False))
    session.finish(delete_release(release_name, session.home, keys, clock=read_clock, emit=session.emit))
