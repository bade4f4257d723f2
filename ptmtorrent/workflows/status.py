"""`status` and `doctor`: what a home holds, and whether this installation can do its work."""

import importlib
import importlib.metadata
import platform
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from ptmtorrent import __version__
from ptmtorrent.disk.database import SQLITE_VERSION
from ptmtorrent.hubs.client.quota_estimates import file_limit
from ptmtorrent.paths import Home, sample_channel
from ptmtorrent.state.clone_journal import Journal
from ptmtorrent.state.rate_windows import KeptWindows
from ptmtorrent.state.upstream_flags import read_flags
from ptmtorrent.store.codecs import kernel_in_use
from ptmtorrent.store.store import Store
from ptmtorrent.workflows.clone.plan import COMMIT_BYTES

LIBRARIES = (
    *("blake3", "cryptography", "duckdb", "globus-sdk", "httpx2", "huggingface_hub", "libtorrent", "msgspec", "numpy"),
    *("platformdirs", "py-minisign", "pyfastcdc", "pyyaml", "rich", "securesystemslib", "stamina", "tuf"),
    *("typer", "zstandard"),
)


MAX_FLAGS = 50
"""So many flagged packages are named by `status`; `list` marks all those of a release."""


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One thing `doctor` looked at."""

    name: str
    ok: bool
    found: str


def read_status(home: Home) -> list[tuple[str, str | int]]:
    """Return what `home` holds, as names and values; sizes are in bytes.

    Raises:
        StoreError: the store cannot be read.
    """
    return [
        ("home", str(home.root)),
        *_store_status(home.store),
        *_clone_status(home),
        *_flags_status(home.flags),
        ("releases", ", ".join(_releases(home.channel)) or "none"),
        ("keys", "yes" if home.keys.is_dir() else "none"),
        ("free_bytes", _free_bytes(home.root)),
    ]


def check_installation(home: Home) -> list[Check]:
    """Look at Python, every library, the sample channel and the disk of `home`; nothing is changed."""
    checks = [Check(name="ptmtorrent", ok=True, found=__version__)]
    checks.append(Check(name="python", ok=True, found=f"{platform.python_version()} on {platform.platform()}"))
    checks.append(Check(name="sqlite", ok=True, found=SQLITE_VERSION))
    checks += [_check_library(name) for name in LIBRARIES]
    checks.append(Check(name="kernel", ok=True, found=_kernel()))
    sample = sample_channel()
    checks.append(Check(name="sample channel", ok=(sample / "releases").is_dir(), found=str(sample)))
    checks.append(Check(name="disk", ok=True, found=f"{_free_bytes(home.root):,} bytes free at {home.root}"))
    return checks


def _store_status(folder: Path) -> Iterator[tuple[str, str | int]]:
    if not folder.is_dir():
        yield "packages", 0
        return
    with Store.open(folder) as store:
        packs = store.packs()
        yield "packages", len(store.captures())
        yield "packs", len(packs)
        yield "packs_bytes", sum(store.pack_file(pack).stat().st_size for pack in packs)


def _clone_status(home: Home) -> Iterator[tuple[str, str | int]]:
    """Say what unfinished clones have yet to do; every file counts as a request, those already here as well."""
    if not home.journal.is_file():
        return
    with Journal(home.journal) as journal:
        for run in journal.runs():
            hub, _, endpoint = run.hub.partition(" ")
            left = journal.tally(run.id, "listed", "todo", "leased")
            unplanned = journal.tally(run.id, "listed").packages
            name = f"clone {hub} {endpoint}".rstrip()
            yield name, f"{run.state}: {left.packages} packages left, {unplanned} of them not asked for yet"
            yield f"{name} requests", left.files + unplanned
            yield f"{name} hours", _hours(home, hub, endpoint, left.files)
            yield f"{name} bytes", left.bytes
            yield f"{name} disk bytes", left.bytes + min(left.bytes, COMMIT_BYTES)


def _hours(home: Home, hub: str, endpoint: str, requests: int) -> str:
    if not home.limits.is_file():
        return "no limit is known"
    with KeptWindows(home.limits, time.time) as windows:
        host = urlsplit(endpoint).netloc
        quotas = {budget.kind: quota for budget, quota in windows.quotas().items() if budget.host == host}
    limit = file_limit(hub, quotas)
    if limit is None:
        return "no limit is known"
    return f"{limit.hours(requests):.1f} at {limit.requests:,} requests in {limit.seconds} seconds"


def _flags_status(file: Path) -> Iterator[tuple[str, str | int]]:
    """Yield how many packages carry each flag, then what some of them are."""
    flags = read_flags(file)
    yield from sorted(Counter(flag.flag for flag in flags).items())
    for flag in flags[:MAX_FLAGS]:
        yield flag.package, f"{flag.flag} since {flag.since}: {flag.reason}"
    if len(flags) > MAX_FLAGS:
        yield "and more flags", len(flags) - MAX_FLAGS


def _releases(channel: Path) -> list[str]:
    return sorted(file.parent.name for file in channel.glob("releases/*/release.json"))


def _free_bytes(folder: Path) -> int:
    there = next(parent for parent in (folder, *folder.absolute().parents) if parent.is_dir())
    return shutil.disk_usage(there).free


def _kernel() -> str:
    """Return which code splits and joins numbers; numpy is slower, and writes the same bytes."""
    used = kernel_in_use()
    return used if used == "native" else f"{used} (the native one was not built, does not fit, or was not wanted)"


def _check_library(name: str) -> Check:
    try:
        version = importlib.metadata.version(name)
        importlib.import_module(
            {"globus-sdk": "globus_sdk", "py-minisign": "minisign", "pyyaml": "yaml"}.get(name, name)
        )
    except (ImportError, OSError) as error:
        return Check(name=name, ok=False, found=f"{type(error).__name__}: {error}")
    return Check(name=name, ok=True, found=version)
