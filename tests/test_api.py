import os
import re
from collections.abc import Callable
from contextlib import chdir
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from ptmtorrent import api
from ptmtorrent.errors import ConfigError, NotFound, UsageError
from ptmtorrent.paths import Home
from tests.channels import Made, check_laid_out, make_channel


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_channel(tmp_path_factory.mktemp("made"))


def test_the_public_names_are_these() -> None:
    assert api.__all__ == [
        *(
            "Channel",
            "FetchRequest",
            "File",
            "Opened",
            "Package",
            "PackageFacts",
            "PackageRow",
            "PlanMade",
            "PtmError",
            "Release",
        ),
        *("Result", "Stop", "SubsetRef", "Summary", "open", "verify"),
    ]
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


@pytest.fixture(scope="module")
def channel(made: Made, tmp_path_factory: pytest.TempPathFactory) -> api.Channel:
    home = tmp_path_factory.mktemp("reader")
    made.trusted_by(Home(home), str(made.folder))
    return api.open(made.folder, home=home)


def test_what_a_channel_has_is_listed_and_shown(made: Made, channel: api.Channel) -> None:
    assert [each.package for each in channel.list()] == sorted(made.packages)
    assert {each.package for each in channel.list("popular")} < set(made.packages)
    package = channel.show("hf:org/base")
    assert {file.path for file in package.files} == set(made.packages["hf:org/base"])
    assert package.bytes == sum(map(len, made.packages["hf:org/base"].values()))
    assert [release.name for release in channel.releases()] == ["2026.11"]
    assert channel.cite().content_root == f"b3:{made.release.content_root}"
    with pytest.raises(NotFound, match="hf:org/bas"):
        channel.show("hf:org/bas")


def test_fetched_files_are_verified(made: Made, tmp_path: Path) -> None:
    made.trusted_by(Home(tmp_path / "home"), str(made.folder))
    channel = api.open(made.folder, home=tmp_path / "home")
    [result] = channel.fetch(api.FetchRequest(packages=("hf:solo",), to=str(tmp_path / "out")))  # type: ignore[arg-type]
    assert result.path is not None
    assert [each.status for each in api.verify(tmp_path / "out", home=tmp_path / "home")] == ["ok"]
    (Path(result.path) / "weights.bin").write_bytes(b"")
    [found] = api.verify("hf:solo", home=str(tmp_path / "home"))
    assert (found.status, "weights.bin" in found.reason) == ("error", True)


WRONG: dict[str, object] = {
    "packages": "hf:org/base",
    "subset": 5,
    "only": ("weight",),
    "max_bytes": "5GB",
    "into": "hfcache",
    "to": 5,
    "force": None,
    "prune": 1,
    "transport": "ftp",
    "peers": ("host:1",),
    "keep_packs": "yes",
    "refuse_findings": "danger",
    "dry_run": 1,
}
TOO_FAR = {"max_bytes": -1, "peers": (("host", 0),), "packages": ("base",), "to": Path("a\0b")}


def test_every_value_of_a_request_is_tried() -> None:
    assert set(WRONG) == set(api.FetchRequest.__struct_fields__)


@pytest.mark.parametrize(("name", "value"), [*WRONG.items(), *TOO_FAR.items()])
def test_a_wrong_value_of_a_request_is_named(channel: api.Channel, tmp_path: Path, name: str, value: object) -> None:
    values: dict[str, Any] = {"packages": ("hf:org/base",), "to": tmp_path / "out", name: value}
    request = api.FetchRequest(**values)
    for call in (channel.plan, channel.fetch):
        with pytest.raises(UsageError) as caught:
            call(request)
        assert f"`{name}`" in caught.value.message or "`base`" in caught.value.message
        assert caught.value.hint
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "call",
    [
        lambda _: api.open(5),  # type: ignore[arg-type]
        lambda _: api.open(""),
        lambda _: api.open("s3:bucket/channel"),
        lambda _: api.open(release=3),  # type: ignore[arg-type]
        lambda _: api.open(home=3),  # type: ignore[arg-type]
        lambda channel: channel.list(3),
        lambda channel: channel.show(None),
        lambda channel: channel.show("base"),
        lambda channel: channel.fetch("hf:org/base"),
        lambda channel: channel.fetch(api.FetchRequest()),
        lambda _: api.verify(3),  # type: ignore[arg-type]
    ],
)
def test_a_wrong_argument_is_a_usage_error(channel: api.Channel, call: Callable[[api.Channel], object]) -> None:
    with pytest.raises(UsageError):
        call(channel)


def test_settings_are_those_of_the_command_line(made: Made, tmp_path: Path) -> None:
    home = tmp_path / "home"
    made.trusted_by(Home(home), str(made.folder))
    given = {"PTMTORRENT_HOME": str(home), "PTMTORRENT_CHANNEL": str(made.folder), "PTMTORRENT_TRANSPORT": "http"}
    with mock.patch.dict(os.environ, given), chdir(tmp_path):
        channel = api.open()
        assert channel.release.name == "2026.11"
        with pytest.raises(UsageError, match="not a server"):  # a folder has no server
            channel.plan(api.FetchRequest(packages=("hf:solo",)))
        channel.plan(api.FetchRequest(packages=("hf:solo",), transport="auto"))
        os.environ["PTMTORRENT_CHANNEL"] = str(tmp_path / "nowhere")
        with pytest.raises(NotFound, match="nowhere"):
            api.open()
        os.environ["PTMTORRENT_TRANSPORT"] = "carrier pigeon"
        with pytest.raises(ConfigError, match="transport"):
            api.open()


PAGE = Path(__file__).parents[1] / "docs" / "guides" / "python.md"
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def test_every_example_of_the_page_runs(tmp_path: Path) -> None:
    names: dict[str, object] = {}
    with mock.patch.dict(os.environ, {"PTMTORRENT_HOME": str(tmp_path / "home")}), chdir(tmp_path):
        for number, example in enumerate(EXAMPLES):
            exec(compile(example, f"{PAGE}, example {number}", "exec"), names)  # noqa: S102  # our own page
    assert len(EXAMPLES) >= 6


def test_the_page_names_everything_public() -> None:
    page = PAGE.read_text(encoding="utf-8")
    methods = [name for name in vars(api.Channel) if not name.startswith("_")]
    missing = [name for name in (*api.__all__, *methods, *api.FetchRequest.__struct_fields__) if f"`{name}" not in page]
    assert missing == []
