"""Builds the codecs' native kernel with the package, where a C compiler works (hatchling custom build hook).

The library belongs to no Python version: a wheel that has it is tagged `py3-none-<platform>`. Without a compiler the
wheel is pure, and numpy does the same work. `CC` names a compiler; `PTMTORRENT_KERNEL=numpy` leaves the kernel out.
"""

import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from packaging.tags import platform_tags

SOURCE = "ptmtorrent/store/codecs/kernel.c"
LIBRARY = "ptmtorrent/store/codecs/kernel.native"
FLAGS = ("-std=c99", "-O3", "-shared", "-fPIC", "-fvisibility=hidden")
COMPILER_SECONDS = 300


class KernelHook(BuildHookInterface[Any]):
    """Makes the library in the source tree: an editable install uses it there, a wheel takes it along."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build the library, and tell the builder of a wheel about it."""
        root = Path(self.root)
        why = build(root / SOURCE, root / LIBRARY)
        if why:
            if version == "editable":
                # What another build left here would be used; a pure wheel takes nothing along.
                (root / LIBRARY).unlink(missing_ok=True)
            self.app.display_info(f"the native kernel is left out ({why}); numpy does the same work, slower")
        elif version != "editable":
            build_data["artifacts"].append(LIBRARY)
            build_data["pure_python"] = False
            build_data["tag"] = f"py3-none-{_platform()}"


def build(source: Path, library: Path) -> str | None:
    """Compile `source` to `library`; return why that cannot be, None when it is done."""
    if os.environ.get("PTMTORRENT_KERNEL") == "numpy" or sys.byteorder != "little":
        return "not wanted" if sys.byteorder == "little" else "a big-endian machine"
    fresh = library.with_name(f"kernel.native-{os.getpid()}")
    why = _compile(source, fresh)
    if why is None:
        # A new file under the old name: a program that runs keeps the one it has loaded.
        fresh.replace(library)
    return why


def _compile(source: Path, target: Path) -> str | None:
    compiler = shlex.split(os.environ.get("CC", "")) or ["cc"]
    command = [*compiler, *FLAGS, str(source), "-o", str(target)]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=COMPILER_SECONDS)
    except (OSError, subprocess.SubprocessError) as error:
        target.unlink(missing_ok=True)
        return f"`{compiler[0]}` did not work: {type(error).__name__}"
    return None if target.is_file() else f"`{compiler[0]}` wrote nothing"


def _platform() -> str:
    """Return this platform's plain name, as `linux_x86_64`: nothing is promised for other distributions."""
    return next(tag for tag in platform_tags() if not tag.startswith(("manylinux", "musllinux")))
