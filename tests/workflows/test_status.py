"""`doctor` tells which kernel codes, and looks at every library."""

import re
from importlib.metadata import requires

import pytest

from ptmtorrent.paths import Home
from ptmtorrent.store.codecs import kernel
from ptmtorrent.workflows.doctor import LIBRARIES
from ptmtorrent.workflows.doctor import doctor as check_installation


def test_doctor_says_which_kernel_is_in_use(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "chosen", lambda: kernel.NUMPY)
    (found,) = (check for check in check_installation(home) if check.name == "kernel")
    assert found.ok
    assert found.found.startswith("numpy")


def test_doctor_looks_at_every_library_that_is_needed() -> None:
    needed = [line for line in requires("ptmtorrent") or () if "extra ==" not in line]
    names = {re.split(r"[^A-Za-z0-9_.-]", line, maxsplit=1)[0] for line in needed}
    assert {name.replace("_", "-") for name in names} == {name.replace("_", "-") for name in LIBRARIES}
