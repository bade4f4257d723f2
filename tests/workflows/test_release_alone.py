"""What packages cost that are fetched alone: whole forms beside deltas, as the policy asks for them."""

from pathlib import Path

import numpy as np
import pytest

from ptmtorrent.catalogue.index import Described, describe_members, find_members
from ptmtorrent.channel.folder import OwnReader
from ptmtorrent.errors import ConfigError
from ptmtorrent.model.forms import choose_forms
from ptmtorrent.model.ids import PackId, ReleaseName
from ptmtorrent.model.kinds import file_kind
from ptmtorrent.model.manifest import FileEntry
from ptmtorrent.model.placement import DELTA_CODECS
from ptmtorrent.model.plan import missing_rows, plan_rows
from ptmtorrent.model.policy import Policy, PolicyFile, new_policy
from ptmtorrent.model.records import Note, ignore
from ptmtorrent.model.release import Release
from ptmtorrent.model.wanted import Lacking, ObjectTable
from ptmtorrent.paths import Home
from ptmtorrent.stop import Stop
from ptmtorrent.store.maintenance.whole_forms import is_alone
from ptmtorrent.store.store import Store
from ptmtorrent.trust.keys import init_keys, load_keys
from ptmtorrent.workflows.fetch.fetch import FetchRequest
from ptmtorrent.workflows.maintain.check import Level, check
from ptmtorrent.workflows.maintain.gc import gc
from ptmtorrent.workflows.release.release import release
from tests.channels import Heard, Made, capture, check_laid_out, clock, fetch_from, safetensors
from tests.workflows.tuned import BASE, TUNED, stored_files, tune, weights

NUMBERS = 120_000
OFF = new_policy(PolicyFile(lone_cost="off"))
TENSORS = dict[str, tuple[str, bytes]]


def fp32(seed: int) -> TENSORS:
    """Tensors whose deltas save little more than their bases cost, so that both together exceed the raw bytes."""
    source = np.random.default_rng(seed)
    return {f"layer.{row}": ("F32", source.normal(0, 0.02, NUMBERS).astype("<f4").tobytes()) for row in range(3)}


