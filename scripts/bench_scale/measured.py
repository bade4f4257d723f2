"""Child: run the program, or make packages, and write down what the kernel counted of this process.

usage: python -m bench_scale.measured COUNTS WORK ARGUMENT...
"""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

_OF_INDEX: dict[str, tuple[str, tuple[Callable[[str], object], ...]]] = {
    "index-make": ("make_index", (Path, int, Path)),
    "index-find": ("find_in_index", (Path, int, Path)),
    "part-make": ("make_full_part", (Path,)),
    "part-open": ("open_full_part", (Path, Path)),
}
"""Functions of `index_rows`, and what their arguments are."""


def main() -> int:
    """Run what the command line names; its counts are written even when it fails."""
    counts, what, *arguments = sys.argv[1:]
    try:
        return _run(what, arguments)
    finally:
        Path(counts).write_text(json.dumps(count()))


def _run(what: str, arguments: list[str]) -> int:
    if what == "program":
        from ptmtorrent.cli.main import run

        return run(arguments)
    if what == "make":
        from bench_scale.making import make

        make(json.loads(Path(arguments[0]).read_text()))
        return 0
    if what == "open":
        from ptmtorrent.store.store import Store

        with Store.open(Path(arguments[0]), write=True):
            return 0
    if what in {"sparse", "seed"}:
        from bench_scale.sparse import make_sparse, start_seeder

        if what == "sparse":
            make_sparse(Path(arguments[0]), int(arguments[1]))
        else:
            start_seeder(Path(arguments[0]), Path(arguments[1]))
        return 0
    if what in _OF_INDEX:
        from bench_scale import index_rows

        work, kinds = _OF_INDEX[what]
        getattr(index_rows, work)(*(kind(argument) for kind, argument in zip(kinds, arguments, strict=True)))
        return 0
    raise SystemExit(f"unknown work `{what}`")


def count() -> dict[str, int]:
    """Return peak memory, and the bytes passed to read and write calls, without what the program printed.

    `VmHWM` is of this program alone; the peak that `wait4` returns includes its parent's before the start.
    """
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    moved = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return {
        "peak": int(status["VmHWM"].split()[0]) << 10,
        "read": int(moved["rchar"]),
        "written": int(moved["wchar"]) - os.fstat(sys.stdout.fileno()).st_size,
    }


if __name__ == "__main__":
    sys.exit(main())
