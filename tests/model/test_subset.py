from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptmtorrent.model.subset import (
    ALL,
    MAX_VALUE,
    MAX_VALUES,
    METADATA,
    NOT_WEIGHTS,
    POPULAR,
    STANDARD_RULES,
    SubsetQuery,
    rule_of,
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


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({}, None),
        ({"min_downloads": {"hf": 0}}, None),
        ({"tasks": ("x",) * MAX_VALUES}, None),
        ({"tasks": ("x",) * MAX_VALUES, "hubs": ("hf",)}, "has more than 1,000 values"),
        ({"min_downloads": {"hf": -1}}, "has a number of downloads that cannot be"),
        ({"min_downloads": {"hf": 1 << 50}}, "has a number of downloads that cannot be"),
        ({"libraries": ("",)}, "has an empty text, or one with more than 200 characters"),
        ({"about": "x" * (MAX_VALUE + 1)}, "has an empty text, or one with more than 200 characters"),
    ],
)
def test_a_query_says_what_is_wrong_with_it(fields: dict[str, Any], fault: str | None) -> None:
    assert SubsetQuery(**{"about": "x", **fields}).fault == fault


EVERYTHING = SubsetQuery(
    about="x",
    hubs=("hf",),
    packages=frozenset({"hf:a/*"}),
    tasks=("t",),
    libraries=("l",),
    licences=("mit",),
    min_downloads={"hf": 5},
)
MEETS = {"task": "t", "library": "l", "licence": "mit", "downloads": 5}


@pytest.mark.parametrize(
    ("package", "facts"),
    [
        ("onnx:a/b", {}),
        ("hf:b/b", {}),
        ("hf:a/b", {"task": None}),
        ("hf:a/b", {"library": "other"}),
        ("hf:a/b", {"licence": "gpl"}),
        ("hf:a/b", {"downloads": 4}),
        ("hf:a/b", {"downloads": None}),
    ],
)
def test_a_package_has_to_meet_every_condition(package: str, facts: dict[str, object]) -> None:
    assert EVERYTHING.takes(new_capture("hf:a/b", **MEETS))
    assert not EVERYTHING.takes(new_capture(package, **{**MEETS, **facts}))


def test_the_sql_of_a_rule_has_every_condition_and_quotes_its_values() -> None:
    rule = rule_of("s", msgspec.structs.replace(EVERYTHING, tasks=("it's",), only=("docs", "config")))

    assert rule.query == (
        "x: SELECT package, path FROM files WHERE kind IN ('docs', 'config') AND package IN (SELECT package "
        "FROM packages WHERE hub IN ('hf') AND task IN ('it''s') AND library IN ('l') AND licence IN ('mit') AND "
        "(starts_with(package, 'hf:a/')) AND (hub <> 'hf' OR downloads >= 5))"
    )
    assert (rule.name, rule.only) == ("s", ("docs", "config"))