def tune_fp32(tensors: TENSORS, seed: int, rows: int = 3) -> TENSORS:
    """Change the last bits of the numbers of the first tensors."""
    source = np.random.default_rng(seed)
    changed = dict(tensors)
    for name, (dtype, raw) in list(tensors.items())[:rows]:
        words = np.frombuffer(raw, np.uint32) ^ source.integers(0, 1 << 12, len(raw) // 4, dtype=np.uint32)
        changed[name] = (dtype, words.tobytes())
    return changed


def packages_of() -> dict[str, dict[str, bytes]]:
    """A model in fp32, three later revisions of it, and in bf16 another model with a fine-tune."""
    first, half = fp32(1), weights(7)
    revisions = {"hf:org/second": tune_fp32(first, 2), "hf:org/third": tune_fp32(first, 3, rows=1)}
    models = {
        BASE: first,
        TUNED: tune_fp32(first, 4),
        **revisions,
        "hf:org/half": half,
        "hf:org/tuned-half": tune(half, 5),
    }
    return {
        name: {"model.safetensors": safetensors(tensors), "config.json": name.encode() * 9}
        for name, tensors in models.items()
    }


def captured(root: Path) -> tuple[Home, dict[str, dict[str, bytes]]]:
    home, packages = Home(root / "maintainer"), packages_of()
    init_keys(home.keys, None)
    with Store.open(home.store, write=True) as store:
        for name, files in packages.items():
            base = packages["hf:org/half" if "half" in name else BASE]
            bases = stored_files(store, base) if files is not base else ()
            capture(store, root, name, files, bases=bases)
            store.seal()
    return home, packages


def released(home: Home, name: str, policy: Policy | None = None, heard: Heard | None = None) -> Release:
    keys = load_keys(home.keys, lambda: None)
    return release(ReleaseName(name), home, keys, clock=clock, emit=heard or ignore, policy=policy)


def described(home: Home, made: Release) -> dict[str, Described]:
    reader = OwnReader(home.channel)
    return {each.member.package: each for each in describe_members(find_members(made, reader, (), "all", ()), reader)}


def whole_beside(home: Home, made: Release) -> set[str]:
    """The packages with a whole form beside a delta."""
    return {name for name, each in described(home, made).items() if each.placement and each.placement.several}


def payload(described: Described, files: tuple[FileEntry, ...]) -> int:
    """The encoded objects and bases that a plan of some files of a package moves, where nothing is here."""
    table = ObjectTable()
    assert described.manifest
    assert described.placement
    table.add(described.manifest, described.placement, [run for file in files for run in file.recipe])
    rows = Lacking(table.objects, np.arange(len(table), dtype="u4")).unique()
    choose_forms(table, rows, lambda _: False)
    plan = plan_rows(table, *missing_rows(table, rows, None, ()))
    return sum(item.at.length for request in plan.requests for item in request.objects)


def costs(home: Home, made: Release) -> dict[str, tuple[int, int]]:
    """What each package and each weight file moves when it is fetched alone, and its raw bytes."""
    found = {}
    for name, each in described(home, made).items():
        assert each.manifest
        weights = [file for file in each.manifest.files if file_kind(file.name, file.size) == "weights"]
        for what, files in [(name, each.manifest.files), *((f"{name}/{file.name}", (file,)) for file in weights)]:
            found[what] = payload(each, files), sum(file.size for file in files)
    return found


@pytest.fixture
def both(tmp_path: Path) -> "Both":
    return captured(tmp_path)


def alone_packs(home: Home) -> set[str]:
    with Store.open(home.store) as store:
        return {pack for pack in store.packs() if is_alone(store, pack)}


Both = tuple[Home, dict[str, dict[str, bytes]]]


def test_no_package_or_weight_file_moves_more_than_its_raw_bytes(both: Both) -> None:
    home, _ = both
    off = released(home, "off", OFF)
    without = costs(home, off)
    made = released(home, "on", new_policy())
    moved = costs(home, made)

    over = {what for what, (size, raw) in without.items() if size > raw}
    assert over >= {TUNED, "hf:org/second", f"{TUNED}/model.safetensors"}
    assert [what for what, (size, raw) in moved.items() if size > raw] == []
    assert all(moved[what][0] <= without[what][0] for what in moved)
    assert whole_beside(home, off) == set()
    assert whole_beside(home, made) >= {TUNED, "hf:org/second"}
    assert "hf:org/tuned-half" not in whole_beside(home, made)


def test_what_is_fetched_alone_and_together_is_right(both: Both, tmp_path: Path) -> None:
    home, packages = both
    made = released(home, "on")
    channel = Made(home=home, release=made, packages=packages, manifests={})
    for number, names in enumerate(((TUNED,), (BASE, TUNED), tuple(packages))):
        user, heard = Home(tmp_path / f"user{number}"), Heard()
        channel.trusted_by(user, str(home.channel))
        request = FetchRequest(packages=names, to=tmp_path / f"out{number}")
        fetch_from(home.channel, user, request, emit=heard)
        check_laid_out(tmp_path / f"out{number}", {name: packages[name] for name in names})


def test_the_first_form_is_the_delta_and_the_others_are_whole(both: Both) -> None:
    home, _ = both
    placement = described(home, released(home, "on"))[TUNED].placement
    assert placement

    for row in placement.several:
        delta, whole = placement.forms_of(row)
        assert delta.base
        assert delta.at.codec in DELTA_CODECS
        assert whole.base is None
        assert whole.at.pack in alone_packs(home)


def test_another_release_writes_no_whole_form_again(both: Both) -> None:
    home, _ = both
    first = released(home, "one")
    packs = alone_packs(home)
    second = released(home, "two")

    assert alone_packs(home) == packs != set()
    assert (second.totals, second.volumes) == (first.totals, first.volumes)


def test_a_rebuilt_index_still_finds_the_deltas(both: Both) -> None:
    home, _ = both
    released(home, "one")
    with Store.open(home.store, exclusive=True) as store:
        store.rebuild_index()

    made = released(home, "two", OFF)  # every package with a whole form is located anew

    placement = described(home, made)[TUNED].placement
    assert placement
    assert sum(placement.form(row).base is not None for row in range(len(placement.first) - 1)) == 3


def test_a_policy_that_turns_whole_forms_off_leaves_them_out_and_gc_deletes_them(
    both: Both,
) -> None:
    home, _ = both
    heard = Heard()
    made = released(home, "on", heard=heard)
    assert any(isinstance(note, Note) and "whole forms beside deltas" in note.message for note in heard.records)
    off = released(home, "off", OFF)

    assert whole_beside(home, off) == set()
    assert off.totals.stored < made.totals.stored
    assert off.content_root != made.content_root  # it has another name
    assert off.members_root == made.members_root
    gc(home, clock=clock, emit=ignore)
    assert alone_packs(home)  # the first release names them


@pytest.mark.parametrize("lone_cost", [0, -1, 101, "none"])
def test_a_lone_cost_that_cannot_be_is_refused(lone_cost: float | str) -> None:
    with pytest.raises(ConfigError, match="lone_cost"):
        new_policy(PolicyFile(lone_cost=lone_cost))


def test_a_lone_cost_is_stored_in_thousandths() -> None:
    assert [new_policy(PolicyFile(lone_cost=each)).lone_cost for each in (1.2, 1, "off", None)] == [1200, 1000, 0, None]
    assert new_policy().lone_limit == 1
    assert OFF.lone_limit is None
    assert not OFF.is_empty


@pytest.mark.parametrize("level", ["quick", "normal", "data"])
def test_a_store_with_whole_forms_is_whole(both: Both, level: Level) -> None:
    home, _ = both
    released(home, "on")
    heard = Heard()

    check(home, level, emit=heard, stop=Stop())

    assert {name: result.reason for name, result in heard.results.items() if result.status == "error"} == {}
    assert alone_packs(home) <= heard.results.keys()


def test_a_release_that_was_cut_off_before_its_whole_forms_were_listed_finds_them(both: Both) -> None:
    """A pack that has its name, and that no index lists, is found when the store is opened."""
    home, _ = both
    released(home, "one")
    packs = alone_packs(home)
    with Store.open(home.store, exclusive=True) as store:
        store.contents.drop([PackId(pack) for pack in packs])
    assert alone_packs(home) == set()

    second = released(home, "two")

    assert alone_packs(home) == packs
    assert whole_beside(home, second) >= {TUNED}


@pytest.mark.parametrize("have_base", [False, True])
def test_a_fetch_takes_the_delta_only_where_its_base_is_here(both: Both, tmp_path: Path, have_base: bool) -> None:
    home, packages = both
    made = released(home, "on")
    user, heard = Home(tmp_path / "user"), Heard()
    channel = Made(home=home, release=made, packages=packages, manifests={})
    channel.trusted_by(user, str(home.channel))
    names: tuple[str, ...] = (TUNED,)
    if have_base:
        fetch_from(home.channel, user, FetchRequest(packages=(BASE,), to=tmp_path / "out"))
        names = (BASE, TUNED)

    fetch_from(home.channel, user, FetchRequest(packages=names, to=tmp_path / "out"), emit=heard)

    check_laid_out(tmp_path / "out", {name: packages[name] for name in names})
    raw = sum(map(len, packages[TUNED].values()))
    assert (heard.plan.bytes_to_move < raw / 2) == have_base
    assert heard.plan.bytes_to_move <= raw
