from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptmtorrent.errors import IntegrityError
from ptmtorrent.model import canonical
from ptmtorrent.model.ids import ObjectId, PackId, SnapshotId
from ptmtorrent.model.manifest import Manifest, encode_manifest
from ptmtorrent.model.placement import (
    DELTA_CODECS,
    MAX_PACK_BYTES,
    NO_BASE,
    Base,
    Location,
    Placement,
    check_location,
    decode_placement,
    new_placement,
)
from tests.model.generated import hex64, locations, manifest_of

GOLDEN = Path(__file__).parents[1] / "golden" / "placement.json"
GOLDEN_DELTA = GOLDEN.with_name("placement-delta.json")
MANIFEST = manifest_of("hf:org/name", [("config.json", b"abc"), ("model.bin", b"weights")])
SNAPSHOT = encode_manifest(MANIFEST)[1]


def place(pack: str, offset: int, length: int, codec: int = 0) -> Location:
    return Location(pack=PackId(hex64(pack)), pack_size=4 << 20, offset=offset, length=length, codec=codec)


def golden() -> Placement:
    return new_placement(SNAPSHOT, (place("meta", 100, 3), place("weights", 200, 5, 3)))


def based(name: str = "base", **fields: object) -> Base:
    known = {"id": ObjectId(hex64(name)), "size": 7, "at": place(name, 300, 6, 3), **fields}
    return Base(**known)  # type: ignore[arg-type]  # fields are spelled by the test


def golden_delta() -> Placement:
    return new_placement(SNAPSHOT, (place("meta", 100, 3), place("weights", 200, 5, 7)), (None, based()))


def refuses(placement: Placement) -> bool:
    try:
        decode_placement(canonical.encode(placement), MANIFEST, SNAPSHOT)
    except IntegrityError:
        return True
    return False


def test_the_golden_placement_is_what_we_write() -> None:
    assert canonical.encode(golden()) == GOLDEN.read_bytes()


def test_the_golden_placement_is_read_back() -> None:
    assert decode_placement(GOLDEN.read_bytes(), MANIFEST, SNAPSHOT) == golden()


def test_the_golden_placement_with_a_delta_is_what_we_write_and_read() -> None:
    assert canonical.encode(golden_delta()) == GOLDEN_DELTA.read_bytes()
    assert decode_placement(GOLDEN_DELTA.read_bytes(), MANIFEST, SNAPSHOT) == golden_delta()


@st.composite
def placed(draw: st.DrawFn, size: int) -> tuple[Location, Base | None]:
    """An object of `size` bytes anywhere, plain or a delta against one of two bases."""
    where = draw(locations(size))
    if where.codec not in DELTA_CODECS:
        return where, None
    at = draw(locations(size).filter(lambda at: at.codec not in DELTA_CODECS))
    return where, based(draw(st.sampled_from(("one", "two"))) + str(size), size=size, at=at)


@settings(max_examples=60)
@given(st.data())
def test_every_location_and_base_comes_back_in_the_order_of_the_object_table(data: st.DataObject) -> None:
    wanted = [data.draw(placed(size)) for _, size in MANIFEST.objects]
    places, bases = tuple(place for place, _ in wanted), tuple(base for _, base in wanted)

    read = decode_placement(canonical.encode(new_placement(SNAPSHOT, places, bases)), MANIFEST, SNAPSHOT)

    assert tuple(read.location(spot) for spot in read.objects) == places
    listed = [Base(id=name, size=size, at=read.location(spot)) for name, size, spot in read.bases]
    assert tuple(None if spot[4] == NO_BASE else listed[spot[4]] for spot in read.objects) == bases
    assert list(read.packs) == sorted(set(read.packs))


def test_the_same_places_give_the_same_bytes() -> None:
    manifest = manifest_of("hf:org/two", [("a", b"first weights"), ("b", b"other weights")])
    snapshot = encode_manifest(manifest)[1]
    places = (place("weights", 0, 3, 7), place("weights", 10, 3, 7))
    one, two = based("one", size=13), based("two", size=13)

    made = [new_placement(snapshot, places, bases) for bases in ((one, two), (two, one))]

    assert made[0].bases == made[1].bases
    assert [base[0] for base in made[0].bases] == sorted([one.id, two.id])
    assert decode_placement(canonical.encode(made[0]), manifest, snapshot) == made[0]


def test_a_base_that_several_deltas_need_is_listed_once() -> None:
    manifest = manifest_of("hf:org/two", [("a", b"first weights"), ("b", b"other weights")])
    snapshot = encode_manifest(manifest)[1]
    base = based(size=13)

    made = new_placement(snapshot, (place("weights", 0, 3, 7), place("weights", 10, 3, 8)), (base, base))

    assert [row[0] for row in made.bases] == [base.id]
    assert [spot[4] for spot in made.objects] == [0, 0]


def test_a_base_in_the_snapshot_itself_is_listed_too() -> None:
    manifest, snapshot, placement = with_its_own_base()

    assert [row[0] for row in placement.bases] == [manifest.objects[0][0]]
    assert decode_placement(canonical.encode(placement), manifest, snapshot) == placement


