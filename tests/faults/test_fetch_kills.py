import random
import signal
import time
from pathlib import Path

import pytest

from ptmtorrent.paths import Home
from tests.channels import Made, check_laid_out, make_channel, tensors
from tests.faults.killing import DEADLINE_SECONDS, STEP_BYTES, kill_anywhere, kill_over_http, kill_when, start
from tests.simulators.static_server import serve

KILLS = 4


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """About 60 MiB in one package, so that there is something to kill."""
    files = {f"model-{number}.safetensors": tensors(number, count=2, numbers=5_000_000) for number in range(3)}
    return make_channel(tmp_path_factory.mktemp("made"), {"hf:org/large": files})


@pytest.mark.slow
def test_fetch_over_http_resumes_after_kills_and_fetches_little_twice(made: Made, tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    with serve(made.folder) as server:
        server.bytes_per_second = 60 << 20
        made.trusted_by(home, server.url)
        arguments = ("--subset", "all", "--channel", server.url, "--to", tmp_path / "out", "--transport", "http")
        kills = kill_over_http(server, home.root, arguments, KILLS, random.Random(5))
    check_laid_out(tmp_path / "out", made.packages)
    assert kills.hit >= 2
    assert kills.lost
    assert max(kills.lost) <= STEP_BYTES
    assert {path.name for path in home.incoming.iterdir()} == {"lock"}


@pytest.mark.slow
def test_fetch_from_a_folder_resumes_after_kills(made: Made, tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    made.trusted_by(home, str(made.folder))
    arguments = ("--subset", "all", "--channel", made.folder, "--to", tmp_path / "out")
    kill_anywhere(home.root, arguments, KILLS, random.Random(5))
    check_laid_out(tmp_path / "out", made.packages)


def test_ctrl_c_ends_with_its_own_code_and_the_same_command_goes_on(made: Made, tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    with serve(made.folder) as server:
        server.bytes_per_second = 20 << 20
        made.trusted_by(home, server.url)
        arguments = ("--subset", "all", "--channel", server.url, "--to", tmp_path / "out", "--transport", "http")
        process = start(home.root, *arguments)
        deadline = time.monotonic() + DEADLINE_SECONDS
        while server.pack_bytes < 12 << 20 and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        assert process.wait(DEADLINE_SECONDS) == 130
        server.bytes_per_second = 0
        sent = server.pack_bytes
        assert start(home.root, *arguments).wait(DEADLINE_SECONDS) == 0
        assert server.pack_bytes - sent < sum(map(len, made.packages["hf:org/large"].values()))
    check_laid_out(tmp_path / "out", made.packages)


def test_unfinished_files_are_rechecked_and_never_trusted(made: Made, tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    with serve(made.folder) as server:
        server.bytes_per_second = 60 << 20
        made.trusted_by(home, server.url)
        arguments = ("--subset", "all", "--channel", server.url, "--to", tmp_path / "out", "--transport", "http")
        assert kill_when(start(home.root, *arguments), lambda: server.pack_bytes > 20 << 20)
        server.bytes_per_second = 0
        for path in (*home.incoming.glob("*.part"), *(tmp_path / "out" / ".ptmtorrent-incoming").glob("[0-9a-f]*")):
            data = bytearray(path.read_bytes())
            for place in range(0, len(data), 1 << 20):
                data[place] ^= 255
            path.write_bytes(data)
        assert start(home.root, *arguments).wait(DEADLINE_SECONDS) == 0
    check_laid_out(tmp_path / "out", made.packages)
