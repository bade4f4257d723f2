"""Processes of the program that start warm: forked from a server that has imported what verbs import.

Each is a process with arguments, environment, folder, standard streams, exit and exit code of its own, as that of
`python -m ptmtorrent` is; only the time is saved in which Python would import the same modules again. Tests of what a
new interpreter alone can show (how it starts, limits it starts with, signals) use `subprocess`.
"""

import atexit
import gc
import importlib
import json
import os
import pkgutil
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import IO, Any, NoReturn, Protocol

COLD = ("ptmtorrent.__main__", "ptmtorrent.clusters.", "ptmtorrent.layouts.hf_cache", "ptmtorrent.hubs.huggingface.xet")
"""Modules whose libraries read their settings from the environment when they are imported."""

LIBRARIES = ("duckdb", "libtorrent", "globus_sdk", "rich.console", "rich.progress", "typer.rich_utils", "yaml")
READ_LATER = (
    *("PTMTORRENT_", "_PTMTORRENT_", "COMP_", "HF_", "KAGGLE_", "XDG_", "HOME", "PATH", "TMPDIR", "PYTEST_"),
    *("TERM", "COLUMNS", "LINES", "http", "HTTP", "no_proxy", "NO_PROXY", "GLOBUS_SDK_", "SSL_CERT_"),
)
"""How variables begin that are read when a verb runs. If others differ, the program is started from nothing."""

MAX_REQUEST_BYTES = 1 << 17

Ended = subprocess.CompletedProcess[bytes]
PROGRAM = "ptmtorrent.cli.main"


class Running(Protocol):
    """A process that was started: what tests use of `subprocess.Popen`."""

    @property
    def pid(self) -> int: ...
    @property
    def returncode(self) -> int | None: ...
    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def send_signal(self, sig: int, /) -> None: ...
    def kill(self) -> None: ...


def run_program(
    arguments: Sequence[str], *, env: Mapping[str, str], cwd: Path, timeout: float, terminal: int | None = None
) -> Ended:
    """Run `python -m ptmtorrent` on `arguments`, and return how it ended and what it printed.

    Its input is empty and its output is kept, unless both are a terminal.
    """
    with open(os.devnull, "rb") as nothing, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:  # noqa: PTH123
        streams = [nothing.fileno(), out.fileno(), err.fileno()]
        if terminal is not None:
            streams[:2] = [terminal, terminal]
        process = _start(PROGRAM, arguments, env, cwd, streams)
        try:
            code = process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess([*arguments], code, out.read(), err.read())


def start_program(
    arguments: Sequence[str], *, env: Mapping[str, str], out: IO[Any] | None = None, main: str = PROGRAM
) -> Running:
    """Start `python -m ptmtorrent` on `arguments`, or the `main()` of another module.

    Its input is empty, and its output goes to `out` or is thrown away.
    """
    with open(os.devnull, "r+b") as nothing:  # noqa: PTH123
        told = nothing if out is None else out
        return _start(main, arguments, env, Path.cwd(), [nothing.fileno(), told.fileno(), nothing.fileno()])


def _start(main: str, arguments: Sequence[str], env: Mapping[str, str], cwd: Path, streams: Sequence[int]) -> Running:
    server = _server()
    if server.takes(env):
        return server.start([main, *arguments], env, cwd, streams)
    command = [sys.executable, "-m", "ptmtorrent" if main == PROGRAM else main, *arguments]
    given = {"stdin": streams[0], "stdout": streams[1], "stderr": streams[2], "env": env, "cwd": cwd}
    return subprocess.Popen(command, **given)


class Forked:
    """A process that the server forked. The server sends its exit code to `ended`."""

    def __init__(self, pid: int, ended: socket.socket) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._ended = ended

    def poll(self) -> int | None:
        try:
            return self.wait(0)
        except subprocess.TimeoutExpired:
            return None

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end, and return its exit code: negative for a signal, as of `subprocess`."""
        if self.returncode is None:
            if not select.select([self._ended], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(PROGRAM, timeout or 0)
            self.returncode = int(self._ended.recv(100))
            self._ended.close()
        return self.returncode

    def send_signal(self, sig: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, sig)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class Server:
    """The process that is forked. It ends when its end of the socket pair is closed."""

    def __init__(self) -> None:
        self._env = dict(os.environ)
        self._one_asks = threading.Lock()
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.warm", str(theirs.fileno())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            cwd=Path(__file__).parents[1],
            pass_fds=[theirs.fileno()],
            env={**self._env, "OPENBLAS_NUM_THREADS": "1"},
        )
        theirs.close()
        atexit.register(self.close)

    def takes(self, env: Mapping[str, str]) -> bool:
        """Return whether all that the server has imported would be the same with this environment."""
        return all(name.startswith(READ_LATER) for name, _ in self._env.items() ^ env.items())

    def start(self, words: Sequence[str], env: Mapping[str, str], cwd: Path, streams: Sequence[int]) -> Forked:
        """Fork a process: `words` are the module whose `main()` it runs, and its arguments."""
        request = json.dumps([*map(list, (words, env.items())), str(cwd)]).encode()
        ended, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs, self._one_asks:
            socket.send_fds(self._socket, [request], [*streams, theirs.fileno()])
            return Forked(int(self._socket.recv(100)), ended)

    def close(self) -> None:
        """End the server."""
        self._socket.close()
        self._process.wait(timeout=60)


@cache
def _server() -> Server:
    return Server()


def serve(requests: socket.socket) -> str:
    """Fork for each request; in a fork, become the process that was asked for and return the module that it runs."""
    forked: dict[int, tuple[int, socket.socket]] = {}
    while True:
        ready, _, _ = select.select([requests, *forked], [], [])
        for watched in ready:
            if watched is not requests:
                pid, ended = forked.pop(watched)
                os.close(watched)
                with ended, suppress(BrokenPipeError):
                    ended.send(str(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])).encode())
        if requests not in ready:
            continue
        data, given, _, _ = socket.recv_fds(requests, MAX_REQUEST_BYTES, 4)
        if not data:
            os._exit(0)
        *streams, last = given
        child = os.fork()
        if child == 0:
            requests.close()
            os.close(last)
            for watched, (_, ended) in forked.items():
                os.close(watched)
                ended.close()
            return _become(*json.loads(data), streams)
        for stream in streams:
            os.close(stream)
        forked[os.pidfd_open(child)] = (child, socket.socket(fileno=last))
        requests.send(str(child).encode())


def _become(words: list[str], env: list[tuple[str, str]], cwd: str, streams: Sequence[int]) -> str:
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    main, *sys.argv[1:] = words
    return main


def _end(code: int) -> NoReturn:
    """End as the interpreter does, but for its memory, which it would clear piece by piece."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _import_what_verbs_import() -> None:
    import ptmtorrent

    for info in pkgutil.walk_packages(ptmtorrent.__path__, "ptmtorrent."):
        if not info.name.startswith(COLD):
            importlib.import_module(info.name)
    for name in LIBRARIES:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # no fork looks through what was made here
    assert not {"huggingface_hub", "hf_xet", "parsl"} & sys.modules.keys()
    assert tempfile.tempdir is None
    assert len(os.listdir("/proc/self/task")) == 1, "a process with threads cannot be forked"  # noqa: PTH208


if __name__ == "__main__":
    _import_what_verbs_import()
    module = serve(socket.socket(fileno=int(sys.argv[1])))
    try:
        sys.exit(importlib.import_module(module).main())
    except SystemExit as ended:
        _end(int(ended.code or 0))
