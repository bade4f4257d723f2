"""The program: global options, the verbs, and how a run ends.

Every verb is a module with a small Typer `app`. A verb imports its workflow when it runs, so importing all verbs costs
no more than Typer itself.
"""

import codecs
import errno
import locale
import os
import re
import signal
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ptmtorrent.cli import (
    auth,
    captured,
    clone,
    config,
    demo,
    doctor,
    export,
    fetch,
    keys,
    publish,
    release,
    releases,
    renew,
    seed,
    show,
    status,
    store,
    subsets,
    trust,
    verify,
    withdraw,
)
from ptmtorrent.cli import list as list_
from ptmtorrent.cli._options import HELP_OPTIONS, spread_globals
from ptmtorrent.cli._session import INTERRUPTED_HINT, Session, check_memory
from ptmtorrent.config import requested_format
from ptmtorrent.errors import Interrupted, NoSpace, PtmError, UsageError, shortage_of
from ptmtorrent.scrub import escape, printable, scrub

VERBS = (
    fetch,
    list_,
    show,
    subsets,
    releases,
    export,
    verify,
    clone,
    captured,
    release,
    publish,
    withdraw,
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
PROGRAM = "ptmtorrent"
UTF8 = "utf-8"


class Format(StrEnum):
    """Output formats; the choices of `config.FORMATS`."""

    AUTO = "auto"
    HUMAN = "human"
    JSON = "json"
    QUIET = "quiet"


app = typer.Typer(
    name=PROGRAM,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": list(HELP_OPTIONS)},
)
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
        str | None, typer.Option(metavar="DIR", help="Folder of store, keys and state [PTMTORRENT_HOME].")
    ] = None,
    form: Annotated[Format | None, typer.Option("--format", help="Output format [PTMTORRENT_FORMAT].")] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show the traceback of an error.")] = False,
    version: Annotated[  # noqa: ARG001  # acts in its callback
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Signed, compressed, complete copies of pre-trained model packages: make, share and fetch them."""
    check_memory()
    session: Session = ctx.obj
    for name, value in {"home": home, "format": form, "verbose": verbose}.items():
        session.take(name, value)


def main() -> None:
    """Run the program and end the process with its exit code."""
    enter_utf8_mode()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # SIGTERM cleans up as Ctrl-C does
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # started with it closed
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115  # open until the end
    sys.exit(run(sys.argv[1:]))


def enter_utf8_mode() -> None:
    """Start this process again in Python's UTF-8 mode, unless names are UTF-8 already; then print as the locale says.

    In a locale of another encoding Python would decode names of files by that, so a package would be laid out under
    other names than elsewhere, or not at all.
    """
    if sys.getfilesystemencoding() != UTF8:
        os.environ["PYTHONUTF8"] = "1"  # also for the workers of a clone
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])  # noqa: S606  # this program
    if sys.flags.utf8_mode and "PYTHONIOENCODING" not in os.environ:
        print_in(locale.getencoding())


def print_in(code: str) -> None:
    """Let the standard streams have the encoding `code`."""
    with suppress(LookupError):
        encoding = codecs.lookup(code).name
        for stream in (sys.stdin, sys.stdout, sys.stderr):
            if encoding != UTF8 and hasattr(stream, "reconfigure"):
                stream.reconfigure(encoding=encoding)


def run(arguments: Sequence[str]) -> int:
    """Run the program on `arguments`; return the exit code (DESIGN section 7). Nothing escapes but `SystemExit`."""
    session = Session(requested_format(arguments))
    session.verbose = "-v" in arguments or "--verbose" in arguments
    try:
        code = _invoke(arguments, session)
        session.close()
    except PtmError as error:
        return _fail(session, _short(error) or error)
    except MemoryError as error:
        return _fail(session, _unexpected(error))
    except KeyboardInterrupt:
        return _fail(session, _interrupted())
    except BrokenPipeError:
        return _hush()
    except Exception as error:  # noqa: BLE001  # every run ends with a message and a code
        return _fail(session, _unexpected(error))
    return code


def _invoke(arguments: Sequence[str], session: Session) -> int:
    command = typer.main.get_command(app)
    spread_globals(command)
    try:
        code = command.main(args=list(arguments), prog_name=PROGRAM, standalone_mode=False, obj=session)
    except typer.Abort as error:
        raise _interrupted() from error
    except typer.TyperException as error:
        if not error.format_message().strip():  # without a verb the help was printed
            return UsageError.code
        raise _usage(error) from error
    if code == Interrupted.code:  # Typer's own handling of Ctrl-C
        raise _interrupted()
    return code if isinstance(code, int) else 0


def _usage(error: typer.TyperException) -> UsageError:
    """Return a usage error whose hint is the help of the verb that failed."""
    message = re.sub(r"'([^']*)'", r"`\1`", error.format_message().strip().replace("Value error, ", ""))
    context = getattr(error, "ctx", None)
    names = [str(context.info_name) for context in _chain(context)] or [PROGRAM]
    return UsageError(message, hint=f"see `{' '.join([*names, '--help'])}`")


def _chain(context: typer.Context | None) -> list[typer.Context]:
    return [*_chain(getattr(context, "parent", None)), context] if context is not None else []


def _interrupted() -> Interrupted:
    return Interrupted("interrupted", hint=INTERRUPTED_HINT)


def _short(error: Exception) -> PtmError | None:
    """Return the error of a run that lacked memory or open files, whatever it failed with because of that."""
    short = shortage_of(error)
    if short is not None:
        short.__cause__ = error
    return short


def _unexpected(error: Exception) -> PtmError:
    if short := _short(error):
        return short
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
        place = f" at `{error.filename}`" if error.filename else ""
        full = NoSpace(f"the disk is full{place}", hint="free some space, then run the same command again")
        full.__cause__ = error
        return full
    if isinstance(error, OSError) and isinstance(error.filename, str | bytes):
        from ptmtorrent.disk.durable import disk_error

        refused = disk_error(error, Path(os.fsdecode(error.filename)))
        refused.__cause__ = error
        return refused
    ours = PtmError(f"unexpected {type(error).__name__}: {error}", hint="run it again with `-v` to see the traceback")
    ours.__cause__ = error
    return ours


def _fail(session: Session, error: PtmError) -> int:
    try:
        session.last_sink.error(error)
        session.last_sink.close()
        if session.verbose:
            text = scrub("".join(traceback.format_exception(error)))
            sys.stderr.write(printable(escape(text, keep="\n"), sys.stderr))
    except BrokenPipeError:
        return _hush()
    except OSError:  # stdout or stderr cannot be written, which may be the cause of the error
        with suppress(OSError):
            sys.stderr.write(f"error: {printable(escape(error.message), sys.stderr)}\n")
        _hush()
    return error.code


def _hush() -> int:
    """Redirect remaining output to nowhere: the reader of stdout has closed it."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    return 1
