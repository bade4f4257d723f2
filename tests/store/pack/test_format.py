import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptmtorrent.errors import IntegrityError, UnsupportedFormat
from ptmtorrent.model.ids import ObjectId
from ptmtorrent.store.codecs import DELTA_CODECS
from ptmtorrent.store.pack import format as pack_format
from ptmtorrent.store.pack.format import OBJECT_KINDS, PACK_CLASSES, Entry, EntryTable, PackClass, PackInfo
from tests.store.samples import META, name_of

INFO = PackInfo(libraries={"libzstd": "1.5.7"}, parameters={})
ids = st.binary(min_size=32, max_size=32).map(name_of)
entries = st.builds(
    lambda identifier, base, raw, less, codec, kind: Entry(
        id=identifier,
        offset=100,
        stored=max(0, raw - less),
        raw=raw,
        codec=codec,
        kind=kind,
        base=base if codec in DELTA_CODECS else None,
    ),
    ids,
    ids,
    st.integers(0, 64 << 20),
    st.integers(0, 1 << 20),
    st.integers(0, 9),
    st.sampled_from(OBJECT_KINDS),
)


@pytest.mark.parametrize("pack_class", PACK_CLASSES, ids=lambda pack_class: pack_class.name)
def test_a_header_comes_back(pack_class: PackClass) -> None:
    data = pack_format.encode_header(pack_class)
    assert pack_format.decode_header(data + b"records", "x") == (pack_class, len(data))


def test_the_literal_header_of_the_format_page() -> None:
    text = b'{"class":"meta","format":"ptmtorrent/pack","requires":[],"rights":"open","version":2}'
    assert pack_format.encode_header(META) == b"PTMPACK\n" + len(text).to_bytes(4, "little") + text


def test_a_pack_of_an_older_version_is_refused_and_the_next_command_is_named() -> None:
    text = b'{"class":"meta","format":"ptmtorrent/pack","requires":[],"rights":"open","version":1}'
    with pytest.raises(UnsupportedFormat, match="version 1") as caught:
        pack_format.decode_header(b"PTMPACK\n" + len(text).to_bytes(4, "little") + text, "x")
    assert "ptmtorrent --home DIR clone HUB" in str(caught.value.hint)


def test_whole_forms_have_a_class_of_their_own() -> None:
    text = b'{"class":"alone","format":"ptmtorrent/pack","requires":[],"rights":"open","version":2}'
    found, start = pack_format.decode_header(b"PTMPACK\n" + len(text).to_bytes(4, "little") + text, "x")
    assert (found, found.name) == (PackClass("alone", "open"), "alone-open")
    assert start == 12 + len(text)


def test_the_literal_delta_of_the_format_page() -> None:
    literal = bytes.fromhex("50544d6f 08 00 0100 40000000 05000000" + "11" * 32 + "22" * 32 + "872d668e")
    identifier, base = ObjectId("11" * 32), ObjectId("22" * 32)
    delta = Entry(id=identifier, offset=len(literal), stored=5, raw=64, codec=8, kind="data", base=base)
    assert pack_format.encode_record(delta) == literal
    assert pack_format.decode_record(literal + b"delta", 0) == delta
    row = bytes.fromhex("11" * 32 + "22" * 32 + "5400000000000000 05000000 40000000 08 00 000000000000")
    assert pack_format.encode_footer([delta], INFO, 1000)[: -pack_format.TRAILER_BYTES].endswith(row)


@pytest.mark.parametrize("zeros", [0, 1, (64 << 10) - 1, 64 << 10, (64 << 10) + 1, 3 * (64 << 10)])
@pytest.mark.parametrize("kept", [b"", b"\1", b"\0\0\1", b"x" * (64 << 10), bytes(64 << 10) + b"x"])
def test_padding_of_any_length_is_stripped_and_nothing_else(kept: bytes, zeros: int) -> None:
    assert pack_format.strip_padding(kept + bytes(zeros)) == kept


def test_a_pack_of_a_newer_version_is_named_as_such() -> None:
    text = b'{"class":"meta","format":"ptmtorrent/pack","requires":["dictionaries"],"rights":"open","version":2}'
    with pytest.raises(UnsupportedFormat, match="dictionaries"):
        pack_format.decode_header(b"PTMPACK\n" + len(text).to_bytes(4, "little") + text, "x")


