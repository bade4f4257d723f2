"""How lines of strace are counted. The benchmark itself takes minutes; its figures are guarded by `test_touched`."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "scripts"))

from bench_touch.counting import Touched, _add


@pytest.mark.parametrize(
    ("line", "seen"),
    [
        ('pread64(5</c/packs/ab/cd.pack>, ""..., 4096, 12) = 4096', {"read": 4096}),
        ('write(7</h/store/parts/x>, ""..., 10)    = 10', {"written": 10}),
        ('writev(7</h/store/parts/x>, [{iov_base=""..., iov_len=3}], 1) = 3', {"written": 3}),
        ('read(9<TCP:[127.0.0.1:1->127.0.0.1:2]>, ""..., 99) = 99', {"received": 99}),
        ('recvfrom(9<socket:[123]>, ""..., 65536, 0, NULL, NULL) = 512', {"received": 512}),
        ('sendto(9<TCP:[1]>, ""..., 20, 0, NULL, 0) = 20', {"sent": 20}),
        ('read(3</w/ptmtorrent/cli/main.py>, ""..., 5000) = 5000', {}),
        ('read(3</proc/self/status>, ""..., 5000) = 900', {}),
        ("pread64(5</c/x.pack>, 0x7f, 4096, 12) = -1 EIO (Input/output error)", {}),
        ("copy_file_range(5</a>, NULL, 6</b>, NULL, 100, 0) = 100", {"copied": 100}),
        ("fsync(7</h/x>)                          = 0", {"syncs": 1}),
        ("syncfs(4</h>)                           = 0", {"syncs": 1}),
        ('mkdir("/h/a", 0777)                     = -1 EEXIST (File exists)', {"failed_mkdirs": 1}),
        ('mkdir("/h/a", 0777)                     = 0', {}),
        ("futex(0x7f, FUTEX_WAIT_PRIVATE, 0, NULL) = 0", {"futex": 1}),
    ],
)
def test_a_call_counts_once_by_what_it_moves(line: str, seen: dict[str, int]) -> None:
    touched = Touched()
    _add(touched, line)
    assert touched == Touched(calls=1, **seen)  # type: ignore[arg-type]  # counts alone
