import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptmtorrent.model.kinds import FILE_KINDS, LARGE_BYTES, file_kind


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("model.safetensors", "weights"),
        ("onnx/model.onnx", "weights"),
        ("pytorch_model.bin", "weights"),
        ("saved_model.pb", "weights"),
        ("MODEL.GGUF", "weights"),
        ("README.md", "docs"),
        ("LICENSE", "docs"),
        ("licence.txt", "docs"),
        ("images/curve.PNG", "docs"),
        ("config.json", "config"),
        ("vocab.txt", "config"),
        ("modeling_x.py", "code"),
        ("hubconf.py", "code"),
        ("init/start.sh", "code"),
        (".gitattributes", "metadata"),
        ("readme.d/notes", "metadata"),
    ],
)
def test_the_name_tells_the_kind(path: str, kind: str) -> None:
    assert file_kind(path, 10) == kind


def test_a_large_file_of_unknown_sort_counts_as_weights() -> None:
    assert file_kind("thing", LARGE_BYTES + 1) == "weights"
    assert file_kind("thing", LARGE_BYTES) == "metadata"


@given(st.text(max_size=20), st.integers(0, 1 << 40))
def test_every_file_has_one_of_the_five_kinds(path: str, size: int) -> None:
    assert file_kind(path, size) in FILE_KINDS
