import os
import shutil
import stat
from pathlib import Path

import msgspec
import pytest

from ptmtorrent.channel.paths import pack_path
from ptmtorrent.errors import (
    IntegrityError,
    Interrupted,
    NoSource,
    NoSpace,
    NotFound,
    PartialFailure,
    StoreError,
    TrustError,
    UsageError,
)
from ptmtorrent.model.ids import ObjectId, PackId
from ptmtorrent.model.placement import Location
from ptmtorrent.model.plan import Extent, plan_moves, resume_extents
from ptmtorrent.model.records import Note
from ptmtorrent.model.wanted import WantedObject
from ptmtorrent.paths import Home
from ptmtorrent.reading.open_channel import open_channel
from ptmtorrent.stop import Stop
from ptmtorrent.store.pack.reader import open_pack
from ptmtorrent.store.store import Store
from ptmtorrent.workflows.fetch.fetch import FetchRequest, fetch
from tests.channels import (
    EXECUTABLE,
    RELEASE,
    Heard,
    Made,
    check_laid_out,
    clock,
    fetch_from,
    left_to_do,
    make_channel,
    tensors,
    whole_pack_sums,
)
from tests.simulators.static_server import serve


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_channel(tmp_path_factory.mktemp("made"))


@pytest.fixture
def home(tmp_path: Path, made: Made) -> Home:
    """A user's home that trusts the channel's folder."""
    home = Home(tmp_path / "user")
    made.trusted_by(home, str(made.folder))
    return home


def test_a_subset_from_a_folder_is_laid_out_whole(made: Made, home: Home, tmp_path: Path) -> None:
    heard = Heard()
    summary = fetch_from(made.folder, home, FetchRequest(subset="all", to=tmp_path / "out"), emit=heard)
    check_laid_out(tmp_path / "out", made.packages)
    assert {name: result.status for name, result in heard.results.items()} == dict.fromkeys(made.packages, "ok")
    assert summary.sources == {str(made.folder): summary.bytes_moved}
    assert (summary.packages, summary.failed) == (4, 0)
    assert summary.files == sum(map(len, made.packages.values()))


def test_over_http_only_the_plan_crosses_the_wire(made: Made, home: Home, tmp_path: Path) -> None:
    heard = Heard()
    with serve(made.folder) as server:
        made.trusted_by(home, server.url)
        channel = open_channel(server.url, None, home, clock=clock, emit=heard)
        request = FetchRequest(packages=("hf:org/base",), to=tmp_path / "out", transport="http")
        server.asked.clear()
        summary = fetch(request, channel, home, clock=clock, emit=heard, stop=Stop())
    check_laid_out(tmp_path / "out", {"hf:org/base": made.packages["hf:org/base"]})
    assert summary.bytes_moved == heard.plan.bytes_to_move < heard.plan.bytes
    assert summary.sources == {server.url: summary.bytes_moved}
    assert server.pack_bytes < summary.bytes_moved + (300 << 10)
    assert not any(asked.path.startswith("releases") and "subsets" in asked.path for asked in server.asked)


