"""`show`: one package, and its files."""

from typing import Annotated

import typer

from ptmtorrent.cli._completion import complete_packages
from ptmtorrent.cli._options import ChannelOption, ReleaseOption, open_requested
from ptmtorrent.cli._session import Session, stopping
from ptmtorrent.cli._text import Size, finding_row

app = typer.Typer()


@app.command(epilog="Example: ptmtorrent show hf:org/name")
def show(
    ctx: typer.Context,
    package: Annotated[
        str, typer.Argument(metavar="PACKAGE", help="Such as hf:org/name.", autocompletion=complete_packages)
    ],
    channel: ChannelOption = None,
    release: ReleaseOption = None,
) -> None:
    """Show a package of a release: licence, task, origin, its files with size, kind and SHA-256, and findings.

    A finding says what a file does when it is loaded. That there is none says only that the scanners found nothing.
    """
    session: Session = ctx.obj

    from ptmtorrent.model.ids import parse_package_name
    from ptmtorrent.model.kinds import file_kind
    from ptmtorrent.workflows.show import show as read_package

    name = parse_package_name(package)
    with stopping() as stop:
        facts, manifest, findings = read_package(open_requested(session, channel, release, stop), name)
    kind = "commit" if facts.commit is not None else "version" if facts.version is not None else "revision"
    row = {
        "package": facts.package,
        "title": facts.title,
        kind: facts.revision or manifest.package.commit,
        "owner": facts.owner,
        "licence": facts.licence,
        "rights": facts.rights,
        "task": facts.task,
        "downloads": facts.downloads,
        "modified": facts.modified,
        "captured": facts.captured,
        "url": facts.url,
        "files": facts.files,
        "bytes": Size(facts.bytes),
        "missing": facts.missing,
        "snapshot": facts.snapshot,
    }
    session.sink.record("package", row)
    files = [
        {"file": file.name, "bytes": Size(file.size), "kind": file_kind(file.name, file.size), "sha256": file.sha256}
        for file in manifest.files
    ]
    session.sink.rows("file", files)
    missing = [
        {
            "file": file.name,
            "bytes": None if file.size is None else Size(file.size),
            "id": file.oid,
            "reason": file.reason,
        }
        for file in manifest.missing
    ]
    if missing:
        session.sink.rows("missing", missing)
    if findings:
        session.sink.rows("finding", [finding_row(finding) for finding in findings])
