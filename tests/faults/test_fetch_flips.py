"""One flipped bit anywhere in what a mirror serves: fetch gives the right bytes, or an error, never wrong bytes."""

import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ptmtorrent.errors import IntegrityError, PtmError, TrustError
from ptmtorrent.http import new_client
from ptmtorrent.model.records import Summary
from ptmtorrent.paths import Home
from ptmtorrent.reading.sources import Sources
from ptmtorrent.store.pack.reader import open_pack
from ptmtorrent.transports.http import HttpTransport
from ptmtorrent.transports.local import LocalTransport
from ptmtorrent.workflows.fetch import fetch as fetch_module
from ptmtorrent.workflows.fetch.fetch import FetchRequest
from tests.channels import Heard, Made, check_laid_out, fetch_from, make_channel
from tests.simulators.static_server import StaticServer, serve

EACH = 2
"""Random places in each file, besides its first and last bytes."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_channel(tmp_path_factory.mktemp("made"))


@pytest.fixture(scope="module")
def server(made: Made) -> Iterator[StaticServer]:
    with serve(made.folder) as server:
        yield server


def flipped(path: str, place: int) -> Callable[[str, bytes], bytes]:
    """A change of one bit of the file `path`."""

    def change(asked: str, data: bytes) -> bytes:
        if asked != path or place >= len(data):
            return data
        return data[:place] + bytes([data[place] ^ 1 << place % 8]) + data[place + 1 :]

    return change


def places(path: Path) -> list[int]:
    """First, last and some random bytes; of packs only what is not padding, and one byte of that."""
    data = path.read_bytes()
    full = len(data.rstrip(b"\0"))
    source = random.Random(path.name)
    return sorted({0, full - 1, min(full, len(data) - 1), *(source.randrange(full) for _ in range(EACH))})


def outcome(server: StaticServer, made: Made, folder: Path, subset: str = "all") -> Summary | PtmError:
    home = Home(folder / "home")
    made.trusted_by(home, server.url)
    try:
        return fetch_from(server.url, home, FetchRequest(subset=subset, to=folder / "out"))
    except PtmError as error:
        return error


def check_nothing_is_wrong(folder: Path, made: Made) -> None:
    """Every file that is visible is right."""
    expected = {
        folder / name.replace(":", "/", 1) / path: data
        for name, files in made.packages.items()
        for path, data in files.items()
    }
    for path in folder.rglob("*"):
        if path.is_file() and ".ptmtorrent-incoming" not in path.parts:
            assert path.read_bytes() == expected[path], path


def served_files(made: Made, *tops: str) -> list[str]:
    files = [path.relative_to(made.folder).as_posix() for path in made.folder.rglob("*") if path.is_file()]
    return sorted(path for path in files if path.split("/")[0] in tops)


@pytest.mark.parametrize("top", ["metadata", "releases", "packs", "torrents"])
def test_a_flipped_bit_never_gives_wrong_bytes(made: Made, server: StaticServer, tmp_path: Path, top: str) -> None:
    detected = 0
    for path in served_files(made, top):
        for place in places(made.folder / path):
            server.change = flipped(path, place)
            folder = tmp_path / f"{path.replace('/', '_')}-{place}"
            result = outcome(server, made, folder)
            check_nothing_is_wrong(folder / "out", made)
            if isinstance(result, Summary) and not result.failed:
                check_laid_out(folder / "out", made.packages)
            else:
                detected += 1
                assert isinstance(result, Summary) or result.code in {23, 41, 50, 60}, (path, place, result)
    assert detected or top == "torrents"  # over HTTP no torrent is read


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("metadata/timestamp.json", TrustError),
        ("metadata/1.snapshot.json", TrustError),
        ("metadata/1.targets.json", TrustError),
        ("releases/2026.11/release.json", TrustError),
        ("releases/2026.11/index/tree.bin", IntegrityError),
        ("releases/2026.11/index/rows.bin", IntegrityError),
        ("releases/2026.11/index/documents.bin", IntegrityError),
        ("releases/2026.11/subsets/popular.txt", IntegrityError),
    ],
)
def test_a_flipped_document_ends_with_its_own_code(
    made: Made, server: StaticServer, tmp_path: Path, path: str, error: type[PtmError]
) -> None:
    assert (made.folder / path).is_file()
    server.change = flipped(path, 20)
    subset = "popular" if "popular" in path else "all"
    assert type(outcome(server, made, tmp_path, subset)) is error


def test_every_object_of_every_pack_is_checked(made: Made, server: StaticServer, tmp_path: Path) -> None:
    wanted = {identifier for manifest in made.manifests.values() for identifier, _ in manifest.objects}
    for pack in made.folder.rglob("*.pack"):
        with open_pack(pack) as reader:
            entries = [entry for entry in reader.footer() if entry.id in wanted]
        for entry in entries:
            server.change = flipped(pack.relative_to(made.folder).as_posix(), entry.end - 1)
            folder = tmp_path / entry.id
            result = outcome(server, made, folder)
            assert isinstance(result, IntegrityError), entry
            assert server.url in result.message
            check_nothing_is_wrong(folder / "out", made)


def test_the_other_source_is_used_and_the_bad_one_named(
    made: Made, server: StaticServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = tmp_path / "bad"
    shutil.copytree(made.folder, bad)
    for pack in bad.rglob("*.pack"):
        data = bytearray(pack.read_bytes())
        data[2000:3000] = bytes(1000)
        pack.write_bytes(data)
    server.change = lambda _, data: data
    with new_client() as client:
        both = Sources(here=LocalTransport(bad), server=HttpTransport(server.url, client))
        monkeypatch.setattr(fetch_module, "find_sources", lambda *_, **__: both)
        home, heard = Home(tmp_path / "home"), Heard()
        made.trusted_by(home, server.url)
        summary = fetch_from(server.url, home, FetchRequest(subset="all", to=tmp_path / "out"), emit=heard)
    check_laid_out(tmp_path / "out", made.packages)
    assert summary.failed == 0
    assert set(summary.sources) == {str(bad), server.url}
    assert heard.warnings == [f"`{bad}` sent bytes with a wrong hash"]


def test_a_run_after_a_flip_is_right(made: Made, server: StaticServer, tmp_path: Path) -> None:
    pack = next(path for path in made.folder.rglob("*.pack") if packs_are_weights(path))
    server.change = flipped(pack.relative_to(made.folder).as_posix(), 5000)
    assert isinstance(outcome(server, made, tmp_path), IntegrityError)
    server.change = lambda _, data: data
    again = outcome(server, made, tmp_path)
    assert isinstance(again, Summary)
    check_laid_out(tmp_path / "out", made.packages)


@pytest.mark.parametrize("change", [lambda data: data[: len(data) // 2], lambda data: data + bytes(4 << 20)])
@pytest.mark.parametrize("transport", ["http", "local"])
def test_a_short_or_long_pack_ends_with_integrity(
    made: Made, server: StaticServer, tmp_path: Path, change: Callable[[bytes], bytes], transport: str
) -> None:
    home = Home(tmp_path / "home")
    weights = [path for path in made.folder.rglob("*.pack") if packs_are_weights(path)]
    if transport == "http":
        names = {path.relative_to(made.folder).as_posix() for path in weights}
        server.change = lambda path, data: change(data) if path in names else data
        location = server.url
    else:
        shutil.copytree(made.folder, tmp_path / "copy")
        for path in weights:
            (tmp_path / "copy" / path.relative_to(made.folder)).write_bytes(change(path.read_bytes()))
        location = str(tmp_path / "copy")
    made.trusted_by(home, location)
    with pytest.raises(IntegrityError, match="the pack"):
        fetch_from(location, home, FetchRequest(packages=("hf:solo",), to=tmp_path / "out"))
    assert not list((tmp_path / "out").rglob("*.bin"))


def packs_are_weights(path: Path) -> bool:
    with open_pack(path) as reader:
        return reader.header()[0].temper != "meta"
