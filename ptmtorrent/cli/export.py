"""`export`: metadata of captured packages or of a release, in a format that other tools read."""

from enum import StrEnum
from typing import Annotated

import typer

from ptmtorrent.cli._completion import complete_kinds
from ptmtorrent.cli._options import ReleaseOption, open_requested, parse_choices
from ptmtorrent.cli._session import Session, stopping
from ptmtorrent.errors import UsageError

app = typer.Typer()


class Shape(StrEnum):
    """Formats of an export."""

    PTMTORRENT_JSON = "ptmtorrent-json"
    MODEL_SIGNING = "model-signing"
    IN_TOTO = "in-toto"
    SUMS = "sums"


@app.command(epilog="Example: ptmtorrent export ptmtorrent-json --to metadata")
def export(
    ctx: typer.Context,
    shape: Annotated[Shape, typer.Argument(metavar="FORMAT", help="ptmtorrent-json, model-signing, in-toto or sums.")],
    to: Annotated[str, typer.Option("--to", metavar="PATH", help="Folder to write into.")],
    channel: Annotated[
        str | None,
        typer.Option("--channel", metavar="LOC", help="Export a release of this channel (default: what was captured)."),
    ] = None,
    release: ReleaseOption = None,
    only: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KINDS",
            help="model-signing: only these: weights, docs, config, code, metadata.",
            autocompletion=complete_kinds,
        ),
    ] = None,
) -> None:
    """Write metadata of packages as JSON, or what others check a release with by their own tools.

    `model-signing` writes a signed bundle for each package of a release, `in-toto` a signed statement on all captures,
    `sums` lists of hashes. They read no pack, and sign with the key `attest.pem` of this home, made when it is missing.
    """
    session: Session = ctx.obj
    if only and shape is not Shape.MODEL_SIGNING:
        raise UsageError("`--only` is for `model-signing`", hint="omit it")
    if shape is not Shape.PTMTORRENT_JSON:
        _attest(session, shape, to, channel, release, only)
        return

    from ptmtorrent.errors import PartialFailure
    from ptmtorrent.model.locations import parse_folder
    from ptmtorrent.model.text import count
    from ptmtorrent.workflows.export import export as export_captured

    folder = parse_folder(to, "--to")
    with stopping() as stop:
        opened = None if channel is None and release is None else open_requested(session, channel, release, stop)
        packages, failed = export_captured(session.home, folder, emit=session.emit, channel=opened)
    session.sink.rows("export", [{"folder": str(folder), "packages": packages, "failed": failed}])
    if failed:
        raise PartialFailure(f"{failed:,} of {count(packages + failed, 'package')} failed (see above)")


def _attest(  # the options of the verb
    session: Session, shape: Shape, to: str, channel: str | None, release: str | None, only: list[str] | None
) -> None:
    from ptmtorrent.errors import PartialFailure
    from ptmtorrent.model.kinds import FILE_KINDS
    from ptmtorrent.model.locations import parse_folder
    from ptmtorrent.model.text import count
    from ptmtorrent.trust.attester import load_attester
    from ptmtorrent.workflows import attestations

    folder, kinds = parse_folder(to, "--to"), parse_choices(only, FILE_KINDS, "--only")
    passphrase = session.settings.key_passphrase
    with stopping() as stop:
        opened = open_requested(session, channel, release, stop)
        if shape is Shape.SUMS:
            written = attestations.export_sums(opened, folder, emit=session.emit)
        else:
            attester = load_attester(session.home.keys, lambda: passphrase.encode() if passphrase else None)
            if shape is Shape.IN_TOTO:
                written = attestations.export_in_toto(opened, folder, attester)
            else:
                written = attestations.export_model_signing(opened, folder, attester, kinds, emit=session.emit)
    session.sink.rows("export", [{"folder": str(folder), "packages": written.packages, "failed": written.failed}])
    if written.failed:
        raise PartialFailure(f"{written.failed:,} of {count(sum(written), 'package')} failed (see above)")
