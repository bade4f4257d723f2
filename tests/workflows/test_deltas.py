"""Packages stored as deltas: their bases travel along, whatever comes first, and nothing wrong is ever laid out."""

import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ptmtorrent.channel.paths import pack_path
from ptmtorrent.errors import IntegrityError, Interrupted, NoSource, NoSpace, PtmError
from ptmtorrent.http import new_client
from ptmtorrent.model.plan import Extent, PackRequest, objects_in
from ptmtorrent.paths import Home
from ptmtorrent.reading.open_channel import open_channel
from ptmtorrent.reading.sources import Sources
from ptmtorrent.stop import Stop
from ptmtorrent.store.store import Store
from ptmtorrent.transports.http import HttpTransport
from ptmtorrent.transports.local import LocalTransport
from ptmtorrent.transports.port import Delivered, Failed
from ptmtorrent.workflows.fetch import fetch as fetch_module
from ptmtorrent.workflows.fetch.fetch import FetchRequest, fetch
from tests.channels import Heard, Made, check_laid_out, clock, fetch_from, left_to_do
from tests.simulators.static_server import StaticServer, serve
from tests.simulators.swarm import seeding
from tests.workflows.tuned import BASE, TUNED, bases, deltas, make_tuned_channel, standard_packages

BOTH = FetchRequest(subset="all")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_tuned_channel(tmp_path_factory.mktemp("made"))


@pytest.fixture(scope="module")
def server(made: Made) -> Iterator[StaticServer]:
    with serve(made.folder) as server:
        yield server


@pytest.fixture(autouse=True)
def _honest(server: StaticServer) -> None:
    server.change = lambda _, data: data
    server.hidden = set()
    server.asked.clear()


@pytest.fixture
def home(tmp_path: Path, made: Made, server: StaticServer) -> Home:
    home = Home(tmp_path / "user")
    made.trusted_by(home, str(made.folder))
    made.trusted_by(home, server.url)
    return home


def tuned_to(folder: Path, **fields: object) -> FetchRequest:
    return FetchRequest(packages=(TUNED,), to=folder, **fields)  # type: ignore[arg-type]  # spelled by the test


def only(made: Made, *packages: str) -> dict[str, dict[str, bytes]]:
    return {name: made.packages[name] for name in packages}


def waiting_in(folder: Path) -> list[Path]:
    """What waits in the layout below `folder` for a base or a delta."""
    return sorted(path for path in folder.rglob("*") if path.suffix in {".base", ".delta"})


class Scripted:
    """A folder's packs, in the order that `arrange` gives to their objects (to themselves with `whole`).

    After `after` of them the fetch is asked to stop.
    """

    whole_packs = False

    def __init__(
        self,
        folder: Path,
        arrange: Callable[[list[Delivered]], list[Delivered]],
        after: int = 1 << 30,
        *,
        whole: bool = False,
    ) -> None:
        self.name = str(folder)
        self._inner = LocalTransport(folder)
        self._arrange = arrange
        self._after = after
        self._whole = whole
        self.asked: list[str] = []
        self.gave: list[str] = []

    def deliver(self, requests: Sequence[PackRequest], staging: Path, stop: Stop) -> Iterator[Delivered | Failed]:
        outcomes = list(self._inner.deliver(requests, staging, stop))
        delivered = [part for part in outcomes if isinstance(part, Delivered)]
        parts = delivered if self._whole else [one for part in delivered for one in single(part)]
        self.asked += [item.id for request in requests for item in request.objects]
        for number, part in enumerate(self._arrange(parts)):
            if number >= self._after:
                stop.set()
                return
            self.gave += [item.id for item in objects_in(part.request, part.extent)]
            yield part


def single(part: Delivered) -> Iterator[Delivered]:
    """Deliver each object of an extent by itself."""
    for item in objects_in(part.request, part.extent):
        extent = Extent(offset=item.at.offset, length=item.at.length)
        yield msgspec.structs.replace(part, extent=extent, start=extent.offset, moved=extent.length)


