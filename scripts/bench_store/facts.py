"""Child: the versions of the libraries, and the kernel that the codecs use."""

import os
import platform
from typing import Any

import numpy as np
import zstandard
from blake3 import __version__ as blake3_version

from bench_store.child import answer
from ptmtorrent import __version__
from ptmtorrent.store import codecs


def tell(_order: dict[str, Any]) -> dict[str, Any]:
    """Return them."""
    return {
        "ptmtorrent": __version__,
        "kernel": codecs.kernel_in_use() if hasattr(codecs, "kernel_in_use") else "numpy",
        "cpus": sorted(os.sched_getaffinity(0)),
        "libraries": {
            "Python": platform.python_version(),
            "numpy": np.__version__,
            "libzstd": ".".join(map(str, zstandard.ZSTD_VERSION)),
            "blake3": blake3_version,
        },
    }


if __name__ == "__main__":
    answer(tell)
