"""`doctor` tells which kernel codes."""

import pytest

from ptmtorrent.paths import Home
from ptmtorrent.store.codecs import kernel
from ptmtorrent.workflows.status import check_installation


def test_doctor_says_which_kernel_is_in_use(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "chosen", lambda: kernel.NUMPY)
    (found,) = (check for check in check_installation(home) if check.name == "kernel")
    assert found.ok
    assert found.found.startswith("numpy")
