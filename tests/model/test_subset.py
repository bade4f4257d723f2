import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptmtorrent.model.subset import (
    ALL,
    METADATA,
    NOT_WEIGHTS,
    POPULAR,
    STANDARD_RULES,
    wants,
)
from tests.model.generated import new_capture, new_file


@pytest.mark.parametrize(
    ("package", "downloads", "popular"),
    [
        ("hf:a/b", 51, True),
        ("hf:a/b", 50, False),
        ("hf:a/b", 0, False),
        ("hf:a/b", None, False),
        ("onnx:validated/x", None, True),
        ("zoo:x", 3, True),
    ],
)
def test_popular_means_more_than_fifty_downloads_where_a_hub_counts(
    package: str, downloads: int | None, popular: bool
) -> None:
    assert POPULAR.takes(new_capture(package, downloads=downloads)) is popular


@given(st.sampled_from(["hf:a/b", "onnx:x"]), st.none() | st.integers(0, 1000))
def test_all_and_metadata_take_every_package(package: str, downloads: int | None) -> None:
    capture = new_capture(package, downloads=downloads)

    assert ALL.takes(capture)
    assert METADATA.takes(capture)


def test_metadata_wants_everything_but_weights() -> None:
    files = [new_file(path, b"x") for path in ("model.safetensors", "config.json", "README.md", ".gitattributes")]

    assert [file.name for file in files if wants(METADATA.only, file)] == ["config.json", "README.md", ".gitattributes"]
    assert "weights" not in NOT_WEIGHTS


def test_no_kinds_mean_all_files() -> None:
    assert wants((), new_file("model.safetensors", b"x"))


def test_every_release_has_the_three_subsets_in_the_order_of_their_names() -> None:
    assert [rule.name for rule in STANDARD_RULES] == ["all", "metadata", "popular"]
