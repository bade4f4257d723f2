"""Runs ptmtorrent with counters in its hashes, and writes the bytes hashed by each as JSON.

usage: python hashes.py REPORT ARGUMENTS...: the arguments are those of `ptmtorrent`
"""

import atexit
import hashlib
import json
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

import blake3 as blake3_module

_TOTALS: Counter[str] = Counter()
_LOCK = Lock()


def _count(name: str, data: Any) -> None:  # noqa: ANN401  # of any buffer
    with _LOCK:
        _TOTALS[name] += memoryview(data).nbytes


class Counted:
    """A hash that counts what it takes; everything else is the real one's."""

    def __init__(self, name: str, real: Any) -> None:  # noqa: ANN401  # of any hash
        self._name, self._real = name, real

    def update(self, data: Any, /, **options: Any) -> "Counted":  # noqa: ANN401  # as the real one
        """Take more bytes."""
        _count(self._name, data)
        self._real.update(data, **options)
        return self

    def update_mmap(self, path: Any, /, **options: Any) -> "Counted":  # noqa: ANN401  # as the real one
        """Take a file."""
        with _LOCK:
            _TOTALS[self._name] += Path(path).stat().st_size
        self._real.update_mmap(path, **options)
        return self

    def copy(self) -> "Counted":
        """Return a copy."""
        return Counted(self._name, self._real.copy())

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  # as the real one
        return getattr(self._real, name)


def counted(name: str, real: Callable[..., Any]) -> Callable[..., Counted]:
    """Return a constructor of counted hashes."""

    def make(data: Any = b"", /, **options: Any) -> Counted:  # noqa: ANN401  # as the real one
        if data:
            _count(name, data)
        return Counted(name, real(data, **options))

    return make


def main() -> None:
    """Replace the constructors before anything of ptmtorrent is imported."""
    report = Path(sys.argv[1])
    sys.argv = ["ptmtorrent", *sys.argv[2:]]
    blake3_module.blake3 = counted("blake3", blake3_module.blake3)  # type: ignore[misc,assignment]
    for name in ("sha256", "sha1"):
        setattr(hashlib, name, counted(name, getattr(hashlib, name)))
    atexit.register(lambda: report.write_text(json.dumps(_TOTALS)))
    from ptmtorrent.cli.main import main as run

    run()


if __name__ == "__main__":
    main()
