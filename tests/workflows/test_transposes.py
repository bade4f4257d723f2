"""A model in the layouts of two frameworks: released, checked, fetched together and one file alone."""

from pathlib import Path

import numpy as np
import pytest

from ptmtorrent.model.placement import TRANSPOSED
from ptmtorrent.model.records import ignore
from ptmtorrent.paths import Home
from ptmtorrent.stop import Stop
from ptmtorrent.workflows.fetch.fetch import FetchRequest
from ptmtorrent.workflows.maintain.check import Level, check
from ptmtorrent.workflows.maintain.gc import gc
from tests.channels import Heard, Made, check_laid_out, clock, fetch_from, safetensors
from tests.workflows.tuned import BASE, deltas, make_tuned_channel, weights

OTHER = "hf:org/flax"
ROWS = 300


def other_layout(tensors: dict[str, tuple[str, bytes]]) -> dict[str, tuple[str, bytes]]:
    return {
        f"{name}/kernel": (dtype, np.frombuffer(raw, np.uint16).reshape(ROWS, -1).T.tobytes())
        for name, (dtype, raw) in tensors.items()
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    torch = weights(1)
    flax = safetensors(other_layout(torch))
    packages = {
        BASE: {"model.safetensors": safetensors(torch), "tf_model.weights": flax},
        OTHER: {"flax_model.weights": flax},
    }
    return make_tuned_channel(tmp_path_factory.mktemp("channel"), packages)


@pytest.fixture
def home(made: Made, tmp_path: Path) -> Home:
    home = Home(tmp_path / "user")
    made.trusted_by(home, str(made.folder))
    return home


def test_transposes_are_stored_once_and_fetched_right(made: Made, home: Home, tmp_path: Path) -> None:
    found = deltas(made)
    assert {entry.codec for _, entry in found.values()} == {TRANSPOSED}
    assert len(found) == 4
    fetch_from(made.folder, home, FetchRequest(packages=(BASE,), to=tmp_path / "out"))
    check_laid_out(tmp_path / "out", {BASE: made.packages[BASE]})


def test_a_package_of_transposes_alone_comes_with_their_matrices(made: Made, home: Home, tmp_path: Path) -> None:
    heard = Heard()
    request = FetchRequest(packages=(OTHER,), to=tmp_path / "out")
    summary = fetch_from(made.folder, home, request, emit=heard)
    check_laid_out(tmp_path / "out", {OTHER: made.packages[OTHER]})
    assert 1.45 * summary.bytes_moved < sum(map(len, made.packages[OTHER].values()))


@pytest.mark.parametrize("level", ["quick", "data"])
def test_a_store_with_transposes_is_whole(made: Made, level: Level) -> None:
    heard = Heard()
    check(made.home, level, emit=heard, stop=Stop())
    assert {name: result.reason for name, result in heard.results.items() if result.status == "error"} == {}


def test_gc_keeps_the_matrices_that_transposes_need(made: Made, home: Home, tmp_path: Path) -> None:
    gc(made.home, clock=clock, emit=ignore)
    fetch_from(made.folder, home, FetchRequest(packages=(OTHER,), to=tmp_path / "out"))
    check_laid_out(tmp_path / "out", {OTHER: made.packages[OTHER]})
