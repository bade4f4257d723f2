"""The policy and subsets of the official channel, in `manifests/`: each is valid and used, and means what it says."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from ptmtorrent.catalogue.query import open_locked
from ptmtorrent.catalogue.tables import FILES, PACKAGES, quote
from ptmtorrent.channel.paths import release_folder
from ptmtorrent.hubs.registry import HUBS
from ptmtorrent.model.ids import PackageName, ReleaseName
from ptmtorrent.model.manifest import Capture
from ptmtorrent.model.records import ignore
from ptmtorrent.model.subset import METADATA, NOT_WEIGHTS, POPULAR, SubsetQuery, rule_of
from ptmtorrent.workflows.release.policy import read_policy
from ptmtorrent.workflows.release.release import release
from tests.model.generated import new_capture
from tests.workflows.captured import TickingClock, capture, new_home, writing

FOLDER = Path(__file__).parent.parent / "manifests"
POLICY = read_policy(FOLDER / "policy.toml")
RULES = {name: rule_of(name, query) for name, query in POLICY.subsets.items()}


def test_every_subset_file_is_named_by_the_policy() -> None:
    assert {f"{name}.toml" for name in POLICY.subsets} | {"policy.toml"} == {
        path.name for path in FOLDER.glob("*.toml")
    }


@given(st.sampled_from(["hf:a/b", "onnx:x", "dir:m"]), st.none() | st.integers(0, 200))
def test_popular_and_metadata_are_the_standard_subsets(package: str, downloads: int | None) -> None:
    listed = new_capture(PackageName(package), downloads=downloads)
    assert RULES["popular"].takes(listed) == POPULAR.takes(listed)
    assert RULES["metadata"].takes(listed) == METADATA.takes(listed)
    assert (RULES["popular"].only, RULES["metadata"].only) == ((), NOT_WEIGHTS)


def test_hubs_of_subsets_are_hubs_of_the_program() -> None:
    known = {kind.prefix for kind in HUBS}
    assert all({*query.hubs, *query.min_downloads} <= known for query in POLICY.subsets.values())


ODD = {
    "named": SubsetQuery(about="x", packages=frozenset({"hf:a/*", "dir:it's"})),
    "exact": SubsetQuery(about="x", packages=frozenset({"hf:a/text"}), only=("docs",)),
    "several": SubsetQuery(about="x", hubs=("hf", "dir"), licences=("mit",), min_downloads={"hf": 51, "dir": 1}),
    "by-library": SubsetQuery(about="x", libraries=("transformers",), tasks=("text-generation",)),
}


@pytest.mark.parametrize("name", [*RULES, *ODD])
def test_sql_of_a_subset_selects_its_members(tmp_path: Path, name: str) -> None:
    home, keys = new_home(tmp_path / "home")
    made_of: dict[str, dict[str, object]] = {
        "hf:a/text": {"downloads": 51, "task": "text-generation", "library": "transformers"},
        "hf:a/quiet": {"downloads": 50, "task": "image-classification", "licence": "apache-2.0"},
        "hf:b/none": {"downloads": None, "task": None},
        "hf:b/sound": {"downloads": 900, "task": "text-to-speech"},
        "onnx:x": {"downloads": None, "task": "classification"},
        "dir:it's": {"downloads": None, "task": None},
    }
    with writing(home) as store:
        for package, facts in made_of.items():
            capture(store, tmp_path, package, {"config.json": b"{}", "README.md": b"#", "a.safetensors": b"w"}, **facts)
    policy = structs.replace(POLICY, subsets={**POLICY.subsets, **ODD})
    made = release(ReleaseName("r1"), home, keys, clock=TickingClock(), emit=ignore, policy=policy)

    rule = rule_of(name, policy.subsets[name])
    taken = {package for package, facts in made_of.items() if rule.takes(_listed(package, facts))}
    rows = _select(home.channel / release_folder(made.name) / "tables", made.subset(name).query)

    assert made.subset(name).packages == len(taken)
    if rule.only:
        paths = {"README.md": "docs", "config.json": "config", "a.safetensors": "weights"}
        assert rows == {(package, path) for package in taken for path, kind in paths.items() if kind in rule.only}
    else:
        assert rows == {(package,) for package in taken}


def _listed(package: str, facts: dict[str, object]) -> Capture:
    return new_capture(PackageName(package), **{"licence": "mit", **facts})


def _select(tables: Path, query: str) -> set[tuple[str, ...]]:
    sql = f"SELECT {query.partition(': SELECT ')[2]}"
    for table in (PACKAGES, FILES):
        sql = sql.replace(f"FROM {table.partition('.')[0]}", f"FROM read_parquet({quote(tables / table)})")
    with open_locked(tables / PACKAGES, tables / FILES) as database:
        return set(database.execute(sql).fetchall())
