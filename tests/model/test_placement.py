import struct
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptmtorrent.errors import IntegrityError, UnsupportedFormat
from ptmtorrent.model.ids import ObjectId, PackId
from ptmtorrent.model.manifest import encode_manifest
from ptmtorrent.model.placement import (
    DELTA_CODECS,
    MAX_PACK_BYTES,
    Base,
    Form,
    Location,
    Spots,
    check_location,
    decode_placement,
    encode_placement,
    encode_whole,
)
from tests.model.generated import hex64, locations, manifest_of

GOLDEN = Path(__file__).parents[1] / "golden" / "placement.bin"
GOLDEN_DELTA = GOLDEN.with_name("placement-delta.bin")
MANIFEST = manifest_of("hf:org/name", [("config.json", b"abc"), ("model.bin", b"weights")])
SNAPSHOT = encode_manifest(MANIFEST)[1]
TWO = manifest_of("hf:org/two", [("a", b"first weights"), ("b", b"other weights")])
TWO_SNAPSHOT = encode_manifest(TWO)[1]

Spot = tuple[int, int, int, int]


def place(pack: str, offset: int, length: int, codec: int = 0) -> Location:
    return Location(pack=PackId(hex64(pack)), pack_size=4 << 20, offset=offset, length=length, codec=codec)


def based(name: str = "base", **fields: object) -> Base:
    known = {"id": ObjectId(hex64(name)), "size": 7, "at": place(name, 300, 6, 3), **fields}
    return Base(**known)  # type: ignore[arg-type]  # fields are spelled by the test


PLAIN = ((Form(at=place("meta", 100, 3)),), (Form(at=place("weights", 200, 5, 3)),))
DELTA = ((Form(at=place("meta", 100, 3)),), (Form(at=place("weights", 200, 5, 7), base=based()),))
BOTH = (PLAIN[0], (Form(at=place("weights", 200, 5, 7), base=based()), Form(at=place("alone", 0, 6, 3))))


@dataclass
class Spelled:
    """A placement as docs/formats/placement.md describes it, column by column, whether it is right or not."""

    snapshot: str = SNAPSHOT
    packs: list[tuple[str, int]] = field(default_factory=list)
    counts: list[int] = field(default_factory=lambda: [1, 1])
    forms: list[Spot] = field(default_factory=list)
    links: list[int] = field(default_factory=lambda: [0, 0])
    linked: list[int] = field(default_factory=list)
    bases: list[tuple[str, int, Spot]] = field(default_factory=list)
    version: int = 2
    requires: str = ""
    tail: bytes = b""

    @property
    def data(self) -> bytes:
        head = (
            f'{{"bases":{len(self.bases)},"format":"ptmtorrent/placement","forms":{len(self.forms)},'
            f'"links":{len(self.linked)},"objects":{len(self.counts)},"packs":{len(self.packs)},'
            f'"requires":[{self.requires}],"snapshot":"{self.snapshot}","version":{self.version}}}'
        ).encode()
        columns = (
            b"".join(bytes.fromhex(pack) for pack, _ in self.packs),
            words(size for _, size in self.packs),
            bytes(self.counts),
            spots(self.forms),
            bytes(self.links),
            words(self.linked),
            b"".join(bytes.fromhex(identifier) for identifier, _, _ in self.bases),
            words(size for _, size, _ in self.bases),
            spots([spot for _, _, spot in self.bases]),
        )
        return b"PTMPLACE" + struct.pack("<I", len(head)) + head + b"".join(columns) + self.tail


def words(numbers: Iterable[int]) -> bytes:
    return b"".join(struct.pack("<I", number) for number in numbers)


def spots(places: list[Spot]) -> bytes:
    return b"".join(words(spot[column] for spot in places) for column in range(3)) + bytes(spot[3] for spot in places)


def with_delta(**fields: object) -> Spelled:
    """The placement of `DELTA`, changed."""
    packs = sorted((hex64(name), 4 << 20) for name in ("meta", "weights", "base"))
    row = {name: [pack for pack, _ in packs].index(hex64(name)) for name in ("meta", "weights", "base")}
    made = Spelled(
        packs=packs,
        forms=[(row["meta"], 100, 3, 0), (row["weights"], 200, 5, 7)],
        links=[0, 1],
        linked=[0],
        bases=[(hex64("base"), 7, (row["base"], 300, 6, 3))],
    )
    return replace(made, **fields)  # type: ignore[arg-type]  # fields are spelled by the test