def test_a_second_run_moves_nothing_and_hashes_nothing(
    made: Made, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = FetchRequest(subset="all", to=tmp_path / "out")
    fetch_from(made.folder, home, request)
    monkeypatch.setattr("ptmtorrent.workflows.fetch.assembly.same_file", lambda *_: pytest.fail("a file was hashed"))
    heard = Heard()
    summary = fetch_from(made.folder, home, request, emit=heard)
    assert (summary.bytes_moved, summary.sources) == (0, {})
    assert {result.status for result in heard.results.values()} == {"notneeded"}
    assert all(result.path for result in heard.results.values())


def test_without_the_ledger_files_are_hashed_and_kept(made: Made, home: Home, tmp_path: Path) -> None:
    request = FetchRequest(subset="all", to=tmp_path / "out")
    fetch_from(made.folder, home, request)
    home.ledger.unlink()
    assert fetch_from(made.folder, home, request).bytes_moved == 0


def test_a_file_that_was_changed_or_removed_is_mended_from_what_is_here(made: Made, home: Home, tmp_path: Path) -> None:
    request = FetchRequest(subset="all", to=tmp_path / "out")
    fetch_from(made.folder, home, request)
    folder = tmp_path / "out" / "hf" / "org" / "tuned"
    (folder / "config.json").write_bytes(b"{}")
    (folder / "copy of base.safetensors").unlink()
    heard = Heard()
    assert fetch_from(made.folder, home, request, emit=heard).failed == 1
    assert str(folder / "config.json") in heard.results["hf:org/tuned"].reason
    assert (folder / "config.json").read_bytes() == b"{}"  # it may be the user's own work
    summary = fetch_from(made.folder, home, msgspec.structs.replace(request, force=True))
    check_laid_out(tmp_path / "out", made.packages)
    assert summary.bytes_moved == 0  # both are in `hf:org/base` too


def test_a_damaged_neighbour_is_not_copied_from(made: Made, home: Home, tmp_path: Path) -> None:
    request = FetchRequest(subset="all", to=tmp_path / "out")
    fetch_from(made.folder, home, request)
    out = tmp_path / "out" / "hf" / "org"
    (out / "tuned" / "copy of base.safetensors").unlink()
    times = (out / "base" / "model.safetensors").stat()
    data = bytearray((out / "base" / "model.safetensors").read_bytes())
    data[1000] ^= 1
    (out / "base" / "model.safetensors").write_bytes(data)
    os.utime(out / "base" / "model.safetensors", ns=(times.st_atime_ns, times.st_mtime_ns))  # the ledger believes it
    summary = fetch_from(made.folder, home, request)
    assert (out / "tuned" / "copy of base.safetensors").read_bytes() == made.packages["hf:org/tuned"][
        "copy of base.safetensors"
    ]
    assert summary.bytes_moved > 0


def test_only_some_kinds_are_laid_out(made: Made, home: Home, tmp_path: Path) -> None:
    fetch_from(made.folder, home, FetchRequest(subset="all", only=("docs",), to=tmp_path / "out"))
    docs = {"hf:org/base": {"README.md": b"# base\n"}, "onnx:vision/x": {"README.md": b"# x\n" * 30}}
    check_laid_out(tmp_path / "out", docs)


def test_a_subset_narrows_the_kinds_of_its_members(made: Made, home: Home, tmp_path: Path) -> None:
    fetch_from(made.folder, home, FetchRequest(subset="metadata", to=tmp_path / "out"))
    assert not list((tmp_path / "out").rglob("*.safetensors"))
    assert (tmp_path / "out" / "hf" / "org" / "base" / "config.json").is_file()
    with pytest.raises(UsageError, match="selects other kinds"):
        fetch_from(made.folder, home, FetchRequest(subset="metadata", only=("weights",), to=tmp_path / "out"))


def test_max_bytes_takes_what_fits_and_names_what_does_not(made: Made, home: Home, tmp_path: Path) -> None:
    heard = Heard()
    limit = sum(len(data) for data in made.packages["hf:org/base"].values())
    request = FetchRequest(subset="all", max_bytes=limit, to=tmp_path / "out")
    summary = fetch_from(made.folder, home, request, emit=heard)
    check_laid_out(tmp_path / "out", {"hf:org/base": made.packages["hf:org/base"]})
    assert (summary.packages, summary.bytes) == (1, limit)
    over = {name for name, result in heard.results.items() if result.reason == "over --max-bytes"}
    assert over == set(made.packages) - {"hf:org/base"}
    assert {heard.results[name].status for name in over} == {"notneeded"}


def test_max_bytes_is_filled_with_what_is_most_downloaded(made: Made, home: Home, tmp_path: Path) -> None:
    limit = sum(map(len, made.packages["hf:solo"].values()))
    request = FetchRequest(packages=("hf:solo", "onnx:vision/x"), max_bytes=limit, to=tmp_path / "out")
    heard = Heard()
    fetch_from(made.folder, home, request, emit=heard)
    assert heard.results["hf:solo"].status == "notneeded"  # named first, and downloaded less
    assert heard.results["onnx:vision/x"].status == "ok"


def test_what_does_not_fit_leaves_room_for_what_does(made: Made, home: Home, tmp_path: Path) -> None:
    heard = Heard()
    limit = sum(map(len, made.packages["hf:solo"].values()))
    request = FetchRequest(packages=tuple(made.packages), max_bytes=limit, to=tmp_path / "out")
    fetch_from(made.folder, home, request, emit=heard)
    assert any(result.status == "notneeded" for result in heard.results.values())
    assert any(result.status == "ok" for result in heard.results.values())


def test_max_bytes_that_nothing_fits_into_ends_with_3(made: Made, home: Home, tmp_path: Path) -> None:
    heard = Heard()
    with pytest.raises(PartialFailure, match="4 packages"):
        fetch_from(made.folder, home, FetchRequest(subset="all", max_bytes=1, to=tmp_path / "out"), emit=heard)
    assert {result.reason for result in heard.results.values()} == {"over --max-bytes"}
    assert set(heard.results) == set(made.packages)


def test_a_dry_run_tells_the_plan_and_writes_nothing(made: Made, home: Home, tmp_path: Path) -> None:
    heard, after = Heard(), Heard()
    request = FetchRequest(subset="all", to=tmp_path / "out", dry_run=True)
    summary = fetch_from(made.folder, home, request, emit=heard)
    assert not (tmp_path / "out").exists()
    assert not home.incoming.exists()
    assert (summary.bytes_moved, heard.results) == (0, {})
    fetch_from(made.folder, home, FetchRequest(subset="all", to=tmp_path / "out"), emit=after)
    assert left_to_do(heard.plan) == left_to_do(after.plan)
    assert heard.plan.bytes == summary.bytes == 1_942_941


def test_an_executable_file_is_one(made: Made, home: Home, tmp_path: Path) -> None:
    fetch_from(made.folder, home, FetchRequest(packages=("hf:org/tuned",), to=tmp_path / "out"))
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "out/hf/org/tuned").glob("*.*")}
    assert (modes[EXECUTABLE], modes["config.json"]) == (0o755, 0o644)


