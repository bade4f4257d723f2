"""What every verb is given: settings, the sink, the home, and a way to be asked to stop."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TYPE_CHECKING, cast

from ptmtorrent.cli._output import Sink, new_sink
from ptmtorrent.config import Settings, load_settings
from ptmtorrent.errors import ConfigError, Interrupted, PartialFailure
from ptmtorrent.paths import Home
from ptmtorrent.stop import Stop

if TYPE_CHECKING:
    from ptmtorrent.model.records import Event, Summary

INTERRUPTED_HINT = "run the same command again: it goes on where it stopped"


class Session:
    """One run of the program. Settings are read when a verb first needs them, so that help needs none."""

    def __init__(self, first_sink: Sink) -> None:
        self.verbose = False
        self._flags: dict[str, str | int | None] = {}
        self._settings: Settings | None = None
        self._sink = first_sink
        self._summary: Summary | None = None

    def prepare(self, *, home: str | None, form: str | None, verbose: bool) -> None:
        """Take the global options."""
        self.verbose = verbose
        self._flags = {"home": home, "format": form}
        _hush_libraries()

    @property
    def settings(self) -> Settings:
        """The settings in force.

        Raises:
            ConfigError: a setting is malformed.
        """
        return self._load()

    @property
    def sink(self) -> Sink:
        """Where output goes, in the format of the settings."""
        self._load()
        return self._sink

    def _load(self) -> Settings:
        if self._settings is None:
            self._settings = load_settings(self._flags)
            self._sink = new_sink(self._settings.format)
        return self._settings

    @property
    def last_sink(self) -> Sink:
        """Where output goes when the settings may be what is wrong."""
        return self._sink

    @property
    def home(self) -> Home:
        """The folders of this home."""
        return Home(self.settings.home)

    def emit(self, event: "Event") -> None:
        """Show a record of a workflow, and remember its last word."""
        if type(event).__name__ == "Summary":
            self._summary = cast("Summary", event)
        self.sink.emit(event)

    def report(self, summary: "Summary") -> None:
        """Print the last word of a run, unless the workflow has said it itself."""
        if self._summary is None:
            self.emit(summary)

    def finish(self, summary: "Summary | None" = None) -> None:
        """Print the last word of a run; None: the one that was emitted.

        Raises:
            PartialFailure: when packages failed.
        """
        if summary is not None:
            self.report(summary)
        last = self._summary
        if last is not None and last.failed:
            raise PartialFailure(
                f"{last.failed} of {last.packages} packages failed; the reasons are above",
                hint="run the same command again to try only what is missing",
            )


@contextmanager
def stopping() -> Iterator[Stop]:
    """Give an event that the first SIGINT or SIGTERM sets; the second ends the process at once with 130.

    Raises:
        Interrupted: on leaving, when the work inside ended with `KeyboardInterrupt`.
    """
    stop = Stop()

    def on_signal(number: int, frame: FrameType | None) -> None:  # noqa: ARG001  # the shape signal handlers have
        if stop.is_set():
            _leave_at_once()
        stop.set()
        with suppress(OSError):
            os.write(2, b"\nstopping; once more to stop at once\n")

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    except KeyboardInterrupt as error:
        raise Interrupted("interrupted", hint=INTERRUPTED_HINT) from error
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def ask_passphrase(settings: Settings, *, confirm: bool, none_wanted: bool) -> bytes | None:
    """Return the passphrase of the private keys: declined, from the environment, or asked for on a terminal.

    Raises:
        ConfigError: none given, and there is nobody to ask.
    """
    if none_wanted:
        return None
    if settings.key_passphrase is not None:
        return settings.key_passphrase.encode()
    if not sys.stdin.isatty():
        raise ConfigError(
            "the keys need a passphrase, and there is no terminal to ask for it",
            hint="set PTMTORRENT_KEY_PASSPHRASE" + (", or decline it with --no-passphrase" if confirm else ""),
        )
    import typer

    asked: str = typer.prompt("Passphrase of the keys", hide_input=True, confirmation_prompt=confirm, err=True)
    return asked.encode()


def _hush_libraries() -> None:
    """What libraries log is not what this program says: without a handler, Python prints their warnings on stderr."""
    import logging

    logger = logging.getLogger()
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())


def _leave_at_once() -> None:
    if sys.stderr.isatty():
        os.write(2, b"\x1b[?25h")  # a bar may have hidden the cursor
    os._exit(Interrupted.code)