def plain(**fields: object) -> Spelled:
    """The placement of `PLAIN`, changed."""
    packs = sorted((hex64(name), 4 << 20) for name in ("meta", "weights"))
    row = {name: [pack for pack, _ in packs].index(hex64(name)) for name in ("meta", "weights")}
    made = Spelled(packs=packs, forms=[(row["meta"], 100, 3, 0), (row["weights"], 200, 5, 3)])
    return replace(made, **fields)  # type: ignore[arg-type]  # fields are spelled by the test


def refuses(data: bytes) -> bool:
    try:
        decode_placement(data, MANIFEST, SNAPSHOT)
    except IntegrityError:
        return True
    return False


def test_the_golden_placement_is_what_we_write() -> None:
    assert encode_placement(SNAPSHOT, PLAIN) == GOLDEN.read_bytes() == plain().data


def test_the_golden_placement_is_read_back() -> None:
    read = decode_placement(GOLDEN.read_bytes(), MANIFEST, SNAPSHOT)

    assert tuple(read.forms_of(row) for row in range(2)) == PLAIN


def test_the_golden_placement_with_a_delta_is_what_we_write_and_read() -> None:
    assert encode_placement(SNAPSHOT, DELTA) == GOLDEN_DELTA.read_bytes() == with_delta().data
    read = decode_placement(GOLDEN_DELTA.read_bytes(), MANIFEST, SNAPSHOT)
    assert tuple(read.forms_of(row) for row in range(2)) == DELTA


def test_an_object_with_two_forms_comes_back_with_both() -> None:
    read = decode_placement(encode_placement(SNAPSHOT, BOTH), MANIFEST, SNAPSHOT)

    assert tuple(read.forms_of(row) for row in range(2)) == BOTH
    assert [read.form(row) for row in range(2)] == [forms[0] for forms in BOTH]


@st.composite
def placed(draw: st.DrawFn, size: int) -> Form:
    """A form of an object of `size` bytes anywhere, plain or a delta against one of two bases."""
    where = draw(locations(size))
    if where.codec not in DELTA_CODECS:
        return Form(at=where)
    at = draw(locations(size).filter(lambda at: at.codec not in DELTA_CODECS))
    return Form(at=where, base=based(draw(st.sampled_from(("one", "two"))) + str(size), size=size, at=at))


def agree(objects: list[tuple[Form, ...]]) -> bool:
    """Return whether a base lies in one place and a pack has one size, as in any store."""
    bases = {form.base.id: form.base for forms in objects for form in forms if form.base}
    return all(bases[form.base.id] == form.base for forms in objects for form in forms if form.base)


@settings(max_examples=60)
@given(st.data())
def test_every_location_and_base_comes_back_in_the_order_of_the_object_table(data: st.DataObject) -> None:
    objects = [tuple(data.draw(st.lists(placed(size), min_size=1, max_size=3))) for _, size in MANIFEST.objects]
    if not agree(objects):
        return

    read = decode_placement(encode_placement(SNAPSHOT, objects), MANIFEST, SNAPSHOT)

    assert [read.forms_of(row) for row in range(2)] == objects
    assert list(read.packs) == sorted(set(read.packs))
    assert {base.id for base in read.all_bases()} == {form.base.id for each in objects for form in each if form.base}


def test_the_same_places_give_the_same_bytes() -> None:
    one, two = based("one", size=13), based("two", size=13)
    first, second = place("weights", 0, 3, 7), place("weights", 10, 3, 7)

    made = [
        encode_placement(TWO_SNAPSHOT, ((Form(at=first, base=each),), (Form(at=second, base=other),)))
        for each, other in ((one, two), (two, one))
    ]

    read = [decode_placement(data, TWO, TWO_SNAPSHOT) for data in made]
    assert list(read[0].all_bases()) == list(read[1].all_bases()) == sorted([one, two], key=lambda base: base.id)
    assert [read[0].form(row).base for row in range(2)] == [one, two]


