"""A Slurm of one node on loopback: the real `slurmctld`, `slurmd` and `munged`, in one folder."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.simulators.nginx import free_port

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "sinfo")
DEADLINE_SECONDS = 60
CPUS = 2


def missing() -> str | None:
    """Why there can be no Slurm here; None when there can."""
    absent = [program for program in PROGRAMS if shutil.which(program) is None]
    if absent:
        return f"{absent[0]} is not installed"
    return None if os.geteuid() == 0 else "slurmd wants root"


@contextmanager
def slurm(folder: Path) -> Iterator[dict[str, str]]:
    """Run Slurm; yields what its clients want in their environment."""
    for name in ("state", "spool"):
        (folder / name).mkdir(parents=True)
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o600)
    config = folder / "slurm.conf"
    config.write_text(_config(folder))
    client = {"SLURM_CONF": str(config)}
    munged = ["munged", "--foreground", "--force", f"--key-file={key}", f"--socket={folder}/munge.socket"]
    munged += [f"--{name}-file={folder}/munge.{name}" for name in ("pid", "log", "seed")]
    with ExitStack() as stack:
        stack.enter_context(_daemon(munged, folder / "munged.out"))
        _wait((folder / "munge.socket").exists, "munged")
        stack.enter_context(_daemon(["slurmctld", "-D", "-f", str(config)], folder / "slurmctld.out"))
        stack.enter_context(_daemon(["slurmd", "-D", "-f", str(config)], folder / "slurmd.out"))
        _wait(lambda: "idle" in _ask(["sinfo", "-h", "-o", "%T"], client), "the node")
        yield client


def jobs(client: dict[str, str]) -> list[str]:
    """The jobs that run or wait."""
    return _ask(["squeue", "-h", "-o", "%i"], client).split()


def _config(folder: Path) -> str:
    host = socket.gethostname().partition(".")[0]
    return f"""
ClusterName=loopback
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmctldPort={free_port()}
SlurmdPort={free_port()}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
ReturnToService=2
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
NodeName={host} NodeAddr=127.0.0.1 CPUs={CPUS} State=UNKNOWN
PartitionName=local Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def _ask(command: list[str], client: dict[str, str]) -> str:
    environment = {**os.environ, **client}
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False, env=environment).stdout


def _wait(is_there: Callable[[], bool], what: str) -> None:
    until = time.monotonic() + DEADLINE_SECONDS
    while not is_there():
        assert time.monotonic() < until, f"{what} did not come up"
        time.sleep(0.1)


@contextmanager
def _daemon(command: list[str], log: Path) -> Iterator[None]:
    with log.open("wb") as said:
        process = subprocess.Popen(command, stdout=said, stderr=said, stdin=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