def take_from(monkeypatch: pytest.MonkeyPatch, transport: Scripted) -> Scripted:
    monkeypatch.setattr(fetch_module, "find_sources", lambda *_, **__: Sources(here=transport))
    return transport


def last_first(parts: list[Delivered]) -> list[Delivered]:
    return parts[::-1]


def test_the_channel_holds_deltas_and_their_bases_in_packs_of_their_own(made: Made) -> None:
    assert len(deltas(made)) >= 4
    assert set(bases(made)) == {entry.base for _, entry in deltas(made).values()}
    assert not {pack for pack, _ in deltas(made).values()} & {pack for pack, _ in bases(made).values()}


def test_a_fine_tune_comes_with_its_base_from_a_folder(made: Made, home: Home, tmp_path: Path) -> None:
    heard = Heard()
    summary = fetch_from(made.folder, home, tuned_to(tmp_path / "out"), emit=heard)
    check_laid_out(tmp_path / "out", only(made, TUNED))
    assert summary.failed == 0
    assert summary.bytes_moved == heard.plan.bytes_to_move
    assert heard.plan.bytes_to_move >= sum(entry.stored for _, entry in bases(made).values())
    assert heard.plan.disk >= summary.bytes + sum(entry.raw for _, entry in bases(made).values())
    assert fetch_from(made.folder, home, tuned_to(tmp_path / "out")).bytes_moved == 0


def test_a_fine_tune_comes_with_its_base_over_http(
    made: Made, server: StaticServer, home: Home, tmp_path: Path
) -> None:
    fetch_from(server.url, home, tuned_to(tmp_path / "out"))
    check_laid_out(tmp_path / "out", only(made, TUNED))
    asked = Counter(part.path for part in server.asked)
    assert {pack_path(pack) for pack, _ in bases(made).values()} <= set(asked)
    assert {path.name for path in home.incoming.rglob("*") if path.is_file()} == {"lock"}


def test_a_fine_tune_comes_with_its_base_by_torrent(made: Made, home: Home, tmp_path: Path) -> None:
    with seeding(made.folder) as port:
        request = tuned_to(tmp_path / "out", transport="torrent", peers=(("127.0.0.1", port),))
        summary = fetch_from(made.folder, home, request)
    check_laid_out(tmp_path / "out", only(made, TUNED))
    assert set(summary.sources) == {"torrent"}


def test_it_can_be_laid_out_as_an_hf_cache(made: Made, home: Home, tmp_path: Path) -> None:
    fetch_from(made.folder, home, tuned_to(tmp_path / "out", into="hf-cache"))
    blobs = [path.read_bytes() for path in (tmp_path / "out").rglob("blobs/*")]
    assert sorted(blobs) == sorted(made.packages[TUNED].values())


@pytest.mark.parametrize("arrange", [lambda parts: parts, last_first])
def test_both_packages_move_the_base_once_and_keep_no_copy_of_it_beside(
    made: Made,
    home: Home,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arrange: Callable[[list[Delivered]], list[Delivered]],
) -> None:
    transport = take_from(monkeypatch, Scripted(made.folder, arrange))
    heard = Heard()
    fetch_from(made.folder, home, FetchRequest(subset="all", to=tmp_path / "out"), emit=heard)
    check_laid_out(tmp_path / "out", made.packages)
    assert max(Counter(transport.asked).values()) == 1
    raw = sum(len(data) for files in made.packages.values() for data in files.values())
    assert heard.plan.disk < raw + sum(entry.stored for _, entry in deltas(made).values()) + 1


