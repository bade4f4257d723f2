import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptmtorrent.errors import UsageError
from ptmtorrent.model.ids import PackageName
from ptmtorrent.model.subset import (
    ALL,
    METADATA,
    NOT_WEIGHTS,
    POPULAR,
    STANDARD_RULES,
    check_subset_name,
    listed_rule,
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


def test_the_standard_subsets_have_distinct_names_that_can_be_files() -> None:
    names = [rule.name for rule in STANDARD_RULES]

    for name in names:
        check_subset_name(name)

    assert names == sorted({"all", "metadata", "popular"})


def test_a_listed_subset_has_the_named_members_and_says_how_many() -> None:
    rule = listed_rule("mine", frozenset({PackageName("hf:a/b")}))

    assert rule.takes(new_capture("hf:a/b"))
    assert not rule.takes(new_capture("hf:a/c"))
    assert rule.query.startswith("1 package")


@pytest.mark.parametrize("name", ["", "All", "a/b", "..", ".x", "-x", "a" * 65, "a b"])
def test_a_subset_name_that_could_not_be_a_file_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="subset"):
        listed_rule(name, frozenset())
