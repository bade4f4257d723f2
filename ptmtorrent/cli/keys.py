"""`keys`: the private keys that sign releases."""

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ptmtorrent.cli._session import Session, ask_passphrase
from ptmtorrent.paths import Home

if TYPE_CHECKING:
    from ptmtorrent.trust.keys import Keys
    from ptmtorrent.workflows.keys.staging import Staged

app = typer.Typer()
verbs = typer.Typer(help="Create, show and replace the keys that sign releases.", no_args_is_help=True)
app.add_typer(verbs, name="keys")


@verbs.command("init", epilog="Example: ptmtorrent keys init")
def init(
    ctx: typer.Context,
    threshold: Annotated[int, typer.Option(help="Root keys that must sign a change of keys.", metavar="N")] = 2,
    root_keys: Annotated[int, typer.Option("--root-keys", help="Root keys to create.", metavar="N")] = 3,
    no_passphrase: Annotated[bool, typer.Option("--no-passphrase", help="Store the keys unencrypted.")] = False,
) -> None:
    """Create the root keys, one key for each other role and a minisign key, encrypted with a passphrase.

    The passphrase is read from PTMTORRENT_KEY_PASSPHRASE, or asked for.
    """
    session: Session = ctx.obj

    from ptmtorrent.trust.keys import ROLES, init_keys

    passphrase = ask_passphrase(session.settings, confirm=True, declined=no_passphrase)
    init_keys(session.home.keys, passphrase, root_keys=root_keys, threshold=threshold)
    session.sink.rows("key", [{"role": role, "folder": str(session.home.keys)} for role in (*ROLES, "minisign")])


@verbs.command("rotate", epilog="Example: ptmtorrent keys rotate timestamp")
def rotate(  # the options of the verb
    ctx: typer.Context,
    role: Annotated[str, typer.Argument(metavar="ROLE", help="`root`, `targets`, `snapshot` or `timestamp`.")],
    keys: Annotated[int | None, typer.Option(help="Keys to create (default: as many as now).", metavar="N")] = None,
    threshold: Annotated[
        int | None, typer.Option(help="Keys that must sign (default: as many as now).", metavar="N")
    ] = None,
    signer: Annotated[
        str | None,
        typer.Option(help="Use a key elsewhere: its URI, as securesystemslib has it.", metavar="URI"),
    ] = None,
    public_key: Annotated[
        Path | None, typer.Option("--public-key", help="Its public key, a PEM file.", metavar="FILE")
    ] = None,
) -> None:
    """Replace the keys of a role; then publish a release to distribute the change."""
    session: Session = ctx.obj

    from ptmtorrent.errors import UsageError
    from ptmtorrent.model.moments import read_clock
    from ptmtorrent.trust.keys import ROLES
    from ptmtorrent.workflows.keys.rotate import Rotation
    from ptmtorrent.workflows.keys.rotate import rotate as run

    if role not in ROLES:
        raise UsageError(f"`{role}` is not a role", hint=f"give one of {', '.join(ROLES)}")
    request = Rotation(role=role, keys=keys, threshold=threshold, signer=signer, public_key=public_key)
    _report(session, run(session.home, _load(session), request, clock=read_clock))


@verbs.command("revoke", epilog="Example: ptmtorrent keys revoke 3336b222")
def revoke(
    ctx: typer.Context,
    key: Annotated[str, typer.Argument(metavar="KEY", help="Id of the key, or the start of it: see `keys show`.")],
) -> None:
    """Replace one key that was lost or stolen; then publish a release to distribute the change."""
    session: Session = ctx.obj

    from ptmtorrent.model.moments import read_clock
    from ptmtorrent.workflows.keys.revoke import revoke as run

    _report(session, run(session.home, _load(session), key, clock=read_clock))


