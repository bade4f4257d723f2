"""What every verb gets: settings, the sink, the home, and a stop flag that signals set."""

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TYPE_CHECKING

from ptmtorrent.cli._output import Sink
from ptmtorrent.config import Settings, addresses_left, allow_open_files, load_settings, memory_left
from ptmtorrent.errors import ConfigError, Interrupted, PartialFailure, StoreError, out_of_memory
from ptmtorrent.paths import Home
from ptmtorrent.stop import Stop

if TYPE_CHECKING:
    from ptmtorrent.model.records import Event, Summary

INTERRUPTED_HINT = "run the same command again to resume"
RETRY_HINT = "run the same command again to retry what failed"

MIN_OPEN_FILES = 64
MIN_MEMORY_BYTES = 64 << 20
MIN_ADDRESSES = 256 << 20
"""With less, libraries of numbers end the process by themselves."""


class Session:
    """One run of the program. Settings are read when a verb first needs them, so that help needs none.

    `form` is the output format to use for errors before the settings are known.
    """

    def __init__(self, form: str) -> None:
        self.verbose = False
        self._flags: dict[str, str | int | None] = {}
        self._settings: Settings | None = None
        self._form = form
        self._sink: Sink | None = None
        self._summary: Summary | None = None
        self._errors = 0

    def take(self, name: str, value: str | bool | None) -> None:  # the value of a flag
        """Take a global option, from before or after the verb; the last one given wins."""
        if name == "verbose":
            self.verbose = self.verbose or bool(value)
        elif value is not None:
            self._flags[name] = value

    def has_flag(self, name: str) -> bool:
        """Return whether a global option was given."""
        return name in self._flags

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
        return self.last_sink

    def _load(self) -> Settings:
        if self._settings is None:
            _silence_libraries()
            _check_open_files()
            self._settings = load_settings(self._flags)
            self._form, self._sink = self._settings.format, None
        return self._settings

    @property
    def last_sink(self) -> Sink:
        """Where output goes, whether or not the settings could be read."""
        if self._sink is None:
            self._sink = new_sink(self._form)
        return self._sink

    def close(self) -> None:
        """Flush what was printed, if anything was."""
        if self._sink is not None:
            self._sink.close()

    @property
    def home(self) -> Home:
        """The folders of this home."""
        return Home(self.settings.home)

    def emit(self, event: "Event") -> None:
        """Show a record of a workflow, and keep the summary."""
        from ptmtorrent.model.records import Result, Summary

        if isinstance(event, Summary):
            self._summary = event
        if isinstance(event, Result) and event.status == "error":
            self._errors += 1
        self.sink.emit(event)

    def report(self, summary: "Summary") -> None:
        """Print the summary of a run, unless the workflow emitted one itself."""
        if self._summary is None:
            self.emit(summary)

    def finish(self, summary: "Summary | None" = None) -> None:
        """Print the summary of a run (None: the one that was emitted).

        Raises:
            PartialFailure: when packages failed.
        """
        if summary is not None:
            self.report(summary)
        last = self._summary
        if last is not None and last.failed:
            from ptmtorrent.model.text import count

            helps = self._errors if last.retryable is None else last.retryable
            raise PartialFailure(
                f"{last.failed:,} of {count(last.packages, last.unit)} failed (see above)",
                hint="; ".join(filter(None, (RETRY_HINT if helps else "", last.advice))) or None,
            )


def new_sink(form: str) -> Sink:
    """Return the sink for a format of `config.FORMATS`, on this process's stdout and stderr."""
    if form == "json":
        from ptmtorrent.cli._json import JsonSink

        return JsonSink(sys.stdout)
    if form == "quiet":
        from ptmtorrent.cli._quiet import QuietSink

        return QuietSink(sys.stdout, sys.stderr)
    from ptmtorrent.cli._human import HumanSink

    aligned = form == "human" or sys.stdout.isatty()
    return HumanSink(sys.stdout, sys.stderr, aligned=aligned, monotonic=time.monotonic)


@contextmanager
def stopping() -> Iterator[Stop]:
    """Yield a stop flag that the first SIGINT or SIGTERM sets; the second ends the process at once with 130.

    Raises:
        Interrupted: on leaving, when the work inside ended with `KeyboardInterrupt`.
    """
    stop = Stop()

    def on_signal(number: int, frame: FrameType | None) -> None:  # noqa: ARG001  # the shape signal handlers have
        if stop.is_set():
            _leave_at_once()
        stop.set()
        with suppress(OSError):
            os.write(2, b"\nstopping; press Ctrl-C again to stop at once\n")

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    except KeyboardInterrupt as error:
        raise Interrupted("interrupted", hint=INTERRUPTED_HINT) from error
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def ask_passphrase(settings: Settings, *, confirm: bool, declined: bool) -> bytes | None:
    """Return the passphrase of the private keys, from the environment or a prompt; None if `declined`.

    Raises:
        ConfigError: none given, and there is no terminal to prompt on.
    """
    if declined:
        return None
    if settings.key_passphrase is not None:
        return settings.key_passphrase.encode()
    if not sys.stdin.isatty():
        raise ConfigError(
            "the keys need a passphrase, and there is no terminal to prompt for it",
            hint="set `PTMTORRENT_KEY_PASSPHRASE`" + (", or pass `--no-passphrase`" if confirm else ""),
        )
    import typer

    asked: str = typer.prompt("Passphrase of the keys", hide_input=True, confirmation_prompt=confirm, err=True)
    return asked.encode()


def check_memory() -> None:
    """Refuse to start where libraries would end the process or crash for lack of memory.

    Raises:
        StoreError: naming what there is and what is needed.
    """
    for left, needed in ((memory_left(), MIN_MEMORY_BYTES), (addresses_left(), MIN_ADDRESSES)):
        if left < needed:
            raise out_of_memory(f"this process may take {left} more bytes, and needs {needed}")


def _check_open_files() -> None:
    files = allow_open_files()
    if files < MIN_OPEN_FILES:
        raise StoreError(
            f"this process may open {files} files, and needs {MIN_OPEN_FILES}",
            hint="raise the limit (`ulimit -n 4096`), then run the same command again",
        )


def _silence_libraries() -> None:
    """Keep log messages of libraries off stderr: without a handler, Python prints their warnings there."""
    import logging

    logger = logging.getLogger()
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())


def _leave_at_once() -> None:
    if sys.stderr.isatty():
        os.write(2, b"\x1b[?25h")  # a bar may have hidden the cursor
    os._exit(Interrupted.code)
