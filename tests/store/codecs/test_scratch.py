"""Working memory is reused: coding allocates none from the system after warming up."""

import platform
import subprocess
import sys

import pytest

from ptmtorrent.store.codecs.scratch import take_bytes, take_words

CODE_FIVE_TIMES = """
import resource, numpy
from ptmtorrent.store import codecs
tile = (numpy.random.default_rng(1).standard_normal(1 << 14, dtype="f4").view("u4") >> 16).astype("u2").tobytes()
data = tile * 384  # nothing as large has been freed yet
faults = []
for _ in range(5):
    encoded = codecs.encode(data, "BF16")
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
    del encoded
print(faults[-1] - faults[1])
"""


def test_memory_of_one_name_is_the_same_memory() -> None:
    first, second = take_bytes("a test", 1000), take_words("a test", 100, 4)
    first[:400] = 7
    assert second.tolist() == [0x07070707] * 100


def test_memory_grows_when_more_is_asked_for() -> None:
    take_bytes("a growing test", 10)
    assert take_bytes("a growing test", 100_000).size == 100_000


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the allocator is not glibc's")
def test_coding_again_touches_no_new_memory() -> None:
    done = subprocess.run([sys.executable, "-c", CODE_FIVE_TIMES], capture_output=True, text=True, check=True)
    pages_of_the_payloads = 3 * (12 << 20) * 2 // 3 // 4096
    assert int(done.stdout) < pages_of_the_payloads // 10
