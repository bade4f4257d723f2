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
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import NoReturn

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


def run_program(
    arguments: Sequence[str], *, env: Mapping[str, str], cwd: Path, timeout: float, terminal: int | None = None
) -> Ended:
    """Run `python -m ptmtorrent` on `arguments`, and return how it ended and what it printed.

    Its input is empty and its output is kept, unless both are a terminal.
    """
    server = _server()
    with open(os.devnull, "rb") as nothing, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:  # noqa: PTH123
        streams = [nothing.fileno(), out.fileno(), err.fileno()]
        if terminal is not None:
            streams[:2] = [terminal, terminal]
        if server.takes(env) and server.free.acquire(blocking=False):
            try:
                code = server.run(arguments, env, cwd, streams, timeout)
            finally:
                server.free.release()
        else:
            code = _run_cold(arguments, env, cwd, streams, timeout)
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess([*arguments], code, out.read(), err.read())


def _run_cold(
    arguments: Sequence[str], env: Mapping[str, str], cwd: Path, streams: Sequence[int], timeout: float
) -> int:
    command, (stdin, stdout, stderr) = [sys.executable, "-m", "ptmtorrent", *arguments], streams
    given = {"stdin": stdin, "stdout": stdout, "stderr": stderr, "env": env, "cwd": cwd}
    return subprocess.run(command, **given, timeout=timeout, check=False).returncode


class Server:
    """The process that is forked. It ends when its end of the socket pair is closed."""

    def __init__(self) -> None:
        self._env = dict(os.environ)
        self.free = threading.Lock()
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

    def run(
        self, arguments: Sequence[str], env: Mapping[str, str], cwd: Path, streams: Sequence[int], timeout: float
    ) -> int:
        """Fork a process and return its exit code, negative for a signal, as `subprocess` does."""
        request = json.dumps([*map(list, (arguments, env.items())), str(cwd)]).encode()
        socket.send_fds(self._socket, [request], streams)
        pid = int(self._socket.recv(100))
        self._socket.settimeout(timeout)
        try:
            return int(self._socket.recv(100))
        except TimeoutError:
            os.kill(pid, signal.SIGKILL)
            self._socket.settimeout(None)
            self._socket.recv(100)
            raise subprocess.TimeoutExpired([*arguments], timeout) from None
        finally:
            self._socket.settimeout(None)

    def close(self) -> None:
        """End the server."""
        self._socket.close()
        self._process.wait(timeout=60)


@cache
def _server() -> Server:
    return Server()


def serve(requests: socket.socket) -> None:
    """Fork for each request; in the fork, return when it has become the process that was asked for."""
    while True:
        data, streams, _, _ = socket.recv_fds(requests, MAX_REQUEST_BYTES, 3)
        if not data:
            os._exit(0)
        child = os.fork()
        if child == 0:
            requests.close()
            _become(*json.loads(data), streams)
            return
        for stream in streams:
            os.close(stream)
        requests.send(str(child).encode())
        requests.send(str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])).encode())


def _become(arguments: list[str], env: list[tuple[str, str]], cwd: str, streams: Sequence[int]) -> None:
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    sys.argv[1:] = arguments


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
    serve(socket.socket(fileno=int(sys.argv[1])))
    from ptmtorrent.cli.main import main

    try:
        main()
    except SystemExit as ended:
        _end(int(ended.code or 0))
