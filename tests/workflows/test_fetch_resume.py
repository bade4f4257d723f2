"""Fetch where something is already: earlier releases, files that were changed, bytes that rotted while they waited."""

import random
from pathlib import Path

import msgspec
import pytest

from ptmtorrent.channel.paths import pack_path
from ptmtorrent.disk.partial import STEP_BYTES
from ptmtorrent.model.ids import PackId, ReleaseName
from ptmtorrent.paths import Home
from ptmtorrent.store.store import Store
from ptmtorrent.trust.keys import load_keys
from ptmtorrent.workflows.fetch.fetch import FetchRequest
from ptmtorrent.workflows.release.release import release
from tests.channels import Heard, Made, capture, check_laid_out, clock, fetch_from, make_channel, safetensors
from tests.simulators.static_server import serve

PACKAGE = "hf:org/large"
TENSOR_BYTES = 3 << 20


def weights(*seeds: int) -> bytes:
    """Tensors of 3 MiB that no codec makes smaller, one for each seed: each is an object."""
    return safetensors(
        {f"t{row}": ("BF16", random.Random(seed).randbytes(TENSOR_BYTES)) for row, seed in enumerate(seeds)}
    )


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return make_channel(tmp_path, {PACKAGE: {"model.safetensors": weights(1, 2, 3, 4, 5), "config.json": b"{}\n" * 50}})


@pytest.fixture
def home(tmp_path: Path, made: Made) -> Home:
    home = Home(tmp_path / "user")
    made.trusted_by(home, str(made.folder))
    return home


def test_bytes_that_rotted_while_they_waited_are_not_blamed_on_the_server(
    made: Made, home: Home, tmp_path: Path
) -> None:
    [pack] = [path for path in made.folder.rglob("*.pack") if path.stat().st_size > STEP_BYTES]
    staged = home.incoming / f"{pack.stem}.0-{pack.stat().st_size}.part"
    staged.parent.mkdir(parents=True)
    staged.write_bytes(bytes(2 * STEP_BYTES + 1))
    heard = Heard()
    with serve(made.folder) as server:
        made.trusted_by(home, server.url)
        summary = fetch_from(server.url, home, FetchRequest(subset="all", to=tmp_path / "out"), emit=heard)
    check_laid_out(tmp_path / "out", made.packages)
    assert summary.failed == 0
    [warning] = heard.warnings
    assert f"`{home.incoming}` held damaged bytes" in warning


def test_a_file_that_was_changed_is_said_to_be_and_only_its_wrong_objects_are_moved(
    made: Made, home: Home, tmp_path: Path
) -> None:
    request = FetchRequest(subset="all", to=tmp_path / "out")
    fetch_from(made.folder, home, request)
    file = tmp_path / "out" / "hf" / "org" / "large" / "model.safetensors"
    data = bytearray(file.read_bytes())
    data[-5] ^= 1
    file.write_bytes(data)
    heard = Heard()
    summary = fetch_from(made.folder, home, msgspec.structs.replace(request, force=True), emit=heard)
    check_laid_out(tmp_path / "out", made.packages)
    assert 0 < summary.bytes_moved < 2 * TENSOR_BYTES
    [warning] = heard.warnings
    assert str(file) in warning


def test_a_file_that_was_removed_is_fetched_again_without_a_word(made: Made, home: Home, tmp_path: Path) -> None:
    request = FetchRequest(subset="all", to=tmp_path / "out")
    fetch_from(made.folder, home, request)
    (tmp_path / "out" / "hf" / "org" / "large" / "config.json").unlink()
    heard = Heard()
    fetch_from(made.folder, home, request, emit=heard)
    check_laid_out(tmp_path / "out", made.packages)
    assert not heard.warnings


def test_a_new_release_moves_only_the_objects_that_changed(made: Made, home: Home, tmp_path: Path) -> None:
    request = FetchRequest(subset="all", to=tmp_path / "out")
    fetch_from(made.folder, home, request)
    files = {**made.packages[PACKAGE], "model.safetensors": weights(1, 2, 9, 4, 5)}
    with Store.open(made.home.store, write=True) as store:
        capture(store, tmp_path, PACKAGE, files)
    release(
        ReleaseName("2026.12"), made.home, load_keys(made.home.keys, lambda: None), clock=clock, emit=lambda _: None
    )
    heard = Heard()
    summary = fetch_from(made.folder, home, request, emit=heard)
    check_laid_out(tmp_path / "out", {PACKAGE: files})
    assert 0 < summary.bytes_moved < 2 * TENSOR_BYTES
    assert not heard.warnings


def test_what_one_transport_began_another_finishes(made: Made, home: Home, tmp_path: Path) -> None:
    fetch_from(made.folder, home, FetchRequest(subset="all", only=("config",), to=tmp_path / "out"))
    [pack] = [path for path in made.folder.rglob("*.pack") if path.stat().st_size > STEP_BYTES]
    staged = home.incoming / pack_path(PackId(pack.stem))
    staged.parent.mkdir(parents=True)
    staged.write_bytes(pack.read_bytes()[: 2 * STEP_BYTES])
    with serve(made.folder) as server:
        made.trusted_by(home, server.url)
        fetch_from(server.url, home, FetchRequest(subset="all", to=tmp_path / "out"))
    check_laid_out(tmp_path / "out", made.packages)
    assert {path.name for path in home.incoming.rglob("*") if path.is_file()} == {"lock"}
