"""Environments of other projects beside this one's: `.venv-<name>` with packages of the package index.

A package that cannot be installed is named, and what needs it is left out.
"""

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

_TOP = Path(__file__).resolve().parent.parent.parent
_PIP = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input")


def environment(name: str, packages: Iterable[str]) -> tuple[Path, list[str]]:
    """Return the `bin` folder of the environment with `packages` in it, and those that cannot be installed."""
    folder = _TOP / f".venv-{name}"
    if not (folder / "bin" / "python").exists():
        _run(sys.executable, "-m", "venv", "--clear", str(folder))
    return folder / "bin", [package for package in packages if not _install(folder, package)]


def _install(folder: Path, package: str) -> bool:
    stamp = folder / f"installed-{package}"
    if not stamp.exists() and _run(str(folder / "bin" / "python"), *_PIP, package):
        stamp.touch()
    return stamp.exists()


def _run(*command: str) -> bool:
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode == 0
