"""The machine on which the values were measured."""

import os
import platform
import resource
import time
from collections.abc import Mapping
from pathlib import Path


class Others:
    """Processor time that other programs used since the object was created."""

    def __init__(self) -> None:
        self._begun, self._busy, self._own = time.monotonic(), _busy_seconds(), _own_seconds()

    def share(self) -> float:
        """Return it, as a share of all cores from 0 to 1."""
        taken = (_busy_seconds() - self._busy) - (_own_seconds() - self._own)
        return max(0.0, taken / (time.monotonic() - self._begun) / (os.cpu_count() or 1))


def _busy_seconds() -> float:
    stat = Path("/proc/stat")
    if not stat.exists():
        return 0.0
    user, nice, system, _idle, _waiting, *rest = map(int, stat.read_text().split("\n", 1)[0].split()[1:9])
    return (user + nice + system + sum(rest)) / os.sysconf("SC_CLK_TCK")


def _own_seconds() -> float:
    usages = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def describe(folder: Path, libraries: Mapping[str, str], kernel: str) -> list[tuple[str, str]]:
    """Return pairs of a property and its value; `folder` has the data."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return [
        ("date", time.strftime("%Y-%m-%d", time.gmtime())),
        ("processor", f"{_processor()}, {os.cpu_count()} cores"),
        ("memory", f"{memory / (1 << 30):.0f} GiB"),
        ("disk", _disk(folder)),
        ("system", f"{_system()}, Linux {platform.release().partition('-')[0]}"),
        ("libraries", ", ".join(f"{name} {version}" for name, version in libraries.items())),
        ("codec kernel", kernel),
    ]


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _system() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return platform.system()


def _disk(folder: Path) -> str:
    """Return the filesystem of `folder` and the type of its device, as the kernel reports them."""
    device = folder.stat().st_dev
    numbers = f"{os.major(device)}:{os.minor(device)}"
    mounts = Path("/proc/self/mountinfo")
    lines = [line.split() for line in mounts.read_text().splitlines()] if mounts.exists() else []
    kinds = [words[words.index("-") + 1] for words in lines if words[2] == numbers]
    block = Path("/sys/dev/block") / numbers
    queues = [place / "queue" / "rotational" for place in (block, block.resolve().parent)]
    turning = next((queue.read_text().strip() for queue in queues if queue.exists()), "")
    name = block.resolve().name
    sort = "virtual disk" if name.startswith(("vd", "xvd")) else {"0": "solid state", "1": "rotating"}.get(turning, "")
    return ", ".join(part for part in (kinds[-1] if kinds else "", sort) if part) or "unknown"
