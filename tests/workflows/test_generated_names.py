"""Names of every odd kind come out as they were upstream, or are refused by the layout for that file alone.

`scripts/fuzz-names` does the same with 10⁵ names.
"""

from functools import partial
from pathlib import Path
from typing import Literal
from unittest import mock

import pytest

from ptmtorrent.layouts.folders import Names
from ptmtorrent.paths import Home
from ptmtorrent.workflows.fetch.fetch import FetchRequest
from tests.channels import Heard, check_laid_out, fetch_from, make_channel
from tests.workflows.generated_names import World, check


def test_generated_names_are_captured_released_and_fetched_byte_for_byte(tmp_path: Path) -> None:
    assert check(World(root=tmp_path, seed=15, packages=1, names=60)) == []


@pytest.mark.parametrize("into", ["dir", "hf-cache"])
def test_name_that_the_platform_cannot_write_costs_that_file_alone(
    into: Literal["dir", "hf-cache"], tmp_path: Path
) -> None:
    files = {"a:b.json": b"1", "ok.json": b"2", "sub/aux.txt": b"1"}
    made = make_channel(tmp_path, {"hf:a/b": files, "hf:c/d": {"x.json": b"3"}})
    home, heard, again = Home(tmp_path / "user"), Heard(), Heard()
    made.trusted_by(home, str(made.folder))
    request = FetchRequest(subset="all", to=tmp_path / "out", into=into)

    with mock.patch("ptmtorrent.workflows.fetch.fetch.Names", partial(Names, windows=True)):
        summary = fetch_from(made.folder, home, request, emit=heard)
        fetch_from(made.folder, home, request, emit=again)

    assert (heard.results["hf:a/b"].status, heard.results["hf:c/d"].status, summary.failed) == ("impossible", "ok", 1)
    assert heard.results["hf:a/b"].reason.startswith(
        "2 files cannot be written here: `a:b.json` is a name that Windows does not take: a separator, a control"
        " character, or a dot or space at its end; `aux.txt` is the name of a device on Windows"
    )
    assert again.results["hf:a/b"].reason == heard.results["hf:a/b"].reason
    if into == "dir":
        check_laid_out(tmp_path / "out", {"hf:a/b": {"ok.json": b"2"}, "hf:c/d": {"x.json": b"3"}})
    else:
        [snapshot] = (tmp_path / "out" / "models--a--b" / "snapshots").iterdir()
        assert [path.name for path in snapshot.rglob("*")] == ["ok.json"]
