"""Child: restore every file of a store; each object is decoded and checked, then each whole file."""

import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from blake3 import blake3

from bench_store.child import Clock, answer
from ptmtorrent.model.ids import ObjectId
from ptmtorrent.store.store import Store

AHEAD = 4


def restore(order: dict[str, Any]) -> dict[str, Any]:
    """Run the order. An object or a file with another hash ends the process. Without `out` nothing is written."""
    clock = Clock()
    with Store.open(Path(order["store"])) as store, ThreadPoolExecutor(order["jobs"]) as threads:
        for name, file in order["files"].items():
            path = Path(order["out"]) / name if order["out"] else Path(os.devnull)
            whole = blake3()
            with path.open("wb", buffering=0) as out:
                for data in _read(store, threads, file["objects"]):
                    whole.update(data)
                    out.write(data)
            if whole.hexdigest() != file["blake3"]:
                raise SystemExit(f"`{name}` came back with other bytes")
    return clock.spent()


def _read(store: Store, threads: ThreadPoolExecutor, objects: list[str]) -> Iterator[bytes]:
    """Yield objects in order, a few read ahead."""
    ahead: deque[Future[bytes]] = deque()
    for identifier in objects:
        ahead.append(threads.submit(store.read, ObjectId(identifier)))
        if len(ahead) >= AHEAD:
            yield ahead.popleft().result()
    while ahead:
        yield ahead.popleft().result()


if __name__ == "__main__":
    answer(restore)
