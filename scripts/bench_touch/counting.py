"""Counts of one run of a program: calls and bytes by strace, bytes hashed by counters inside Python programs."""

import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

_HERE = Path(__file__).resolve().parent
_CALL = re.compile(r"^(?:[\d.]+ )?(\w+)\((.*)\)?\s+= (-?\d+|\?)(.*)$")
_SOCKET = re.compile(r"^\d+<(?:socket|TCP|UDP|UNIX|NETLINK)")
_READS = frozenset({"read", "pread64", "readv", "preadv", "preadv2"})
_WRITES = frozenset({"write", "pwrite64", "writev", "pwritev", "pwritev2"})
_RECEIVES = frozenset({"recvfrom", "recvmsg", "recv"})
_SENDS = frozenset({"sendto", "sendmsg"})
_COPIES = frozenset({"copy_file_range", "sendfile", "splice"})
_SYNCS = frozenset({"fsync", "fdatasync", "syncfs", "sync_file_range", "msync", "sync"})
_NOT_DATA = re.compile(r"<(?:/proc|/sys|/dev|pipe|anon_inode|/usr|/etc|/root/\.pyenv|[^>]*\.(?:py|pyc|so)[>.])")
"""Files of the system and of Python itself are not data."""


@dataclass
class Touched:
    """Bytes that a run moved, by way, and its calls. Reads of files that are mapped into memory are in no call."""

    read: int = 0
    written: int = 0
    received: int = 0
    sent: int = 0
    copied: int = 0
    calls: int = 0
    syncs: int = 0
    futex: int = 0
    failed_mkdirs: int = 0
    hashed: Counter[str] = field(default_factory=Counter)


def count(command: list[str], *, cwd: Path, env: Mapping[str, str], logs: Path) -> Touched:
    """Run `command` under strace, in one log a thread.

    Raises:
        RuntimeError: it failed.
    """
    logs.mkdir()
    _run(["strace", "-ff", "-y", "-s", "0", "-qq", "-o", str(logs / "log"), *command], cwd=cwd, env=env)
    touched = Touched()
    for log in logs.iterdir():
        with log.open(errors="replace") as lines:
            for line in lines:
                _add(touched, line)
        log.unlink()
    logs.rmdir()
    return touched


def hashes_of(arguments: list[str], *, cwd: Path, env: Mapping[str, str], report: Path) -> Counter[str]:
    """Run ptmtorrent with counters in BLAKE3, SHA-256 and SHA-1; return the bytes hashed by each."""
    command = [sys.executable, str(_HERE / "hashes.py"), str(report), *arguments]
    _run(command, cwd=cwd, env=env)
    return Counter(json.loads(report.read_text()))


def _run(command: list[str], *, cwd: Path, env: Mapping[str, str]) -> None:
    done = subprocess.run(command, cwd=cwd, env=dict(env), capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"`{' '.join(command)[:300]}` ended with {done.returncode}:\n{done.stderr[-2000:]}")


def _add(touched: Touched, line: str) -> None:
    found = _CALL.match(line)
    if found is None:
        return
    name, arguments, result, rest = found.groups()
    touched.calls += 1
    if name == "futex":
        touched.futex += 1
    elif name in _SYNCS:
        touched.syncs += 1
    elif name in {"mkdir", "mkdirat"}:
        touched.failed_mkdirs += "EEXIST" in rest
    elif result.isdigit():
        _add_bytes(touched, name, arguments, int(result))


def _add_bytes(touched: Touched, name: str, arguments: str, size: int) -> None:
    is_socket = _SOCKET.match(arguments) is not None
    if name in _RECEIVES or (name in _READS and is_socket):
        touched.received += size
    elif name in _SENDS or (name in _WRITES and is_socket):
        touched.sent += size
    elif name in _COPIES:
        touched.copied += size
    elif name in _READS and not _NOT_DATA.search(arguments):
        touched.read += size
    elif name in _WRITES and not _NOT_DATA.search(arguments):
        touched.written += size