def test_a_base_in_the_snapshot_itself_cannot_lie_elsewhere() -> None:
    manifest, snapshot, placement = with_its_own_base()
    name, size, (pack, offset, length, codec, _) = placement.bases[0]
    moved = msgspec.structs.replace(placement, bases=((name, size, (pack, offset + 1, length, codec, -1)),))

    with pytest.raises(IntegrityError, match="two places"):
        decode_placement(canonical.encode(moved), manifest, snapshot)


def with_its_own_base() -> tuple[Manifest, SnapshotId, Placement]:
    manifest = manifest_of("hf:org/two", [("a", b"first weights"), ("b", b"other weights")])
    snapshot = encode_manifest(manifest)[1]
    at = place("weights", 0, 13)
    base = Base(id=manifest.objects[0][0], size=13, at=at)
    return manifest, snapshot, new_placement(snapshot, (at, place("weights", 20, 4, 8)), (None, base))


@pytest.mark.parametrize(
    "fields",
    [
        {"snapshot": hex64("another")},
        {"objects": golden().objects[:1]},
        {"objects": ((2, 0, 0, 0, -1), golden().objects[1])},
        {"objects": ((-1, 0, 0, 0, -1), golden().objects[1])},
        {"objects": ((0, 0, 4, 0, -1), golden().objects[1])},
        {"objects": ((0, -1, 3, 0, -1), golden().objects[1])},
        {"objects": ((0, (4 << 20) - 2, 3, 0, -1), golden().objects[1])},
        {"objects": ((0, 0, -1, 0, -1), golden().objects[1])},
        {"objects": ((0, 0, 3, 0, 0), golden().objects[1])},
        {"objects": ((0, 0, 3, 0, -2), golden().objects[1])},
        {"packs": ((PackId("../../x"), 4 << 20), golden().packs[1])},
        {"packs": ((golden().packs[0][0], MAX_PACK_BYTES + 1), golden().packs[1])},
        {"packs": ((golden().packs[0][0], 0), golden().packs[1])},
        {"packs": tuple(reversed(golden().packs))},
        {"packs": (golden().packs[0], (golden().packs[0][0], 8 << 20))},
        {"bases": ((ObjectId(hex64("base")), 1, (0, 0, 2, 0, -1)),)},
    ],
)
def test_a_placement_that_lies_is_refused(fields: dict[str, object]) -> None:
    assert refuses(msgspec.structs.replace(golden(), **fields))


@pytest.mark.parametrize(
    "fields",
    [
        {"objects": (golden_delta().objects[0], (2, 200, 5, 7, -1))},
        {"objects": (golden_delta().objects[0], (2, 200, 5, 3, 0))},
        {"objects": (golden_delta().objects[0], (2, 200, 5, 3, -1))},
        {"objects": ((1, 100, 3, 7, 0), golden_delta().objects[1])},
        {"bases": ()},
        {"bases": ((based().id, 8, golden_delta().bases[0][2]),)},
        {"bases": ((based().id, 7, (0, 300, 6, 7, -1)),)},
        {"bases": ((based().id, 7, (0, 300, 6, 7, 0)),)},
        {"bases": ((based().id, 7, (0, 300, 6, 3, 0)),)},
        {"bases": ((based().id, 7, (3, 300, 6, 3, -1)),)},
        {"bases": ((based().id, 7, (0, 300, 8, 3, -1)),)},
        {"bases": ((based().id, 7, (0, 4 << 20, 6, 3, -1)),)},
        {"bases": ((ObjectId("../../etc"), 7, golden_delta().bases[0][2]),)},
        {"bases": golden_delta().bases * 2},
        {"bases": (*golden_delta().bases, (ObjectId("f" * 64), 7, golden_delta().bases[0][2]))},
    ],
)
def test_a_placement_that_lies_about_deltas_is_refused(fields: dict[str, object]) -> None:
    assert refuses(msgspec.structs.replace(golden_delta(), **fields))


def test_bases_out_of_order_are_refused() -> None:
    manifest = manifest_of("hf:org/two", [("a", b"first weights"), ("b", b"other weights")])
    snapshot = encode_manifest(manifest)[1]
    places = (place("weights", 0, 3, 7), place("weights", 10, 3, 7))
    made = new_placement(snapshot, places, (based("one", size=13), based("two", size=13)))
    spots = tuple((*spot[:4], 1 - spot[4]) for spot in made.objects)
    turned = msgspec.structs.replace(made, bases=tuple(reversed(made.bases)), objects=spots)

    with pytest.raises(IntegrityError, match="in order"):
        decode_placement(canonical.encode(turned), manifest, snapshot)


def test_the_placement_that_the_liars_were_made_of_is_accepted() -> None:
    assert not refuses(golden())
    assert not refuses(golden_delta())


def test_a_stored_object_is_never_longer_than_the_raw_one() -> None:
    with pytest.raises(IntegrityError, match="outside"):
        check_location(place("meta", 0, 10), raw_size=9)