def test_a_base_that_several_deltas_need_is_listed_once() -> None:
    base = based(size=13)
    forms = ((Form(at=place("weights", 0, 3, 7), base=base),), (Form(at=place("weights", 10, 3, 8), base=base),))

    read = decode_placement(encode_placement(TWO_SNAPSHOT, forms), TWO, TWO_SNAPSHOT)

    assert list(read.all_bases()) == [base]
    assert [read.form(row).base for row in range(2)] == [base, base]


def test_a_base_in_the_snapshot_itself_is_listed_too() -> None:
    base, forms = with_its_own_base()

    read = decode_placement(encode_placement(TWO_SNAPSHOT, forms), TWO, TWO_SNAPSHOT)

    assert list(read.all_bases()) == [base]


def test_a_base_in_the_snapshot_itself_cannot_lie_elsewhere() -> None:
    base, forms = with_its_own_base()
    elsewhere = Base(id=base.id, size=base.size, at=place("weights", 1, 13))
    moved = (forms[0], (Form(at=forms[1][0].at, base=elsewhere),))

    with pytest.raises(IntegrityError, match="two places"):
        decode_placement(encode_placement(TWO_SNAPSHOT, moved), TWO, TWO_SNAPSHOT)


def with_its_own_base() -> tuple[Base, tuple[tuple[Form, ...], ...]]:
    at = place("weights", 0, 13)
    base = Base(id=TWO.objects[0][0], size=13, at=at)
    return base, ((Form(at=at),), (Form(at=place("weights", 20, 4, 8), base=base),))


PACKS = plain().packs
FORMS = plain().forms


@pytest.mark.parametrize(
    "fields",
    [
        {"snapshot": hex64("another")},
        {"counts": [1], "forms": FORMS[:1], "links": [0]},
        {"counts": [0, 2]},
        {"counts": [2, 1]},
        {"counts": [1, 1], "forms": FORMS[:1], "links": [0]},
        {"forms": [(2, 0, 0, 0), FORMS[1]]},
        {"forms": [(2**32 - 1, 0, 0, 0), FORMS[1]]},
        {"forms": [(0, 0, 4, 0), FORMS[1]]},
        {"forms": [(0, 2**32 - 1, 3, 0), FORMS[1]]},
        {"forms": [(0, (4 << 20) - 2, 3, 0), FORMS[1]]},
        {"forms": [(0, 0, 2**32 - 1, 0), FORMS[1]]},
        {"links": [1, 0]},
        {"links": [1, 0], "linked": [0]},
        {"links": [2, 0], "linked": [0, 0]},
        {"packs": [(PACKS[0][0], MAX_PACK_BYTES + 1), PACKS[1]]},
        {"packs": [(PACKS[0][0], 0), PACKS[1]]},
        {"packs": PACKS[::-1]},
        {"packs": [PACKS[0], (PACKS[0][0], 8 << 20)]},
        {"bases": [(hex64("base"), 1, (0, 0, 1, 0))]},
        {"tail": b"x"},
        {"packs": [*PACKS, ("f" * 64, 4 << 20)]},
    ],
)
def test_a_placement_that_lies_is_refused(fields: dict[str, object]) -> None:
    assert refuses(plain(**fields).data)


FIRST, SECOND = with_delta().forms
BASE = with_delta().bases[0]


@pytest.mark.parametrize(
    "fields",
    [
        {"links": [0, 0], "linked": []},
        {"forms": [FIRST, (*SECOND[:3], 3)]},
        {"forms": [FIRST, (*SECOND[:3], 3)], "links": [0, 0], "linked": []},
        {"forms": [(*FIRST[:3], 7), SECOND], "links": [1, 1], "linked": [0, 0]},
        {"linked": [1]},
        {"linked": [2**32 - 1]},
        {"bases": []},
        {"bases": [(BASE[0], 8, BASE[2])]},
        {"bases": [(BASE[0], 7, (*BASE[2][:3], 7))]},
        {"bases": [(BASE[0], 7, (3, 300, 6, 3))]},
        {"bases": [(BASE[0], 7, (0, 300, 8, 3))]},
        {"bases": [(BASE[0], 7, (0, 4 << 20, 6, 3))]},
        {"bases": [BASE, BASE]},
        {"bases": [BASE, ("f" * 64, 7, BASE[2])]},
    ],
)
def test_a_placement_that_lies_about_deltas_is_refused(fields: dict[str, object]) -> None:
    assert refuses(with_delta(**fields).data)


