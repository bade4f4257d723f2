"""Children that do an operation and are disturbed: forked from this process, so that start-up costs nothing.

A child waits at a gate until whatever disturbs it is in place. It reports over a socket, by a system call that no
fault is injected into. This process must have no threads when it forks.
"""

import json
import os
import select
import signal
import socket
import subprocess
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path

from ptmtorrent.errors import PtmError

DEADLINE_SECONDS = 60.0
FOREIGN = 99
"""Exit code of a child that met an exception that is none of ours."""

Report = Callable[[int], None]
Tracer = Callable[[int], AbstractContextManager[None]]
"""Disturbs the process of that pid for as long as the block lasts."""


@dataclass
class Child:
    """A running child. `reported` are the numbers it told so far; `text` is the error it ended with."""

    pid: int
    socket: socket.socket
    reported: list[int] = field(default_factory=list)
    text: str = ""
    code: int | None = None
    hung: bool = False
    _rest: bytes = b""

    def open_gate(self) -> None:
        """Let it begin."""
        with suppress(OSError):
            self.socket.send(b"g")

    def hear(self, until: float) -> bool:
        """Wait for the next words and take them in; False when there are no more."""
        if not select.select([self.socket], [], [], max(0.0, until - time.monotonic()))[0]:
            self.hung = True
            return False
        try:
            data = self.socket.recv(1 << 16)
        except OSError:
            return False
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            said = json.loads(line)
            if "report" in said:
                self.reported.append(said["report"])
            else:
                self.text = said["error"]
        return bool(data)

    def wait_for(self, number: int) -> bool:
        """Wait until it reports `number`; False when it ends before."""
        until = time.monotonic() + DEADLINE_SECONDS
        while number not in self.reported:
            if not self.hear(until):
                return False
        return True

    def wait(self) -> None:
        """Hear it out, and take its exit code: negative for a signal."""
        until = time.monotonic() + DEADLINE_SECONDS
        while self.hear(until):
            pass
        if self.hung:
            self.kill()
        self.reap()

    def kill(self) -> None:
        """Kill -9."""
        if self.code is None:
            os.kill(self.pid, signal.SIGKILL)

    def reap(self) -> None:
        """Take the exit code of what has ended."""
        if self.code is None:
            self.code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        self.socket.close()


@contextmanager
def child(act: Callable[[Report], None], hold: int | None = None) -> Iterator[Child]:
    """Fork a child that does `act` once the gate opens, and stands still after the report `hold`; none is left."""
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        ours.close()
        _live(act, theirs, hold)
    theirs.close()
    made = Child(pid, ours)
    try:
        yield made
    finally:
        made.kill()
        made.reap()


def _live(act: Callable[[Report], None], words: socket.socket, hold: int | None) -> None:
    code = 0
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # who started us ends us

        def report(number: int) -> None:
            words.send(json.dumps({"report": number}).encode() + b"\n")
            if number == hold:
                words.recv(1)

        words.recv(1)
        act(report)
    except PtmError as error:
        code = error.code
        words.send(json.dumps({"error": f"{type(error).__name__}: {error.message}"}).encode() + b"\n")
    except BaseException:  # noqa: BLE001  # told to the parent, who judges
        code = FOREIGN
        words.send(json.dumps({"error": traceback.format_exc()}).encode() + b"\n")
    finally:
        os._exit(code)


@contextmanager
def traced(pid: int, call: str, inject: str, log: Path | None = None) -> Iterator[None]:
    """Attach strace to a child and its threads: `inject` is done to `call`; without it calls are written to `log`."""
    command = ["strace", "-f", "-e", f"trace={call}", "-o", str(log or os.devnull), "-p", str(pid)]
    if inject:
        command += ["-e", f"inject={call}:{inject}"]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as tracer:
        try:
            assert tracer.stderr is not None
            line = tracer.stderr.readline()
            if b"attached" not in line:
                raise RuntimeError(f"strace cannot attach: {line.decode(errors='replace').strip()}")
            yield
        finally:
            with suppress(subprocess.TimeoutExpired):
                tracer.wait(5)
            tracer.kill()


def untraced(pid: int) -> AbstractContextManager[None]:  # noqa: ARG001  # a tracer
    """Leave a child alone."""
    return nullcontext()


def can_trace() -> str | None:
    """Say why children cannot be traced here; None when they can."""
    try:
        with child(lambda _: None) as one, traced(one.pid, "openat", ""):
            one.open_gate()
            one.wait()
    except (OSError, RuntimeError) as error:
        return f"strace does not work here: {error}"
    return None


def counted(act: Callable[[Report], None], calls: Sequence[str], log: Path) -> dict[str, int]:
    """Return how often the busiest thread of an undisturbed child makes each of `calls`."""
    with child(act) as one:
        with traced(one.pid, ",".join(calls), "", log):
            one.open_gate()
            one.wait()
        if one.code != 0:
            raise RuntimeError(f"the operation fails undisturbed: {one.text}")
    found: dict[tuple[str, str], int] = {}
    for line in log.read_text().splitlines():
        thread, _, rest = line.partition(" ")
        key = (rest.strip().partition("(")[0], thread)
        found[key] = found.get(key, 0) + 1
    return {call: max((count for (name, _), count in found.items() if name == call), default=0) for call in calls}
