"""`doctor`: whether this installation has what it needs."""

import importlib
import importlib.metadata
import platform

import msgspec

from ptmtorrent import __version__
from ptmtorrent.channel.paths import RELEASES
from ptmtorrent.config import proxy_environment
from ptmtorrent.disk.database import SQLITE_VERSION
from ptmtorrent.disk.durable import free_bytes
from ptmtorrent.errors import ConfigError
from ptmtorrent.model.text import spell_size
from ptmtorrent.network import check_proxies, describe_proxies
from ptmtorrent.paths import Home, sample_channel
from ptmtorrent.store.codecs import kernel_in_use

LIBRARIES = (
    *("blake3", "cryptography", "duckdb", "globus-sdk", "httpx2", "huggingface_hub", "jinja2", "libtorrent", "msgspec"),
    *("numpy", "picklescan", "platformdirs", "py-minisign", "pyfastcdc", "pyyaml", "rich", "securesystemslib"),
    *("stamina", "tuf", "typer", "zstandard"),
)


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that `doctor` checked."""

    name: str
    ok: bool
    found: str


def doctor(home: Home) -> list[Check]:
    """Check Python, every library, the proxies, the sample channel and the disk of `home`; nothing is changed."""
    checks = [Check(name="ptmtorrent", ok=True, found=__version__)]
    checks.append(Check(name="python", ok=True, found=f"{platform.python_version()} on {platform.platform()}"))
    checks.append(Check(name="sqlite", ok=True, found=SQLITE_VERSION))
    checks += [_check_library(name) for name in LIBRARIES]
    checks.append(Check(name="kernel", ok=True, found=_kernel()))
    checks.append(_check_proxies())
    sample = sample_channel()
    checks.append(Check(name="sample channel", ok=(sample / RELEASES).is_dir(), found=str(sample)))
    checks.append(Check(name="disk", ok=True, found=f"{spell_size(free_bytes(home.root))} free at {home.root}"))
    return checks


def _check_proxies() -> Check:
    settings = proxy_environment()
    try:
        check_proxies(settings)
    except ConfigError as error:
        return Check(name="proxies", ok=False, found=error.message)
    return Check(name="proxies", ok=True, found=describe_proxies(settings))


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