@pytest.mark.parametrize("size", range(0, len(plain().data), 7))
def test_a_placement_that_ends_early_is_refused(size: int) -> None:
    assert refuses(plain().data[:size])


def test_a_placement_with_more_rows_than_bytes_takes_no_memory() -> None:
    data = plain().data.replace(b'"packs":2', b'"packs":9')

    assert refuses(data)


@pytest.mark.parametrize("fields", [{"version": 1}, {"version": 3}, {"requires": '"lenses"'}])
def test_a_placement_of_another_version_is_refused_as_such(fields: dict[str, object]) -> None:
    with pytest.raises(UnsupportedFormat):
        decode_placement(plain(**fields).data, MANIFEST, SNAPSHOT)


def test_bases_out_of_order_are_refused() -> None:
    bases = sorted((hex64(name), 13, (0, 300, 6, 3)) for name in ("one", "two"))
    made = Spelled(
        snapshot=TWO_SNAPSHOT,
        packs=[(hex64("weights"), 4 << 20)],
        forms=[(0, 0, 3, 7), (0, 10, 3, 7)],
        links=[1, 1],
        linked=[0, 1],
        bases=bases,
    )
    decode_placement(made.data, TWO, TWO_SNAPSHOT)

    with pytest.raises(IntegrityError, match="in order"):
        decode_placement(replace(made, bases=bases[::-1], linked=[1, 0]).data, TWO, TWO_SNAPSHOT)


def test_the_placement_that_the_liars_were_made_of_is_accepted() -> None:
    assert not refuses(plain().data)
    assert not refuses(with_delta().data)


def test_a_stored_object_is_never_longer_than_the_raw_one() -> None:
    with pytest.raises(IntegrityError, match="outside"):
        check_location(place("meta", 0, 10), raw_size=9)


@pytest.mark.parametrize("size", [0, MAX_PACK_BYTES + 1])
def test_a_location_in_a_pack_of_a_size_that_no_pack_has_is_refused(size: int) -> None:
    at = place("meta", 0, 0)

    with pytest.raises(IntegrityError, match=f"the pack `{at.pack}` of {size} bytes is malformed"):
        check_location(msgspec.structs.replace(at, pack_size=size), raw_size=9)


def test_a_location_in_a_pack_without_a_hash_for_a_name_is_refused() -> None:
    at = msgspec.structs.replace(place("meta", 0, 3), pack=PackId("../x"))

    with pytest.raises(IntegrityError, match=r"the pack `\.\./x` of \d+ bytes is malformed"):
        check_location(at, raw_size=9)


@pytest.mark.parametrize("codec", sorted(DELTA_CODECS))
def test_a_delta_in_a_placement_without_bases_is_refused(codec: int) -> None:
    with pytest.raises(IntegrityError, match="a delta without a base"):
        decode_placement(plain(forms=[FORMS[0], (*FORMS[1][:3], codec)]).data, MANIFEST, SNAPSHOT)


def test_the_objects_of_several_forms_are_told() -> None:
    for forms, rows in ((PLAIN, []), (DELTA, []), (BOTH, [1])):
        assert decode_placement(encode_placement(SNAPSHOT, forms), MANIFEST, SNAPSHOT).several == rows


def test_columns_of_whole_objects_make_the_same_bytes() -> None:
    packs = sorted({(place.pack, place.pack_size) for place in (form.at for (form,) in PLAIN)})
    rows = [packs.index((form.at.pack, form.at.pack_size)) for (form,) in PLAIN]
    spots = Spots(
        pack=np.array(rows),
        offset=np.array([form.at.offset for (form,) in PLAIN]),
        length=np.array([form.at.length for (form,) in PLAIN]),
        codec=np.array([form.at.codec for (form,) in PLAIN]),
    )
    assert encode_whole(SNAPSHOT, packs, spots) == encode_placement(SNAPSHOT, PLAIN)


def test_a_package_without_objects_has_the_same_bytes_in_columns() -> None:
    none = np.zeros(0, dtype=np.int64)
    spots = Spots(pack=none, offset=none, length=none, codec=none)
    assert encode_whole(SNAPSHOT, [], spots) == encode_placement(SNAPSHOT, [])
