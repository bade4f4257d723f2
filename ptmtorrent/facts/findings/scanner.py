"""Starts the child that scans, feeds it the files of packages, and ends it when it exceeds its time.

One child serves many packages. A child that ends while it scans a package costs that package's scan: the finding says
that a scanner could not read it. The next package gets a new child.
"""

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from ptmtorrent.facts.findings.child import HEAD
from ptmtorrent.facts.findings.found import TOOL
from ptmtorrent.facts.findings.scan import needs_scan
from ptmtorrent.model.containers.source import ByteSource
from ptmtorrent.model.findings import Finding, Scan, clip, new_scan

WALL_SECONDS = 300.0
"""Limit of time of one package: a child that waits uses no processor time."""

MAX_MESSAGE = 4 << 20
MAX_ASKED = 64 << 20
"""Limit of one range that a child may ask for."""

MAX_PACKAGES = 2_000
"""Packages of one child; then a new one is started, so that nothing adds up."""


class _Ended(Exception):
    """The child ended, or has to be ended; the text says why."""


class _Answer(msgspec.Struct):
    read: tuple[int, int, int] | None = None
    scan: Scan | None = None


class Scanner:
    """A child that scans packages, started when the first package needs it. Used by one thread.

    With `wide` all scanners that are installed look, also those that give more false alarms.
    """

    def __init__(self, *, wide: bool = False) -> None:
        self._wide = wide
        self._child: subprocess.Popen[bytes] | None = None
        self._served = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the child."""
        child, self._child = self._child, None
        if child is not None:
            for stream in (child.stdin, child.stdout):
                if stream is not None:
                    with suppress(OSError):
                        stream.close()
            child.kill()
            child.wait()

    def scan(self, files: Mapping[str, ByteSource]) -> Scan:
        """Return the scan of a package with these files, by their paths.

        What cannot be read is a finding.
        """
        wanted = [(name, source) for name, source in files.items() if needs_scan(name, source)]
        if not wanted:
            return Scan(tools=(TOOL,))
        try:
            return self._ask(wanted)
        except _Ended:
            return self._one_by_one(wanted)

    def _one_by_one(self, wanted: Sequence[tuple[str, ByteSource]]) -> Scan:
        """Scan each file alone after a child ended, to name the one that ended it."""
        tools: set[str] = {TOOL}
        found: list[Finding] = []
        for name, source in wanted:
            try:
                scan = self._ask([(name, source)])
                tools |= set(scan.tools)
                found += scan.findings
            except _Ended as error:
                meaning = f"could not be read: the scanner {error}"
                found.append(
                    Finding(tool=TOOL, file=clip(name), rule="unread", level="suspicious", meaning=clip(meaning))
                )
        return new_scan(tools, found)

    def _ask(self, wanted: Sequence[tuple[str, ByteSource]]) -> Scan:
        child = self._running()
        deadline = time.monotonic() + WALL_SECONDS
        try:
            self._send(child, msgspec.json.encode({"files": [(clip(name), source.size) for name, source in wanted]}))
            while True:
                try:
                    answer = msgspec.json.decode(self._receive(child, deadline), type=_Answer)
                except msgspec.DecodeError as error:
                    raise _Ended("answered with nonsense") from error
                if answer.scan is not None:
                    self._served += 1
                    return answer.scan
                self._send(child, _answer(answer, wanted))
        except _Ended:
            self.close()
            raise

    def _running(self) -> "subprocess.Popen[bytes]":
        if self._child is not None and self._served >= MAX_PACKAGES:
            self.close()
        if self._child is None:
            self._served = 0
            arguments = [sys.executable, "-I", "-c", _START, _ROOT, *(["--all"] if self._wide else [])]
            self._child = subprocess.Popen(
                arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0,
                env=_environment(), start_new_session=True,
            )  # fmt: skip
        return self._child

    @staticmethod
    def _send(child: "subprocess.Popen[bytes]", data: bytes) -> None:
        view = memoryview(HEAD.pack(len(data)) + data)
        assert child.stdin is not None  # noqa: S101  # it is a pipe
        try:
            while view:
                view = view[child.stdin.write(view) :]
        except OSError as error:
            raise _Ended(_reason(child)) from error

    def _receive(self, child: "subprocess.Popen[bytes]", deadline: float) -> bytes:
        (length,) = HEAD.unpack(self._exactly(child, HEAD.size, deadline))
        if length > MAX_MESSAGE:
            raise _Ended("answered with nonsense")
        return self._exactly(child, length, deadline)

    @staticmethod
    def _exactly(child: "subprocess.Popen[bytes]", length: int, deadline: float) -> bytes:
        assert child.stdout is not None  # noqa: S101  # it is a pipe
        descriptor = child.stdout.fileno()
        found = b""
        while len(found) < length:
            ready, _, _ = select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise _Ended(f"took longer than {WALL_SECONDS:.0f} seconds")
            data = os.read(descriptor, length - len(found))
            if not data:
                raise _Ended(_reason(child))
            found += data
        return found


def _answer(asked: _Answer, wanted: Sequence[tuple[str, ByteSource]]) -> bytes:
    number, offset, length = asked.read or (-1, 0, 0)
    if not (0 <= number < len(wanted) and 0 <= length <= MAX_ASKED and offset >= 0):
        raise _Ended("asked for more than it may read")
    return wanted[number][1].read(offset, length)


def _reason(child: "subprocess.Popen[bytes]") -> str:
    try:
        code = child.wait(5)
    except subprocess.TimeoutExpired:
        return "stopped to answer"
    if code == -signal.SIGXCPU:
        return "took too much processor time"
    return "took too much memory or failed" if code else "ended"


_ROOT = str(Path(__file__).resolve().parents[3])
_START = "import sys; sys.path.insert(0, sys.argv[1]); from ptmtorrent.facts.findings.child import main; main()"


def _environment() -> dict[str, Any]:
    """Return the environment of a child: nothing of ours, and no bytecode is written."""
    return {"PYTHONDONTWRITEBYTECODE": "1", "PATH": ""}