@verbs.command("sign", epilog="Example: ptmtorrent keys sign 2.root.json")
def sign(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Change of keys that waits for signatures.")],
) -> None:
    """Add the signatures of this home's root keys to a change of keys; publish it at its home once they suffice."""
    session: Session = ctx.obj

    from ptmtorrent.model.moments import read_clock
    from ptmtorrent.workflows.keys.sign import sign as run

    staged = run(session.home, file, lambda: _passphrase(session), clock=read_clock)
    if staged is None:
        session.sink.rows("root", [{"status": "signed", "file": str(file)}])
        return
    _report(session, staged)


@verbs.command("show", epilog="Example: ptmtorrent keys show --fingerprint")
def show(
    ctx: typer.Context,
    fingerprint: Annotated[bool, typer.Option("--fingerprint", help="Print only the fingerprint.")] = False,
) -> None:
    """Show the fingerprint of this home's channel, when its roles expire, and the ids of their keys."""
    session: Session = ctx.obj

    from ptmtorrent.channel.paths import FIRST_ROOT
    from ptmtorrent.trust.fingerprints import fingerprint as fingerprint_of

    if not (session.home.channel / FIRST_ROOT).is_file():
        session.sink.rows("key", [_before_release(session.home, fingerprint=fingerprint)])
        return
    row = {"fingerprint": fingerprint_of(session.home.channel)}
    if fingerprint:
        session.sink.rows("key", [row])
        return

    from ptmtorrent.model.moments import read_clock
    from ptmtorrent.trust.channel_state import read_expiries, read_role_keys
    from ptmtorrent.trust.expiry import RENEW_HINT, spell_expiry

    now: datetime = read_clock()
    expiries = read_expiries(session.home.channel)
    dates = {f"{role}_expires": spell_expiry(role, moment, now, hint=RENEW_HINT) for role, moment in expiries.items()}
    session.sink.rows("key", [{**row, **dates, "folder": str(session.home.keys)}])
    rows = [
        {"role": role, "signatures": str(needed), "key": keyid}
        for role, (needed, keyids) in read_role_keys(session.home.channel).items()
        for keyid in keyids
    ]
    session.sink.rows("role_key", rows)


def _before_release(home: Home, *, fingerprint: bool) -> dict[str, str | None]:
    """Return the row of a home whose channel has no first root yet, and so no fingerprint.

    Raises:
        NotFound: it has no keys either, or the `fingerprint` alone was asked for.
    """
    from ptmtorrent.errors import NotFound
    from ptmtorrent.trust.keys import roles_at_hand

    roles = roles_at_hand(home.keys)
    if not roles:
        raise NotFound(f"`{home.root}` has no keys", hint="create them: ptmtorrent keys init")
    if fingerprint:
        raise NotFound(
            f"the channel of `{home.root}` has no fingerprint yet",
            hint="the first release makes it: ptmtorrent release NAME",
        )
    return {"fingerprint": None, "roles": ", ".join(roles), "folder": str(home.keys)}


def _passphrase(session: Session) -> bytes | None:
    return ask_passphrase(session.settings, confirm=False, declined=False)


def _load(session: Session) -> "Keys":
    from ptmtorrent.trust.keys import load_keys

    return load_keys(session.home.keys, lambda: _passphrase(session), all_roles=False)


def _report(session: Session, staged: "Staged") -> None:
    """Print what became of a next root, and what to do next."""
    from ptmtorrent.model.records import Note

    have = staged.signatures
    if staged.file is None:
        message = f"root {have.version} is in your channel; distribute it: ptmtorrent publish RELEASE --to LOC"
    else:
        message = (
            f"root {have.version} is signed by {have.spell()}, and nothing has changed yet; pass `{staged.file}` to "
            "another holder of a root key, to run: ptmtorrent keys sign FILE; run that here with the file you get back"
        )
    status = "published" if staged.file is None else "waits"
    session.emit(Note(message=message))
    session.sink.rows("root", [{"version": str(have.version), "status": status, "file": str(staged.file or "")}])
