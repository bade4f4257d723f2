import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from ptmtorrent.errors import UsageError
from ptmtorrent.model.ids import is_hex64, object_id, parse_package_name, parse_release_name, path_bytes, path_of


@given(st.binary(max_size=100))
def test_an_object_is_named_by_the_blake3_of_its_bytes(data: bytes) -> None:
    assert object_id(data) == object_id(memoryview(data)) == blake3(data).hexdigest()


@pytest.mark.parametrize("text", ["", "ab", "AB" * 32, "0" * 63, "0" * 65, "0" * 63 + "g", "0" * 64 + "\n"])
def test_any_other_spelling_of_a_hash_is_not_one(text: str) -> None:
    assert not is_hex64(text)


@pytest.mark.parametrize("text", ["2026.11", "v1", "demo-2", "A" * 64])
def test_release_names_that_are_folder_names_everywhere_are_accepted(text: str) -> None:
    assert parse_release_name(text) == text


@pytest.mark.parametrize("text", ["", ".", "..", ".hidden", "-x", "a/b", "a\\b", "a b", "a" * 65, "é", "a\n"])
def test_a_release_name_that_could_be_anything_else_is_refused(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_release_name(text)

    assert caught.value.hint is not None


@pytest.mark.parametrize("text", ["hf:org/name", "hf:gpt2", "onnx:validated/vision/x", "hf:org/näme"])
def test_package_names_start_with_their_hub(text: str) -> None:
    assert parse_package_name(text) == text


@pytest.mark.parametrize("text", ["org/name", ":x", "HF:x", "hf:", "hf:a\nb", "hf:a\0b"])
def test_a_package_name_without_its_hub_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="not a package name"):
        parse_package_name(text)


@given(st.binary(max_size=40))
def test_the_bytes_of_a_path_come_back(data: bytes) -> None:
    assert path_bytes(path_of(data)) == data
