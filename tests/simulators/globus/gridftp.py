"""A real GridFTP server on loopback, as an unprivileged user."""

import os
import shutil
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from tests.simulators.nginx import free_port, wait_for_port

NOBODY = 65534
PROGRAMS = ("globus-gridftp-server", "globus-url-copy")
SBIN = "/usr/sbin"


def missing_programs() -> list[str]:
    """What is not installed of what moving bytes needs."""
    return [name for name in PROGRAMS if program(name) is None]


def program(name: str) -> str | None:
    return shutil.which(name) or shutil.which(name, path=SBIN)


class GridFtp:
    """One server that may read and write below `folders`; it can be killed and started again on its port.

    With `gsi`, the environment of a server, it lets in whom that knows, and nobody else; without, anybody.
    """

    def __init__(self, name: str, folders: Sequence[Path], logs: Path, gsi: dict[str, str] | None = None) -> None:
        self._name = name
        self._folders = folders
        self._logs = logs
        self._port = free_port()
        self._gsi = gsi
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"gsiftp://localhost:{self._port}" if self._gsi else f"ftp://127.0.0.1:{self._port}"

    def start(self) -> None:
        as_nobody = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups") if os.geteuid() == 0 else ()
        server = program("globus-gridftp-server")
        assert server is not None
        options = ["-c", "/dev/null", "-p", str(self._port), "-disable-usage-stats", "-home-dir", "/"]
        options += [] if self._gsi else ["-aa"]
        for interface in ("-control-interface", "-data-interface", "-ipc-interface"):
            options += [interface, "127.0.0.1"]
        options += ["-allow-from", "127.0.0.1", "-port-range", "20000,60000"]
        options += ["-rp", ",".join(f"RW{folder}" for folder in self._folders)]
        log = self._logs / f"{self._name}.log"
        with log.open("ab") as out:
            self._process = subprocess.Popen(
                [*as_nobody, server, *options],
                stdout=out,
                stderr=out,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                env={**os.environ, **(self._gsi or {})},
            )
        wait_for_port(self._port, self._process)

    def kill(self) -> None:
        """Kill -9 the server and the children that move data."""
        if self._process is None:
            return
        with suppress(ProcessLookupError):  # it has ended by itself
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process = None

    stop = kill
