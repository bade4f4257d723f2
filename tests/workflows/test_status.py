"""`doctor` tells which kernel codes, and looks at every library; `status` has the last clone of each hub."""

import re
from importlib.metadata import requires
from pathlib import Path

import pytest

from ptmtorrent.hubs.client import session
from ptmtorrent.paths import Home
from ptmtorrent.store.codecs import kernel
from ptmtorrent.workflows.doctor import LIBRARIES
from ptmtorrent.workflows.doctor import doctor as check_installation
from ptmtorrent.workflows.fetch.fetch import FetchRequest
from ptmtorrent.workflows.status import status
from tests.channels import fetch_from, make_channel
from tests.in_process import ptmtorrent


def test_doctor_says_which_kernel_is_in_use(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "chosen", lambda: kernel.NUMPY)
    (found,) = (check for check in check_installation(home) if check.name == "kernel")
    assert found.ok
    assert found.found.startswith("numpy")


def test_doctor_looks_at_every_library_that_is_needed() -> None:
    needed = [line for line in requires("ptmtorrent") or () if "extra ==" not in line]
    names = {re.split(r"[^A-Za-z0-9_.-]", line, maxsplit=1)[0] for line in needed}
    assert {name.replace("_", "-") for name in names} == {name.replace("_", "-") for name in LIBRARIES}


def test_status_passes_over_a_clone_of_a_mistyped_server(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "FIRST_WAIT_SECONDS", 0.01)
    ptmtorrent(home.root, "clone", "git", "--id", "http://127.0.0.1:9/team/none", code=30)
    ptmtorrent(home.root, "clone", "huggingface", "--endpoint", "http://127.0.0.1:9", code=30)
    assert [what for what, _ in status(home) if what.startswith("clone")] == []


def test_status_counts_what_was_fetched(home: Home, tmp_path: Path) -> None:
    made = make_channel(tmp_path, {"hf:a/one": {"a.json": b"1", "b.json": b"2"}, "hf:a/two": {"c.json": b"3"}})
    made.trusted_by(home, str(made.folder))
    for folder in ("here", "there"):
        fetch_from(made.folder, home, FetchRequest(packages=("hf:a/one",), to=tmp_path / folder))
    fetch_from(made.folder, home, FetchRequest(packages=("hf:a/two",), to=tmp_path / "here"))
    counts = {what: value for what, value in status(home) if what.startswith("fetched")}
    assert counts == {"fetched packages": 2, "fetched folders": 3, "fetched files": 5}
