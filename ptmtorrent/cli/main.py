"""The program: global options, the verbs, and how a run ends.

Every verb is a module with a small Typer `app`; importing them all costs no more than Typer itself, because a verb
imports its workflow when it runs.
"""

import errno
import os
import re
import signal
import sys
import traceback
from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated

import typer

from ptmtorrent.cli import (
    auth,
    clone,
    config,
    demo,
    doctor,
    export,
    fetch,
    keys,
    publish,
    release,
    renew,
    seed,
    show,
    status,
    store,
    subsets,
    trust,
    verify,
)
from ptmtorrent.cli import list as list_
from ptmtorrent.cli._output import new_sink
from ptmtorrent.cli._session import INTERRUPTED_HINT, Session
from ptmtorrent.config import format_asked
from ptmtorrent.errors import Interrupted, NoSpace, PtmError, UsageError

VERBS = (
    fetch,
    list_,
    show,
    subsets,
    export,
    verify,
    clone,
    release,
    publish,
    keys,
    seed,
    store,
    renew,
    trust,
    auth,
    config,
    status,
    doctor,
    demo,
)
GLOBAL_OPTIONS = ("--home", "--format")


class Format(StrEnum):
    """How to print; the choices of `config.FORMATS`."""

    AUTO = "auto"
    HUMAN = "human"
    JSON = "json"
    QUIET = "quiet"


app = typer.Typer(name="ptmtorrent", no_args_is_help=True, pretty_exceptions_enable=False)
for verb in VERBS:
    app.add_typer(verb.app)


def _print_version(wanted: bool) -> None:
    if wanted:
        from ptmtorrent import __version__

        typer.echo(f"ptmtorrent {__version__}")
        raise typer.Exit


@app.callback(epilog="Example: ptmtorrent --format json fetch --subset popular --to models")
def prepare(
    ctx: typer.Context,
    home: Annotated[
        str | None, typer.Option(metavar="DIR", help="Where store, keys and state lie [PTMTORRENT_HOME].")
    ] = None,
    form: Annotated[Format | None, typer.Option("--format", help="How to print [PTMTORRENT_FORMAT].")] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show where an error came from.")] = False,
    version: Annotated[  # noqa: ARG001  # acts in its callback
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Signed, compressed, complete copies of pre-trained model packages: make them, share them, fetch any part."""
    session: Session = ctx.obj
    session.prepare(home=home, form=form, verbose=verbose)


def main() -> None:
    """Run the program and end the process with its exit code."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what ends on Ctrl-C cleans up on this too
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # started with it closed
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115  # open until the end
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run the program on `arguments`; return the exit code (DESIGN section 7). Nothing escapes but `SystemExit`."""
    session = Session(new_sink(format_asked(arguments)))
    session.verbose = "-v" in arguments or "--verbose" in arguments
    try:
        code = _invoke(arguments, session)
        session.last_sink.close()
    except PtmError as error:
        return _fail(session, error)
    except KeyboardInterrupt:
        return _fail(session, _interrupted())
    except BrokenPipeError:
        return _hush()
    except Exception as error:  # noqa: BLE001  # the last net: every run ends with a message and a code
        return _fail(session, _unexpected(error))
    return code


def _invoke(arguments: Sequence[str], session: Session) -> int:
    command = typer.main.get_command(app)
    try:
        code = command.main(args=list(arguments), prog_name="ptmtorrent", standalone_mode=False, obj=session)
    except typer.Abort as error:
        raise _interrupted() from error
    except typer.TyperException as error:
        if not error.format_message().strip():  # nothing was asked, and the help has been printed
            return UsageError.code
        raise _usage(error, arguments) from error
    if code == Interrupted.code:  # Typer's own handling of Ctrl-C
        raise _interrupted()
    return code if isinstance(code, int) else 0


def _usage(error: typer.TyperException, arguments: Sequence[str]) -> UsageError:
    message = re.sub(r"'([^']*)'", r"`\1`", error.format_message().strip().replace("Value error, ", ""))
    option = message.removeprefix("No such option: ").split()[0]
    if option in GLOBAL_OPTIONS:
        return UsageError(message, hint=f"`{option}` goes before the verb: ptmtorrent {option} ... VERB")
    return UsageError(message, hint=f"see `{' '.join(['ptmtorrent', *_verb(arguments), '--help'])}`")


def _verb(arguments: Sequence[str]) -> list[str]:
    """Return the verb that was typed, with its second word where it has one."""
    at = next((place for place, argument in enumerate(arguments) if argument in _verb_names()), None)
    if at is None:
        return []
    groups = {str(info.name): info.typer_instance for verb in VERBS for info in verb.app.registered_groups}
    inner = groups.get(arguments[at])
    second = {command.name for command in inner.registered_commands} if inner else set()
    return list(arguments[at : at + 2]) if set(arguments[at + 1 : at + 2]) & second else [arguments[at]]


def _verb_names() -> set[str]:
    commands = {
        info.name or getattr(info.callback, "__name__", "") for verb in VERBS for info in verb.app.registered_commands
    }
    groups = {str(info.name) for verb in VERBS for info in verb.app.registered_groups}
    return commands | groups


def _interrupted() -> Interrupted:
    return Interrupted("interrupted", hint=INTERRUPTED_HINT)


def _unexpected(error: Exception) -> PtmError:
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
        place = f" at `{error.filename}`" if error.filename else ""
        full = NoSpace(f"the disk is full{place}", hint="make room, then run the same command again")
        full.__cause__ = error
        return full
    ours = PtmError(
        f"unexpected {type(error).__name__}: {error}", hint="run it again with `ptmtorrent -v` to see where"
    )
    ours.__cause__ = error
    return ours


def _fail(session: Session, error: PtmError) -> int:
    try:
        session.last_sink.error(error)
        session.last_sink.close()
        if session.verbose:
            traceback.print_exception(error, file=sys.stderr)
    except BrokenPipeError:
        return _hush()
    except OSError:  # stdout cannot be written, which may be what the error is about
        sys.stderr.write(f"error: {error.message}\n")
        _hush()
    return error.code


def _hush() -> int:
    """Send what is left to nowhere: whoever read our output has gone."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    return 1
