"""The preloaded shim (`store_shim.c`): compiled where there is a compiler, called through `ctypes`."""

import ctypes
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NoReturn

SOURCE = Path(__file__).with_name("store_shim.c")
PRELOADED = "STORE_SHIM_FOLDER"


def restart_with_shim() -> None:
    """Start this program again with the shim in it, where there is a compiler; come back when it is in it."""
    folder = os.environ.pop(PRELOADED, None)
    if folder is not None:
        os.environ.pop("LD_PRELOAD", None)  # for this process alone
        shutil.rmtree(folder)
        return
    compiler = shutil.which("cc")
    if compiler is not None:
        _restart(compiler)


def _restart(compiler: str) -> NoReturn:
    folder = tempfile.mkdtemp(prefix="store-shim-")
    library = str(Path(folder) / "shim.so")
    try:
        subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, str(SOURCE)], check=True)
        environment = {**os.environ, "LD_PRELOAD": library, PRELOADED: folder}
        os.execve(sys.executable, [sys.executable, *sys.argv], environment)  # noqa: S606  # this very program
    except BaseException:
        shutil.rmtree(folder)
        raise


class Shim:
    """What the shim can do to this process."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(None)
        self._library.shim_writes.restype = ctypes.c_long

    def cut_short(self, first: int, *, ever: bool) -> None:
        """Let the write number `first` take half of what it is given, and all later ones too with `ever`."""
        self._library.shim_short(ctypes.c_long(first), ctypes.c_int(ever))

    def writes(self) -> int:
        """Return how many writes there were since."""
        return int(self._library.shim_writes())

    def record(self, folder: Path, lines: int) -> None:
        """Keep a copy of what is made durable from now on; the record has so many `lines`."""
        self._library.shim_record(os.fsencode(folder), ctypes.c_long(lines))

    def note(self, word: str, number: int) -> None:
        """Write a line of our own into the record."""
        self._library.shim_note(word.encode(), ctypes.c_long(number))


def find_shim() -> Shim | None:
    """Return the shim, if it is in this process."""
    return Shim() if hasattr(ctypes.CDLL(None), "shim_record") else None
