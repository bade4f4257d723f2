from pathlib import Path

import pytest

from ptmtorrent import api
from ptmtorrent.paths import Home
from tests.channels import Made, check_laid_out, make_channel


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_channel(tmp_path_factory.mktemp("made"))


def test_the_public_names_are_these() -> None:
    assert api.__all__ == ["Channel", "FetchRequest", "PlanMade", "PtmError", "Result", "Summary", "open"]
    assert all(hasattr(api, name) for name in api.__all__)


def test_a_channel_is_opened_planned_and_fetched(made: Made, tmp_path: Path) -> None:
    made.trusted_by(Home(tmp_path / "home"), str(made.folder))
    channel = api.open(str(made.folder), home=tmp_path / "home", release="2026.11")
    assert [subset.name for subset in channel.subsets()] == ["all", "metadata", "popular"]

    request = api.FetchRequest(packages=("hf:solo",), to=tmp_path / "out")
    assert channel.plan(request).bytes == 300_000
    assert not (tmp_path / "out").exists()

    [result] = channel.fetch(request)
    assert (result.kind, result.id, result.status) == ("package", "hf:solo", "ok")
    check_laid_out(tmp_path / "out", {"hf:solo": made.packages["hf:solo"]})