def test_deltas_that_come_before_their_bases_wait_for_them(
    made: Made, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    transport = take_from(monkeypatch, Scripted(made.folder, last_first))
    fetch_from(made.folder, home, tuned_to(tmp_path / "out"))
    check_laid_out(tmp_path / "out", only(made, TUNED))
    assert max(Counter(transport.asked).values()) == 1
    assert not waiting_in(tmp_path / "out")


def test_a_base_that_is_laid_out_already_is_not_moved(
    made: Made, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch_from(made.folder, home, FetchRequest(packages=(BASE,), to=tmp_path / "out"))
    transport = take_from(monkeypatch, Scripted(made.folder, last_first))
    both = FetchRequest(packages=(BASE, TUNED), to=tmp_path / "out")
    fetch_from(made.folder, home, both)
    check_laid_out(tmp_path / "out", made.packages)
    assert not set(transport.asked) & set(bases(made))


def test_a_base_in_the_own_store_is_not_moved(
    made: Made, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch_from(made.folder, home, FetchRequest(packages=(BASE,), to=tmp_path / "base", keep_packs=True))
    transport = take_from(monkeypatch, Scripted(made.folder, last_first))
    fetch_from(made.folder, home, tuned_to(tmp_path / "out"))
    check_laid_out(tmp_path / "out", only(made, TUNED))
    assert not set(transport.asked) & set(bases(made))


def test_a_base_that_rotted_in_the_own_store_is_moved(
    made: Made, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch_from(made.folder, home, FetchRequest(packages=(BASE,), to=tmp_path / "base", keep_packs=True))
    rotten = next(iter(bases(made).values()))
    path = home.store / pack_path(rotten[0])
    flip(path, rotten[1].end - 1)
    transport = take_from(monkeypatch, Scripted(made.folder, last_first))
    summary = fetch_from(made.folder, home, tuned_to(tmp_path / "out"))
    check_laid_out(tmp_path / "out", only(made, TUNED))
    assert set(transport.asked) & set(bases(made)) == {rotten[1].id}
    assert summary.failed == 0


def test_kept_packs_of_deltas_are_in_the_store(made: Made, home: Home, tmp_path: Path) -> None:
    heard = Heard()
    fetch_from(made.folder, home, tuned_to(tmp_path / "out", keep_packs=True), emit=heard)
    assert not heard.warnings
    with Store.open(home.store) as store:
        assert all(store.has(identifier) for identifier in (*deltas(made), *bases(made)))
    shutil.rmtree(tmp_path / "out")
    assert fetch_from(made.folder, home, tuned_to(tmp_path / "out")).bytes_moved == 0
    check_laid_out(tmp_path / "out", only(made, TUNED))


def test_packs_are_kept_whole_also_when_deltas_came_before_their_bases(
    made: Made, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeping = Sources(here=Scripted(made.folder, last_first, whole=True), keeps_packs=True)
    with monkeypatch.context() as patch:
        patch.setattr(fetch_module, "find_sources", lambda *_, **__: keeping)
        fetch_from(made.folder, home, tuned_to(tmp_path / "out", keep_packs=True))
    check_laid_out(tmp_path / "out", only(made, TUNED))
    with Store.open(home.store) as store:
        assert all(store.has(identifier) for identifier in (*deltas(made), *bases(made)))


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_whatever_comes_when_and_however_often_it_is_stopped_the_files_are_right(
    made: Made, home: Home, tmp_path: Path, data: st.DataObject
) -> None:
    """Objects come in any order, some of them twice; what one run kept the next does not ask for."""
    folder = Path(tempfile.mkdtemp(dir=tmp_path))
    request = FetchRequest(packages=data.draw(st.sampled_from(((TUNED,), (BASE, TUNED), (TUNED, BASE)))), to=folder)
    given_before: set[str] = set()

    def arrange(parts: list[Delivered]) -> list[Delivered]:
        return data.draw(st.permutations(parts)) + data.draw(st.lists(st.sampled_from(parts), max_size=2))

    for after in (*data.draw(st.lists(st.integers(1, 3), max_size=2)), 1 << 30):
        with pytest.MonkeyPatch.context() as patch:
            transport = take_from(patch, Scripted(made.folder, arrange, after))
            with suppress(Interrupted):
                fetch_from(made.folder, home, request)
        assert len(transport.asked) == len(set(transport.asked))
        assert not given_before & set(transport.asked)
        given_before |= set(transport.gave)
    check_laid_out(folder, only(made, *request.packages))


def test_a_dry_run_counts_the_bases_and_writes_nothing(made: Made, home: Home, tmp_path: Path) -> None:
    dry, real = Heard(), Heard()
    fetch_from(made.folder, home, tuned_to(tmp_path / "out", dry_run=True), emit=dry)
    assert not (tmp_path / "out").exists()
    fetch_from(made.folder, home, tuned_to(tmp_path / "out"), emit=real)
    assert left_to_do(dry.plan) == left_to_do(real.plan)
    assert dry.plan.bytes_to_move >= sum(entry.stored for _, entry in bases(made).values())


def flip(path: Path, place: int) -> None:
    """Flip a bit of this name of a file, and of no other that it has."""
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.unlink()
    path.write_bytes(data)


def test_a_flipped_bit_in_a_base_or_a_delta_never_gives_wrong_bytes(
    made: Made, server: StaticServer, home: Home, tmp_path: Path
) -> None:
    chosen = [*list(bases(made).values())[:2], *list(deltas(made).values())[-2:]]
    for number, (pack, entry) in enumerate(chosen):
        path, place = pack_path(pack), entry.offset + (number * 7919) % entry.stored

        def change(asked: str, data: bytes, path: str = path, place: int = place) -> bytes:
            return data if asked != path else data[:place] + bytes([data[place] ^ 16]) + data[place + 1 :]

        server.change = change
        folder = tmp_path / str(number)
        error = failure(server.url, home, tuned_to(folder))
        assert isinstance(error, IntegrityError), entry
        assert server.url in error.message
        laid_out = {file.name: file.read_bytes() for file in folder.glob("hf/**/*") if file.is_file()}
        assert laid_out == {"README.md": made.packages[TUNED]["README.md"]}
        server.change = lambda _, data: data
        fetch_from(server.url, home, tuned_to(folder))
        check_laid_out(folder, only(made, TUNED))


def failure(location: Path | str, home: Home, request: FetchRequest) -> PtmError | None:
    try:
        fetch_from(location, home, request)
    except PtmError as error:
        return error
    return None


@pytest.mark.parametrize("which", [bases, deltas])
def test_another_source_is_asked_for_what_the_first_has_wrong(  # noqa: PLR0917  # a matrix
    made: Made,
    server: StaticServer,
    home: Home,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    which: Callable[[Made], dict],  # type: ignore[type-arg]  # of objects and where they lie
) -> None:
    bad = tmp_path / "bad"
    shutil.copytree(made.folder, bad)
    pack, entry = next(iter(which(made).values()))
    flip(bad / pack_path(pack), entry.end - 1)
    heard = Heard()
    with new_client() as client:
        both = Sources(here=Scripted(bad, last_first), server=HttpTransport(server.url, client))
        monkeypatch.setattr(fetch_module, "find_sources", lambda *_, **__: both)
        summary = fetch_from(server.url, home, tuned_to(tmp_path / "out"), emit=heard)
    check_laid_out(tmp_path / "out", only(made, TUNED))
    assert heard.warnings == [f"`{bad}` sent bytes with a wrong hash"]
    assert summary.sources[server.url] == entry.stored


def test_a_base_that_nobody_has_is_the_reason_given(
    made: Made, server: StaticServer, home: Home, tmp_path: Path
) -> None:
    server.hidden = {pack_path(pack) for pack, _ in bases(made).values()}
    error = failure(server.url, home, tuned_to(tmp_path / "out"))
    assert isinstance(error, NoSource)
    assert any(pack in error.message for pack, _ in bases(made).values())
    server.hidden = set()
    server.asked.clear()
    fetch_from(server.url, home, tuned_to(tmp_path / "out"))
    check_laid_out(tmp_path / "out", only(made, TUNED))
    packs = {pack_path(pack) for pack, _ in deltas(made).values()}
    assert not packs & {part.path for part in server.asked}, "the deltas had waited"


def interrupted_after(
    count: int, made: Made, home: Home, request: FetchRequest, monkeypatch: pytest.MonkeyPatch, *, reverse: bool
) -> list[str]:
    """Fetch until `count` extents were taken; return the objects that were asked for."""
    arrange = last_first if reverse else list
    transport = take_from(monkeypatch, Scripted(made.folder, arrange, count))
    channel = open_channel(str(made.folder), None, home, clock=clock, emit=lambda _: None)
    with pytest.raises(Interrupted):
        fetch(request, channel, home, clock=clock, emit=lambda _: None, stop=Stop())
    return transport.asked


@pytest.mark.parametrize("reverse", [True, False])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_what_waited_when_it_was_interrupted_is_not_moved_again(  # noqa: PLR0917  # a matrix
    made: Made, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int, reverse: bool
) -> None:
    request = tuned_to(tmp_path / "out")
    whole = Heard()
    fetch_from(made.folder, home, tuned_to(tmp_path / "other", dry_run=True), emit=whole)
    interrupted_after(count, made, home, request, monkeypatch, reverse=reverse)
    transport, heard = take_from(monkeypatch, Scripted(made.folder, list)), Heard()
    fetch_from(made.folder, home, request, emit=heard)
    check_laid_out(tmp_path / "out", only(made, TUNED))
    # Where the rest is most of a pack, the whole pack is asked for.
    assert heard.plan.bytes_to_move < whole.plan.bytes_to_move + (count == 1 and not reverse)
    assert heard.plan.disk <= whole.plan.disk
    assert max(Counter(transport.asked).values(), default=1) == 1


@pytest.mark.parametrize("reverse", [True, False])
@pytest.mark.parametrize(
    "damage", [lambda data: bytes([data[0] ^ 1]) + data[1:], lambda data: data[:-1], lambda _: b""]
)
def test_what_rotted_while_it_waited_is_moved_again_and_nobody_blamed(  # noqa: PLR0917  # a matrix
    made: Made,
    home: Home,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    reverse: bool,
    damage: Callable[[bytes], bytes],
) -> None:
    request = tuned_to(tmp_path / "out")
    interrupted_after(2, made, home, request, monkeypatch, reverse=reverse)
    waiting = waiting_in(tmp_path / "out")
    assert {path.suffix for path in waiting} >= {".delta" if reverse else ".base"}
    for path in waiting:
        path.write_bytes(damage(path.read_bytes()))
    take_from(monkeypatch, Scripted(made.folder, list))
    heard = Heard()
    summary = fetch_from(made.folder, home, request, emit=heard)
    check_laid_out(tmp_path / "out", only(made, TUNED))
    assert (summary.failed, heard.warnings) == (0, [])


def test_a_full_disk_names_the_bytes_that_waiting_takes(
    made: Made, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = Heard()
    fetch_from(made.folder, home, tuned_to(tmp_path / "out", dry_run=True), emit=heard)
    free = heard.plan.disk - 1
    usage = shutil.disk_usage(tmp_path)._replace(free=free)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(NoSpace, match=str(heard.plan.disk)):
        fetch_from(made.folder, home, tuned_to(tmp_path / "out"))


def test_the_subset_counts_the_packs_of_bases(made: Made) -> None:
    everything = made.release.subset("all")
    assert made.release.totals.packs_bytes == sum(path.stat().st_size for path in made.folder.rglob("*.pack"))
    assert everything.packs_bytes == made.release.totals.packs_bytes
    assert standard_packages().keys() == made.packages.keys()
