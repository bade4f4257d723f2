from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptmtorrent.errors import IntegrityError
from ptmtorrent.model import bencode

NUMBERS = st.integers(min_value=-(2**63), max_value=2**63 - 1)
VALUES: st.SearchStrategy[Any] = st.recursive(
    NUMBERS | st.binary(max_size=40),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.binary(max_size=8), inner, max_size=4),
    max_leaves=20,
)


@given(VALUES)
def test_decoding_gives_back_what_was_encoded(value: bencode.Value) -> None:
    assert bencode.decode(bencode.encode(value), name="x") == value


@given(VALUES)
def test_encoding_equals_that_of_libtorrent(value: bencode.Value) -> None:
    lt = pytest.importorskip("libtorrent")

    assert bencode.encode(value) == lt.bencode(value)


@given(st.binary(max_size=60) | st.text(alphabet="idle0123456789:-", max_size=30).map(str.encode))
def test_whatever_decodes_is_spelled_the_one_way(data: bytes) -> None:
    try:
        value = bencode.decode(data, name="x")
    except IntegrityError:
        return
    assert bencode.encode(value) == data


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"i1",
        b"ie",
        b"i-e",
        b"i01e",
        b"i-0e",
        b"i+1e",
        b"i 1e",
        b"i" + b"9" * 5000 + b"e",
        b"5:spam",
        b"01:a",
        b"-1:a",
        b"99999999999999999999:a",
        b"l",
        b"li1e",
        b"d",
        b"d1:a",
        b"di1ei2ee",
        b"d1:bi1e1:ai2ee",
        b"d1:ai1e1:ai2ee",
        b"i1ei2e",
        b"x",
        b"l" * 100_000,
        b"l" * 33 + b"e" * 33,
    ],
)
def test_another_spelling_is_refused(data: bytes) -> None:
    with pytest.raises(IntegrityError, match="`x`"):
        bencode.decode(data, name="x")


def test_a_file_longer_than_the_limit_is_refused_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bencode, "MAX_BYTES", 4)

    with pytest.raises(IntegrityError, match="6 B"):
        bencode.decode(b"4:spam", name="x")


@pytest.mark.parametrize("value", ["text", 1.5, None, True, [b"a", "b"]])
def test_other_types_have_no_encoding(value: Any) -> None:
    with pytest.raises(TypeError):
        bencode.encode(value)


@pytest.mark.parametrize("data", [b"li1ei2ei3ee", b"d1:ai1ee"])
def test_a_file_of_too_many_values_is_refused_keys_included(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bencode, "MAX_VALUES", 2)

    with pytest.raises(IntegrityError, match="`x` is not bencoded: more than 2 values"):
        bencode.decode(data, name="x")
    assert bencode.decode(b"li1ee", name="x") == [1]