@pytest.mark.parametrize("codec", range(10))
def test_a_delta_without_a_base_is_damage_and_so_is_a_base_without_a_delta(codec: int) -> None:
    base = None if codec in DELTA_CODECS else name_of(b"base")
    entry = Entry(id=name_of(b"x"), offset=100, stored=1, raw=1, codec=codec, kind="data", base=base)
    assert pack_format.decode_record(pack_format.encode_record(entry) + b"x", 0) is None
    data = pack_format.encode_footer([entry], INFO, 1000)
    footer = data[: -pack_format.TRAILER_BYTES]
    with pytest.raises(IntegrityError, match="without a"):
        pack_format.decode_footer(footer, zlib.crc32(footer), 1000, "x")


@pytest.mark.parametrize("base", [None, name_of(b"base")])
def test_of_a_newer_codec_nobody_knows_whether_it_has_a_base(base: ObjectId | None) -> None:
    entry = Entry(id=name_of(b"x"), offset=136, stored=1, raw=1, codec=255, kind="data", base=base)
    found = pack_format.decode_record(pack_format.encode_record(entry) + b"x", 0)
    assert found is not None
    assert (found.codec, found.base) == (255, base)


@settings(max_examples=80, deadline=None)
@given(entry=entries)
def test_a_record_comes_back(entry: Entry) -> None:
    data = pack_format.encode_record(entry)
    found = pack_format.decode_record(data + b"stored", 1000)
    assert found is not None
    assert found.offset == 1000 + len(data)
    assert (found.id, found.raw, found.stored, found.codec, found.kind, found.base) == (
        entry.id,
        entry.raw,
        entry.stored,
        entry.codec,
        entry.kind,
        entry.base,
    )


@settings(max_examples=80, deadline=None)
@given(entry=entries, at=st.integers(0, 83), bits=st.integers(1, 255))
def test_a_flipped_record_is_no_record(entry: Entry, at: int, bits: int) -> None:
    data = bytearray(pack_format.encode_record(entry))
    data[at % len(data)] ^= bits
    assert pack_format.decode_record(bytes(data), 0) is None


def read_footer(data: bytes, offset: int) -> tuple[Entry, ...]:
    whole = bytes(offset) + data
    at, length, checksum = pack_format.decode_trailer(whole + bytes(50), len(whole) + 50, "x")
    return pack_format.decode_footer(whole[at : at + length], checksum, at, "x")


@settings(max_examples=40, deadline=None)
@given(listed=st.lists(entries, max_size=6))
def test_a_footer_comes_back(listed: list[Entry]) -> None:
    rows = [entry for entry in listed if entry.stored < 4000]
    assert read_footer(pack_format.encode_footer(rows, INFO, 5000), 5000) == tuple(rows)


@settings(max_examples=80, deadline=None)
@given(at=st.integers(0, 10_000), bits=st.integers(1, 255))
def test_a_flipped_footer_is_refused(at: int, bits: int) -> None:
    entry = Entry(id=name_of(b"a"), offset=100, stored=5, raw=9, codec=2, kind="data")
    data = bytearray(pack_format.encode_footer([entry], INFO, 500))
    data[at % len(data)] ^= bits
    with pytest.raises(IntegrityError):
        read_footer(bytes(data), 500)


def test_a_row_that_leaves_the_pack_is_refused() -> None:
    entry = Entry(id=name_of(b"a"), offset=498, stored=5, raw=9, codec=2, kind="data")
    with pytest.raises(IntegrityError, match="outside"):
        read_footer(pack_format.encode_footer([entry], INFO, 500), 500)


@given(st.lists(entries, max_size=20))
def test_table_of_a_part_gives_back_its_objects(some: list[Entry]) -> None:
    table = EntryTable(some[:3])
    for entry in some[3:]:
        table.append(entry)

    assert list(table) == some
    assert len(table) == len(some)
    assert table[1:-1] == some[1:-1]
    assert not some or table[-1] == some[-1]
    with pytest.raises(IndexError):
        table[len(some)]
