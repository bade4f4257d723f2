"""The page about mining: its examples run over the sample, and lead from a group to packages that are fetched."""

import os
import re
from contextlib import chdir
from pathlib import Path
from unittest import mock

import pytest

from tests.in_process import ptmtorrent

TOP = Path(__file__).parents[1]
PAGE = TOP / "docs" / "guides" / "mining.md"
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def run(examples: list[str], folder: Path) -> dict[str, object]:
    """Run examples of the page in `folder`, where the sample was exported and lies as `channel`."""
    (folder / "channel").symlink_to(TOP / "manifests" / "sample")
    ptmtorrent(folder / "home", "export", "ptmtorrent-json", "--release", "sample", "--to", folder / "metadata")
    names: dict[str, object] = {}
    with mock.patch.dict(os.environ, {"PTMTORRENT_HOME": str(folder / "home")}), chdir(folder):
        for number, example in enumerate(examples):
            exec(compile(example, f"{PAGE}, example {number}", "exec"), names)  # noqa: S102  # our own page
    return names


def test_duckdb_needs_nothing_else(tmp_path: Path) -> None:
    names = run([example for example in EXAMPLES if "duckdb" in example], tmp_path)
    assert len(set(names["in_duckdb"])) == 3  # type: ignore[call-overload]


def test_the_largest_packages_of_a_group_are_fetched_by_the_names_in_the_rows(tmp_path: Path) -> None:
    pytest.importorskip("pandas", reason="pandas is not installed: it is in the extra `dev`")
    pytest.importorskip("polars", reason="polars is not installed: it is in the extra `dev`")
    names = run(EXAMPLES, tmp_path)
    assert names["largest"] == names["in_polars"] == names["in_duckdb"]
    fetched = {path.name for path in (tmp_path / "models").rglob("*") if path.is_dir()}
    assert {str(name).rpartition("/")[2] for name in names["largest"]} <= fetched  # type: ignore[attr-defined]
