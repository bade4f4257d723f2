"""Packages served by the git simulator."""

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ptmtorrent.hubs.client.download import Download
from ptmtorrent.hubs.client.session import Session
from ptmtorrent.hubs.git.adapter import GitRemotes
from ptmtorrent.hubs.git.clones import Clones
from ptmtorrent.hubs.git.process import Git
from ptmtorrent.hubs.port import HubFile, Query
from tests.simulators.git_server import GitServer

WEIGHTS = random.Random(11).randbytes(300_000)


def fill(server: GitServer, count: int = 7) -> list[str]:
    """Add `count` packages with files, modes, links and LFS to the simulator; return their names."""
    names = [f"team/model-{index}" for index in range(count)]
    for index, name in enumerate(names):
        files = {
            "README.md": f"# model {index}\n".encode(),
            "run.sh": b"#!/bin/sh\n",
            "docs/link": b"../README.md",
            "weights/model.bin": server.keep_object(WEIGHTS + bytes([index])),
            "empty": b"",
            ".lfsconfig": b"[lfs]\n\turl = http://elsewhere.invalid/\n\tfetchexclude = *\n",
            ".gitattributes": b"*.bin filter=lfs diff=lfs merge=lfs -text\n",
        }
        server.commit(name, files, {"run.sh": "100755", "docs/link": "120000"})
    return names


@contextmanager
def remotes(
    server: GitServer,
    work: Path,
    names: list[str],
    session: Session | None = None,
    credentials: Mapping[str, str] | None = None,
    **options: Any,
) -> Iterator[GitRemotes]:
    git = Git({"PATH": "/usr/bin:/bin"}, credentials=credentials or {})
    hub = GitRemotes(server.url, Clones(git, work, **options), packages=tuple(names), session=session)
    try:
        yield hub
    finally:
        hub.close()


def fetch(hub: GitRemotes, name: str, work: Path) -> dict[str, tuple[HubFile, bytes]]:
    """List, describe and download one package with the download that clone uses."""
    [page] = hub.listing(Query(ids=(name,)), None)
    described = hub.describe(page.packages[0])
    files, _ = hub.files(described)
    got = {}
    for index, file in enumerate(files):
        part = work / f"{index}.part"
        Download(
            session=hub.session,
            locate=lambda file=file: hub.locate(described, file),  # type: ignore[misc]
            file=file,
            what=f"`{file.path}`",
            part=part,
            count=lambda *_: None,
            stop=hub.session.stop,
        ).run()
        got[file.path] = (file, part.read_bytes())
    return got
