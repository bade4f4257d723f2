from typing import ClassVar

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptmtorrent.errors import IntegrityError, UnsupportedFormat
from ptmtorrent.model import canonical
from ptmtorrent.model.bounds import MAX_MEMORY_BYTES, SAFE_BYTES, json_memory

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
trees = st.recursive(
    st.one_of(st.integers(), text, st.booleans()),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(text, inner, max_size=4)),
    max_leaves=12,
)


class Note(canonical.Document, frozen=True, kw_only=True, omit_defaults=True):
    FORMAT: ClassVar[str] = "ptmtorrent/note"
    FEATURES: ClassVar[frozenset[str]] = frozenset({"colour"})

    count: int = 0
    words: dict[str, int] = msgspec.field(default_factory=dict)


def document(**fields: object) -> dict[str, object]:
    return {"format": Note.FORMAT, "requires": [], "version": 1, **fields}


@given(trees)
def test_a_value_has_one_encoding_whatever_the_order_of_its_keys(value: object) -> None:
    def turned(tree: object) -> object:
        if isinstance(tree, dict):
            return {key: turned(tree[key]) for key in reversed(list(tree))}
        return [turned(item) for item in tree] if isinstance(tree, list) else tree

    assert canonical.encode(value) == canonical.encode(turned(value))
    assert msgspec.json.decode(canonical.encode(value)) == value


@given(st.dictionaries(text, st.integers(), min_size=2, max_size=6))
def test_keys_are_sorted_by_their_bytes(value: dict[str, int]) -> None:
    keys = [key.encode() for key in msgspec.json.decode(canonical.encode(value))]

    assert keys == sorted(keys)


@given(st.dictionaries(text, st.integers(-(2**40), 2**40), max_size=6))
def test_a_document_reads_back_as_it_was_written(words: dict[str, int]) -> None:
    note = Note(format=Note.FORMAT, version=1, requires=(), words=words)

    assert canonical.decode(canonical.encode(note), Note, name="note") == note


@given(st.binary(max_size=80))
def test_arbitrary_bytes_are_refused_with_our_error(data: bytes) -> None:
    with pytest.raises(IntegrityError):
        canonical.decode(data, Note, name="note")


@pytest.mark.parametrize(
    "data",
    [
        b'{"format":"ptmtorrent/note","requires":[],"version":1} ',
        b'{"format": "ptmtorrent/note","requires":[],"version":1}',
        b'{"requires":[],"format":"ptmtorrent/note","version":1}',
        b'{"count":1,"count":1,"format":"ptmtorrent/note","requires":[],"version":1}',
        b'{"count":1.0,"format":"ptmtorrent/note","requires":[],"version":1}',
        b'{"count":1e2,"format":"ptmtorrent/note","requires":[],"version":1}',
        b'{"count":-0,"format":"ptmtorrent/note","requires":[],"version":1}',
        b'{"format":"ptmtorrent/note","requires":[],"version":1,"words":{"\\u0041":1}}',
        b'\xef\xbb\xbf{"format":"ptmtorrent/note","requires":[],"version":1}',
    ],
)
def test_any_other_spelling_of_a_document_is_refused(data: bytes) -> None:
    with pytest.raises(IntegrityError, match="`note`"):
        canonical.decode(data, Note, name="note")


def test_the_canonical_spelling_of_the_same_document_is_read() -> None:
    note = canonical.decode(
        b'{"count":1,"format":"ptmtorrent/note","requires":["colour"],"version":1}', Note, name="note"
    )

    assert note.count == 1


def test_a_newer_version_is_refused_with_what_to_type() -> None:
    data = canonical.encode(document(version=2))

    with pytest.raises(UnsupportedFormat) as caught:
        canonical.decode(data, Note, name="note")

    assert caught.value.hint is not None


def test_an_unknown_feature_is_refused_by_name() -> None:
    data = canonical.encode(document(requires=["colour", "smell"]))

    with pytest.raises(UnsupportedFormat, match="smell"):
        canonical.decode(data, Note, name="note")


@pytest.mark.parametrize("fields", [{"format": "ptmtorrent/other"}, {"requires": 3}, {"requires": [1]}, {"count": "1"}])
def test_a_document_of_another_shape_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(IntegrityError):
        canonical.decode(canonical.encode(document(**fields)), Note, name="note")


def test_a_longer_document_is_refused_before_it_is_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(canonical, "MAX_DOCUMENT_BYTES", 10)

    with pytest.raises(IntegrityError, match="over the limit"):
        canonical.decode(canonical.encode(document()), Note, name="note")


def test_deeply_nested_json_is_refused() -> None:
    with pytest.raises(IntegrityError):
        canonical.decode(b"[" * 100_000, Note, name="note")


@pytest.mark.parametrize("value", [1.5, {"a": [1, float("nan")]}, ({"b": 0.0},)])
def test_floats_have_no_encoding(value: object) -> None:
    with pytest.raises(TypeError, match="integers"):
        canonical.encode(value)


@pytest.mark.parametrize("mark", [b",", b"[", b"{", b":", b'"', b"\xc3", b"1"])
def test_a_short_document_takes_no_more_memory_than_any_may_whatever_it_holds(mark: bytes) -> None:
    assert json_memory(mark * SAFE_BYTES) <= MAX_MEMORY_BYTES


def test_a_document_of_too_many_parts_is_refused() -> None:
    with pytest.raises(IntegrityError, match="hold parts that would take"):
        canonical.decode(b"[" * (2 * SAFE_BYTES), Note, name="x")


def columns(head: Note, tail: bytes = b"") -> bytes:
    return canonical.encode_columns(b"PTMNOTES", head, tail)


def test_a_binary_document_over_its_own_limit_is_refused_unread() -> None:
    data = columns(Note(format=Note.FORMAT, version=1, requires=()), bytes(2000))

    with pytest.raises(IntegrityError, match=r"`note` is 2\.1 kB, over the limit of 2\.1 kB"):
        canonical.ColumnReader(data, b"PTMNOTES", "note", limit=len(data) - 1)
    assert canonical.ColumnReader(data, b"PTMNOTES", "note", limit=len(data)).head(Note).count == 0


def test_a_binary_document_of_too_long_a_head_is_refused_before_it_is_parsed() -> None:
    words = {f"word {number}": number for number in range(6000)}
    data = columns(Note(format=Note.FORMAT, version=1, requires=(), words=words))

    with pytest.raises(IntegrityError, match=r"`note` has a head of \d+ bytes"):
        canonical.ColumnReader(data, b"PTMNOTES", "note").head(Note)