def test_nothing_is_left_but_the_packages(made: Made, home: Home, tmp_path: Path) -> None:
    with serve(made.folder) as server:
        made.trusted_by(home, server.url)
        fetch_from(server.url, home, FetchRequest(subset="all", to=tmp_path / "out"))
    assert {path.name for path in home.incoming.iterdir()} == {"lock"}
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["hf", "onnx"]


@pytest.mark.parametrize("name", ["hf:org/bas", "hf:Org/Base"])
def test_an_unknown_package_names_near_matches(made: Made, home: Home, tmp_path: Path, name: str) -> None:
    with pytest.raises(NotFound, match=f"no package `{name}`") as caught:
        fetch_from(made.folder, home, FetchRequest(packages=(name,), to=tmp_path))
    assert "`hf:org/base`" in str(caught.value.hint)


def test_an_unknown_subset_names_those_there_are(made: Made, home: Home, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no subset `poplar`") as caught:
        fetch_from(made.folder, home, FetchRequest(subset="poplar", to=tmp_path))
    assert "`popular`" in str(caught.value.hint)


def test_an_unknown_channel_names_near_matches(made: Made, home: Home) -> None:
    with pytest.raises(NotFound, match="there is no channel at") as caught:
        open_channel(f"{made.folder}s", None, home, clock=clock, emit=Heard())
    assert f"`{made.folder}`" in str(caught.value.hint)


def test_a_channel_that_was_never_trusted_is_refused(made: Made, tmp_path: Path) -> None:
    with pytest.raises(TrustError, match="not trusted yet") as caught:
        open_channel(str(made.folder), None, Home(tmp_path), clock=clock, emit=Heard())
    assert f"ptmtorrent trust add {made.folder} --fingerprint b3:" in str(caught.value.hint)


def test_a_content_root_opens_any_channel_without_trust_or_time(made: Made, tmp_path: Path) -> None:
    pin = f"b3:{made.release.content_root}"
    channel = open_channel(str(made.folder), pin, Home(tmp_path), clock=lambda: pytest.fail("asked"), emit=Heard())
    assert (channel.how, channel.release.name) == ("archived", RELEASE)


def test_our_own_channel_is_trusted_by_its_own_root(made: Made) -> None:
    channel = open_channel(str(made.folder), None, made.home, clock=clock, emit=Heard())
    assert (channel.how, channel.folder) == ("fresh", made.folder)


def test_what_is_in_the_home_s_store_is_not_moved(made: Made, tmp_path: Path) -> None:
    summary = fetch_from(made.folder, made.home, FetchRequest(subset="all", to=tmp_path / "out"))
    check_laid_out(tmp_path / "out", made.packages)
    assert summary.bytes_moved == 0


def test_a_dry_run_plans_whole_packs_when_they_are_to_be_kept(made: Made, home: Home, tmp_path: Path) -> None:
    heard = Heard()
    request = FetchRequest(packages=("hf:org/base",), to=tmp_path / "out", keep_packs=True, dry_run=True)
    fetch_from(made.folder, home, request, emit=heard)
    assert heard.plan.bytes_to_move in whole_pack_sums(made.folder)
    assert not home.store.exists()


def test_packs_are_kept_when_asked(made: Made, home: Home, tmp_path: Path) -> None:
    with serve(made.folder) as server:
        made.trusted_by(home, server.url)
        fetch_from(server.url, home, FetchRequest(packages=("hf:org/base",), to=tmp_path / "out", keep_packs=True))
        again = fetch_from(server.url, home, FetchRequest(packages=("hf:org/base",), to=tmp_path / "again"))
    with Store.open(home.store) as store:
        assert store.packs()
    assert again.bytes_moved == 0


def test_a_mirror_that_has_no_packs_ends_with_no_source(made: Made, home: Home, tmp_path: Path) -> None:
    heard = Heard()
    with serve(made.folder) as server:
        made.trusted_by(home, server.url)
        channel = open_channel(server.url, None, home, clock=clock, emit=heard)
        request = FetchRequest(packages=("hf:solo",), to=tmp_path / "out")
        server.hidden = {path.relative_to(made.folder).as_posix() for path in packs_with_weights(made)}
        with pytest.raises(NoSource, match=server.url):
            fetch(request, channel, home, clock=clock, emit=heard, stop=Stop())
    assert heard.results["hf:solo"].status == "error"
    assert not (tmp_path / "out" / "hf").exists()


def test_one_bad_package_does_not_stop_the_others(made: Made, home: Home, tmp_path: Path) -> None:
    blocked = tmp_path / "out" / "hf" / "org"
    blocked.mkdir(parents=True)
    (blocked / "base").symlink_to(tmp_path)
    heard = Heard()
    summary = fetch_from(made.folder, home, FetchRequest(subset="all", to=tmp_path / "out"), emit=heard)
    assert summary.failed == 1
    assert heard.results["hf:org/base"].status == "error"
    assert "is a link" in heard.results["hf:org/base"].reason
    assert {heard.results[name].status for name in set(made.packages) - {"hf:org/base"}} == {"ok"}
    assert not (tmp_path / "README.md").exists()


def test_a_link_where_a_file_should_go_is_refused(made: Made, home: Home, tmp_path: Path) -> None:
    (tmp_path / "precious").write_bytes(b"mine")
    folder = tmp_path / "out" / "hf" / "solo"
    folder.mkdir(parents=True)
    (folder / "weights.bin").symlink_to(tmp_path / "precious")
    heard = Heard()
    summary = fetch_from(made.folder, home, FetchRequest(packages=("hf:solo",), to=tmp_path / "out"), emit=heard)
    assert summary.failed == 1
    assert str(folder / "weights.bin") in heard.results["hf:solo"].reason
    assert (tmp_path / "precious").read_bytes() == b"mine"


def test_too_small_a_disk_is_told_before_anything_is_moved(
    made: Made, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(NoSpace, match=r"\d{7} bytes are needed on the disk .* and 1000 are free"):
        fetch_from(made.folder, home, FetchRequest(subset="all", to=tmp_path / "out"))
    assert not list((tmp_path / "out").rglob("*.*"))


def test_stop_interrupts_and_the_next_run_goes_on(made: Made, home: Home, tmp_path: Path) -> None:
    stop, heard = Stop(), Heard()
    request = FetchRequest(subset="all", to=tmp_path / "out")
    channel = open_channel(str(made.folder), None, home, clock=clock, emit=heard)

    def listen(record: object) -> None:
        heard(record)  # type: ignore[arg-type]
        if heard.progress:
            stop.set()

    with pytest.raises(Interrupted) as caught:
        fetch(request, channel, home, clock=clock, emit=listen, stop=stop)
    assert "run the same command again" in str(caught.value.hint)
    rest = fetch_from(made.folder, home, request)
    check_laid_out(tmp_path / "out", made.packages)
    assert rest.bytes_moved < heard.plan.bytes_to_move


def test_two_fetches_to_one_place_take_turns(made: Made, home: Home, tmp_path: Path) -> None:
    from ptmtorrent.disk.locks import WriteLock

    incoming = tmp_path / "out" / ".ptmtorrent-incoming"
    with WriteLock(incoming), pytest.raises(StoreError, match="being written by another process"):
        fetch_from(made.folder, home, FetchRequest(subset="all", to=tmp_path / "out"))


def test_nothing_named_is_a_usage_error(made: Made, home: Home, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no packages were given"):
        fetch_from(made.folder, home, FetchRequest(to=tmp_path))


def test_a_transport_that_cannot_reach_the_channel_is_a_usage_error(made: Made, home: Home, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is a folder, not a server"):
        fetch_from(made.folder, home, FetchRequest(subset="all", to=tmp_path / "out", transport="http"))


def test_a_name_that_differs_in_case_alone_is_refused_where_the_disk_ignores_case(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make_channel(tmp_path, {"hf:a/b": {"Config.json": b"1", "config.json": b"2"}, "hf:c/d": {"x.json": b"3"}})
    home = Home(tmp_path / "user")
    made.trusted_by(home, str(made.folder))
    monkeypatch.setattr("ptmtorrent.workflows.fetch.fetch.ignores_case", lambda _: True)
    heard = Heard()
    fetch_from(made.folder, home, FetchRequest(subset="all", to=tmp_path / "out"), emit=heard)
    assert heard.results["hf:a/b"].status == "impossible"
    assert "`config.json` differs in case alone from `Config.json`" in heard.results["hf:a/b"].reason
    check_laid_out(tmp_path / "out", {"hf:a/b": {"Config.json": b"1"}, "hf:c/d": made.packages["hf:c/d"]})


def test_packages_that_want_one_place_with_other_bytes_collide(tmp_path: Path) -> None:
    made = make_channel(tmp_path, {"hf:a": {"b/x.json": b"1" * 99}, "hf:a/b": {"x.json": b"2" * 99}})
    home = Home(tmp_path / "user")
    made.trusted_by(home, str(made.folder))
    heard = Heard()
    summary = fetch_from(made.folder, home, FetchRequest(subset="all", to=tmp_path / "out"), emit=heard)
    assert (heard.results["hf:a"].status, heard.results["hf:a/b"].status, summary.failed) == ("ok", "error", 1)
    check_laid_out(tmp_path / "out", {"hf:a": made.packages["hf:a"]})


def test_files_larger_than_an_object_are_put_together(tmp_path: Path) -> None:
    big = tensors(7, count=1, numbers=9_000_000)
    made = make_channel(tmp_path, {"hf:big/one": {"model.safetensors": big, "again.bin": big[:20_000_000]}})
    home = Home(tmp_path / "user")
    made.trusted_by(home, str(made.folder))
    fetch_from(made.folder, home, FetchRequest(subset="all", to=tmp_path / "out"))
    check_laid_out(tmp_path / "out", made.packages)


def test_the_sample_channel_is_used_and_named_when_none_is(home: Home) -> None:
    heard = Heard()
    try:
        channel = open_channel(None, None, home, clock=clock, emit=heard)
    except (NotFound, TrustError) as error:
        pytest.skip(f"this checkout has no sample channel yet: {error}")
    assert channel.how == "archived"
    assert any("sample channel" in record.message for record in heard.records if isinstance(record, Note))


def test_extents_that_were_begun_are_kept_to() -> None:
    pack = PackId("a" * 64)

    def wanted(offset: int) -> WantedObject:
        at = Location(pack=pack, pack_size=100_000_000, offset=offset, length=10, codec=0)
        return WantedObject(id=ObjectId(f"{offset:064x}"), size=10, at=at)

    plan = plan_moves([wanted(1000), wanted(50_000_000)], lambda _: False)
    begun = {pack: [Extent(offset=0, length=5000), Extent(offset=90_000_000, length=10)]}
    [request] = resume_extents(plan, begun).requests
    assert request.extents == (Extent(offset=0, length=5000), Extent(offset=50_000_000, length=10))


def test_damaged_documents_name_their_file_and_the_channel(home: Home, tmp_path: Path) -> None:
    damaged = make_channel(tmp_path / "damaged")
    [ref] = damaged.release.runs[0].documents
    path = damaged.folder / ref.path
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x10
    path.write_bytes(data)
    damaged.trusted_by(home, str(damaged.folder))
    heard = Heard()
    with pytest.raises(IntegrityError, match=r"has wrong bytes"):
        fetch_from(damaged.folder, home, FetchRequest(subset="all", to=tmp_path / "out"), emit=heard)
    [reason] = {result.reason for result in heard.results.values() if result.status == "error"}
    assert ref.path in reason
    assert str(damaged.folder) in reason


def packs_with_weights(made: Made) -> list[Path]:
    found = []
    for path in made.folder.rglob("*.pack"):
        with open_pack(path) as reader:
            if reader.header()[0].temper != "meta":
                found.append(path)
    return found


def test_a_pack_path_is_what_a_channel_serves(made: Made) -> None:
    for path in made.folder.rglob("*.pack"):
        assert path == made.folder / pack_path(PackId(path.stem))
