"""Kill a fetch of a fine-tune that waits for its base: it resumes, and what waited is not fetched twice."""

import random
from pathlib import Path

import pytest

from ptmtorrent.paths import Home
from tests.channels import Made, check_laid_out, safetensors
from tests.faults.killing import STEP_BYTES, kill_anywhere, kill_over_http
from tests.simulators.static_server import serve
from tests.workflows.tuned import BASE, TUNED, make_tuned_channel, tune, weights

KILLS = 4


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """About 40 MiB in each package, so that there is something to kill."""
    base = weights(1, count=4, numbers=5_000_000)
    files = {BASE: {"model.safetensors": safetensors(base)}, TUNED: {"model.safetensors": safetensors(tune(base, 2))}}
    return make_tuned_channel(tmp_path_factory.mktemp("made"), files)


@pytest.mark.slow
def test_a_fetch_of_deltas_resumes_after_kills_and_fetches_little_twice(made: Made, tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    packs = sum(path.stat().st_size for path in made.folder.rglob("*.pack"))
    with serve(made.folder) as server:
        server.bytes_per_second = 20 << 20
        made.trusted_by(home, server.url)
        arguments = (TUNED, "--channel", server.url, "--to", tmp_path / "out", "--transport", "http")
        kills = kill_over_http(server, home.root, arguments, KILLS, random.Random(5))
        sent = server.pack_bytes
    check_laid_out(tmp_path / "out", {TUNED: made.packages[TUNED]})
    assert kills.hit >= 2
    assert max(kills.lost) <= STEP_BYTES
    assert sent <= packs + kills.hit * 2 * STEP_BYTES + (kills.hit + 1) * (1 << 20)
    assert {path.name for path in home.incoming.iterdir()} == {"lock"}


@pytest.mark.slow
def test_a_fetch_of_deltas_from_a_folder_resumes_after_kills_at_any_moment(made: Made, tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    made.trusted_by(home, str(made.folder))
    arguments = (TUNED, "--channel", made.folder, "--to", tmp_path / "out")
    kill_anywhere(home.root, arguments, KILLS, random.Random(5))
    check_laid_out(tmp_path / "out", {TUNED: made.packages[TUNED]})
