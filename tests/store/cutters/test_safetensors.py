"""Safetensors are cut at their tensors; an odd file is opaque."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptmtorrent.store.cutters import Cut, MemorySource, cut
from tests.store.cutters.samples import Sparse, contents, covers
from tests.store.samples import safetensors, with_header


def cut_bytes(data: bytes, name: str = "model.safetensors") -> Cut:
    return cut(MemorySource(data), name)


def places(found: Cut) -> list[tuple[int, int, str | None]]:
    return [(piece.offset, piece.length, piece.dtype) for piece in found.pieces]


def one(**fields: object) -> bytes:
    return json.dumps({"a": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4], **fields}}).encode()


GOOD = safetensors({"a": ("F32", [2, 3], bytes(24)), "b": ("BF16", [3], bytes(6)), "empty": ("F32", [0], b"")})

ODD = {
    "empty": b"",
    "short": b"\x05\0\0",
    "header length 2^63": (1 << 63).to_bytes(8, "little") + b"{}",
    "header beyond the file": (1000).to_bytes(8, "little") + b"{}",
    "header above 16 MiB": (16_777_217).to_bytes(8, "little") + b"{" + bytes(16 << 20),
    "no JSON": with_header(b"{nonsense", b""),
    "no UTF-8": with_header(b'{"\xff":1}', b""),
    "deeply nested": with_header(b'{"a":' + b"[" * 100_000, b""),
    "a list": with_header(b"[]", b""),
    "duplicate key": with_header(one()[:-1] + b"," + one()[1:], bytes(4)),
    "duplicate inner key": with_header(one()[:-2] + b',"dtype":"U8"}}', bytes(4)),
    "overlap": with_header(
        json.dumps(
            {
                "a": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]},
                "b": {"dtype": "U8", "shape": [4], "data_offsets": [2, 6]},
            }
        ).encode(),
        bytes(6),
    ),
    "gap before the first": with_header(one(data_offsets=[2, 6]), bytes(6)),
    "trailing byte": with_header(one(), bytes(5)),
    "truncated": with_header(one(), bytes(3)),
    "negative": with_header(one(data_offsets=[-4, 0]), bytes(4)),
    "2^63": with_header(one(data_offsets=[0, 1 << 63]), bytes(4)),
    "float": with_header(one(data_offsets=[0, 4.0]), bytes(4)),
    "boolean": with_header(one(shape=[True, 4]), bytes(4)),
    "shape disagrees": with_header(one(shape=[5]), bytes(4)),
    "unknown dtype": with_header(one(dtype="F1"), bytes(4)),
    "unknown field": with_header(one(more=1), bytes(4)),
    "metadata that is no map": with_header(b'{"__metadata__":[]}', b""),
    "metadata with a number": with_header(b'{"__metadata__":{"a":1}}', b""),
    "metadata with a key twice": with_header(b'{"__metadata__":{"a":"","a":""}}', b""),
    "comma at the end": with_header(one()[:-1] + b",}", bytes(4)),
    "comma missing": with_header(one()[:-1] + one()[1:].replace(b'"a"', b'"b"'), bytes(4)),
    "something after the object": with_header(one() + b"{}", bytes(4)),
    "control character in a name": with_header(one().replace(b'"a"', b'"\n"'), bytes(4)),
    "a name that is escaped twice the same": with_header(
        one()[:-1] + b"," + one()[1:].replace(b"a", b"\\u0061", 1), bytes(4)
    ),
    "misaligned": with_header(
        json.dumps(
            {
                "a": {"dtype": "U8", "shape": [3], "data_offsets": [0, 3]},
                "b": {"dtype": "F32", "shape": [1], "data_offsets": [3, 7]},
            }
        ).encode(),
        bytes(7),
    ),
}


def test_safetensors_are_cut_at_their_tensors() -> None:
    big = bytes(100_000)
    data = safetensors({"a": ("F32", [25_000], big), "b": ("BF16", [50_000], big)})
    found = cut_bytes(data)
    start = len(data) - 200_000
    assert found.cutter == "safetensors/1"
    assert places(found) == [(0, start, None), (start, 100_000, "F32"), (start + 100_000, 100_000, "BF16")]


@pytest.mark.parametrize("data", ODD.values(), ids=ODD)
def test_an_odd_safetensors_file_is_opaque(data: bytes) -> None:
    found = cut_bytes(data)
    assert found.cutter in {"opaque/1", "chunks/1"}
    assert covers(found.pieces, len(data))


@pytest.mark.parametrize("name", ["model.bin", "model", "weights/MODEL.SafeTensors", "blobs/5f3c2b"])
def test_the_name_is_not_looked_at(name: str) -> None:
    assert cut_bytes(GOOD, name) == cut_bytes(GOOD, "model.safetensors")
    assert cut_bytes(GOOD, name).cutter == "safetensors/1"


def test_small_tensors_join_up_to_a_mebibyte() -> None:
    tensors = {f"t{index:03}": ("U8", [40_000], bytes([index]) * 40_000) for index in range(60)}
    data = safetensors(tensors)
    lengths = [piece.length for piece in cut_bytes(data).pieces[1:]]
    assert lengths == [26 * 40_000, 26 * 40_000, 8 * 40_000]
    assert max(lengths) <= 1 << 20


def test_a_run_of_two_dtypes_has_none() -> None:
    data = safetensors({"a": ("F32", [2], bytes(8)), "b": ("BF16", [2], bytes(4))})
    assert places(cut_bytes(data))[1:] == [(len(data) - 12, 12, None)]


def test_a_large_tensor_parts_small_ones() -> None:
    small, large = ("U8", [10], bytes(10)), ("U8", [65_536], bytes(65_536))
    data = safetensors({"a": small, "b": small, "c": large, "d": small, "e": small})
    assert [piece.length for piece in cut_bytes(data).pieces[1:]] == [20, 65_536, 20]


def test_equal_tensors_in_two_files_are_equal_pieces() -> None:
    shared = ("BF16", [50_000], b"ab" * 50_000)
    first = safetensors({"a": shared, "z": ("U8", [70_000], b"x" * 70_000)})
    second = safetensors({"other": ("U8", [80_000], b"y" * 80_000), "renamed": shared})

    assert shared[2] in contents(first, cut_bytes(first))
    assert shared[2] in contents(second, cut_bytes(second))


def test_a_long_tensor_is_sliced_from_its_start_and_little_is_read() -> None:
    size = 40 << 20
    header = json.dumps({"a": {"dtype": "BF16", "shape": [size // 2], "data_offsets": [0, size]}}).encode()
    head = with_header(header, b"")
    source = Sparse(len(head) + size, head)
    found = cut(source, "big.safetensors")
    assert [piece.length for piece in found.pieces] == [len(head), 16 << 20, 16 << 20, 8 << 20]
    assert source.bytes_read < 1000


@settings(max_examples=150, deadline=None)
@given(
    header=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["a", "dtype", "shape", "data_offsets", "__metadata__"]), inner, max_size=4
            )
        ),
        max_leaves=8,
    ),
    body=st.binary(max_size=64),
)
def test_no_header_makes_a_cutter_fail(header: object, body: bytes) -> None:
    data = with_header(json.dumps(header).encode(), body)
    assert covers(cut_bytes(data).pieces, len(data))


@settings(max_examples=100, deadline=None)
@given(flips=st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(1, 255)), max_size=5))
def test_a_damaged_file_is_still_covered(flips: list[tuple[int, int]]) -> None:
    data = bytearray(GOOD)
    for at, bits in flips:
        data[at] ^= bits
    assert covers(cut_bytes(bytes(data)).pieces, len(data))


def test_a_header_may_have_space_and_escapes() -> None:
    header = b'{\t"__metadata__" : { "a\\u00e9" : "\\"{" , "b" : "" } ,\n' + one()[1:-1] + b" }  "
    assert cut_bytes(with_header(header, bytes(4))).cutter == "safetensors/1"


def test_a_tensor_keeps_its_key_wherever_it_lies() -> None:
    tensor, other = ("BF16", [200, 200], b"ab" * 40_000), ("U8", [70_000], bytes(70_000))
    before = cut_bytes(safetensors({"t": tensor, "z": other}))
    after = cut_bytes(safetensors({"a": other, "t": ("BF16", [200, 200], b"cd" * 40_000)}))
    assert before.pieces[1].key == after.pieces[2].key is not None


@pytest.mark.parametrize(
    ("name", "dtype", "shape"), [("u", "BF16", [200, 200]), ("t", "F16", [200, 200]), ("t", "BF16", [100, 400])]
)
def test_another_name_dtype_or_shape_is_another_key(name: str, dtype: str, shape: list[int]) -> None:
    one, two = (
        cut_bytes(safetensors({name: (dtype, shape, bytes(80_000))})).pieces[1].key
        for name, dtype, shape in (("t", "BF16", [200, 200]), (name, dtype, shape))
    )
    assert one != two


def test_slices_and_runs_have_keys_of_their_own() -> None:
    tensors = {"large": ("U8", [40 << 20], bytes(40 << 20)), "a": ("U8", [9], bytes(9)), "b": ("U8", [9], bytes(9))}
    keys = [piece.key for piece in cut_bytes(safetensors(tensors)).pieces]
    assert keys[0] is None
    assert None not in keys[1:]
    assert len(set(keys)) == 5
