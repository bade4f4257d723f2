"""Readers refuse FIFOs, devices and sockets under the name of a file: none of them is waited for, or read."""

import os
import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ptmtorrent.channel.folder import OwnReader
from ptmtorrent.channel.readers import LocalReader
from ptmtorrent.clusters.description import read_cluster
from ptmtorrent.disk.durable import NotRegular, open_regular, read_optional, read_regular, write_once
from ptmtorrent.errors import ConfigError, PtmError, StoreError, TransportError
from ptmtorrent.store.pack.reader import open_pack
from ptmtorrent.store.store import check_version
from tests.deadline import deadline
from tests.program import DEADLINE_SECONDS
from tests.warm import run_program

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "ptmtorrent"
OPENS_ITSELF = {
    *("config.py", "workflows/release/policy.py", "disk/durable.py", "disk/elapsed.py", "disk/locks.py"),
    "hubs/git/activity.py",
}
"""Modules below `disk/`, or that read what only this system writes, and open without waiting themselves."""


@pytest.fixture(autouse=True)
def _no_wait() -> Iterator[None]:
    with deadline():
        yield


def fifo(path: Path) -> None:
    os.mkfifo(path)


def unix_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.relpath(path))


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def link_to_fifo(path: Path) -> None:
    os.mkfifo(path.with_name("pipe"))
    path.symlink_to("pipe")


Make = Callable[[Path], None]
KINDS = [fifo, unix_socket, device, link_to_fifo]


@pytest.mark.parametrize("make", KINDS)
def test_what_is_no_file_is_refused_without_waiting(make: Make, tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "x")

    with pytest.raises(OSError, match=r"FIFO|No such device") as caught:
        open_regular(tmp_path / "x")
    assert make is unix_socket or isinstance(caught.value, NotRegular)
    with pytest.raises(IsADirectoryError):
        open_regular(tmp_path)
    (tmp_path / "file").write_bytes(b"abc")
    assert read_regular(tmp_path / "file", 2) == b"ab"


READS: dict[str, tuple[Callable[[Path], object], type[PtmError]]] = {
    "file of a channel": (lambda path: LocalReader(path.parent).read(path.name, limit=9), TransportError),
    "range of a channel": (lambda path: LocalReader(path.parent).read_range(path.name, 0, 9), TransportError),
    "file of the own channel": (lambda path: OwnReader(path.parent).read(path.name, limit=9), StoreError),
    "document that may be missing": (read_optional, StoreError),
    "file that a publish would keep": (lambda path: write_once(path, b"x"), StoreError),
    "pack of a store": (lambda path: open_pack(path).__enter__(), StoreError),
    "description of a cluster": (read_cluster, ConfigError),
}


@pytest.mark.parametrize("name", READS)
@pytest.mark.parametrize("make", [fifo, device])
def test_every_reader_refuses_what_is_no_file(make: Make, name: str, tmp_path: Path) -> None:
    read, error = READS[name]
    make(tmp_path / "x")

    with pytest.raises(error):
        read(tmp_path / "x")


def test_store_whose_version_is_a_fifo_is_none(tmp_path: Path) -> None:
    fifo(tmp_path / "version.json")

    with pytest.raises(PtmError):
        check_version(tmp_path)


@pytest.mark.parametrize("path", ["metadata/1.root.json", "metadata/timestamp.json"])
def test_channel_folder_with_a_fifo_ends_with_an_error_of_ours(path: str, tmp_path: Path) -> None:
    (tmp_path / "channel/metadata").mkdir(parents=True)
    fifo(tmp_path / "channel" / path)
    for verb in (
        ["fetch", "hf:a/b", "--release", "b3:" + "a" * 64],
        ["trust", "add", "--fingerprint", "b3:" + "a" * 64],
    ):
        where = ["--channel", str(tmp_path / "channel")] if verb[0] == "fetch" else [str(tmp_path / "channel")]
        order = ["--home", str(tmp_path / "home"), *verb, *where]
        ended = run_program(order, env=os.environ, cwd=tmp_path, timeout=DEADLINE_SECONDS)
        assert ended.returncode in {12, 20, 40, 60}, ended.stderr
        assert b"Traceback" not in ended.stderr


def test_files_are_opened_for_reading_in_one_way() -> None:
    found = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if re.search(r"\.read_bytes\(\)|\.read_text\(|\.open\(\"rb\"\)|O_RDONLY\)", path.read_text())
    }
    staged = {"hubs/client/download.py", "transports/fill_holes.py", "disk/durable.py", "workflows/fetch/assemble.py"}
    assert {path for path in found if not path.startswith("demo/")} <= OPENS_ITSELF | staged
