from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptmtorrent.errors import IntegrityError
from ptmtorrent.model import canonical
from ptmtorrent.model.ids import ObjectId, PackId
from ptmtorrent.model.manifest import encode_manifest
from ptmtorrent.model.placement import (
    MAX_PACK_BYTES,
    Location,
    Placement,
    check_location,
    decode_placement,
    new_placement,
)
from tests.model.generated import hex64, locations, manifest_of

GOLDEN = Path(__file__).parents[1] / "golden" / "placement.json"
MANIFEST = manifest_of("hf:org/name", [("config.json", b"abc"), ("model.bin", b"weights")])
SNAPSHOT = encode_manifest(MANIFEST)[1]


def place(pack: str, offset: int, length: int, codec: int = 0) -> Location:
    return Location(pack=PackId(hex64(pack)), pack_size=4 << 20, offset=offset, length=length, codec=codec)


def golden() -> Placement:
    return new_placement(SNAPSHOT, (place("meta", 100, 3), place("weights", 200, 5, 3)))


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


@settings(max_examples=60)
@given(st.data())
def test_every_location_comes_back_in_the_order_of_the_object_table(data: st.DataObject) -> None:
    wanted = tuple(data.draw(locations(size)) for _, size in MANIFEST.objects)
    base = (ObjectId(hex64("base")), 9, data.draw(locations(9)))

    read = decode_placement(canonical.encode(new_placement(SNAPSHOT, wanted, (base,))), MANIFEST, SNAPSHOT)

    assert tuple(read.location(spot) for spot in read.objects) == wanted
    assert (read.bases[0][0], read.bases[0][1], read.location(read.bases[0][2])) == base
    assert list(read.packs) == sorted(set(read.packs))


def test_the_same_locations_give_the_same_bytes() -> None:
    assert canonical.encode(golden()) == canonical.encode(golden())


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


def test_the_placement_that_the_liars_were_made_of_is_accepted() -> None:
    assert not refuses(golden())


def test_a_stored_object_is_never_longer_than_the_raw_one() -> None:
    with pytest.raises(IntegrityError, match="outside"):
        check_location(place("meta", 0, 10), raw_size=9)
