"""The verbs of the store: what they print, and how they end."""

import io
import json
import shutil
import sqlite3
from contextlib import closing, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from ptmtorrent.channel.paths import pack_path
from ptmtorrent.cli import main as program
from ptmtorrent.store.store import Store
from tests.channels import Made, make_channel


def run(home: Path, *arguments: object, code: int = 0) -> list[dict[str, Any]]:
    """Run a verb in this process with `--format json`; check its exit code and return the lines it printed."""
    out, talk = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(talk):
        ended = program.run(["--home", str(home), "--format", "json", "store", *map(str, arguments)])
    assert ended == code, out.getvalue()[-2000:] + talk.getvalue()[-2000:]
    return [json.loads(line) for line in out.getvalue().splitlines()]


def of_type(lines: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [line for line in lines if line["type"] == kind]


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return make_channel(tmp_path)


def flip_an_object(made: Made) -> tuple[str, str, int]:
    """Damage one object of `hf:solo`; return it, its pack and its stored bytes."""
    identifier = made.manifests["hf:solo"].objects[-1][0]
    with Store.open(made.home.store) as store:
        place = store.location(identifier)
    path = made.home.store / pack_path(place.pack)
    data = bytearray(path.read_bytes())
    data[place.offset] ^= 1
    path.write_bytes(data)
    return identifier, place.pack, place.length


def test_init_makes_a_store_once_and_says_where(tmp_path: Path) -> None:
    first, second = run(tmp_path / "home", "init"), run(tmp_path / "home", "init")
    assert first == second == [{"type": "store", "what": "store", "value": str(tmp_path / "home" / "store")}]
    assert run(tmp_path / "home", "check")[-1]["failed"] == 0


@pytest.mark.parametrize("verb", ["init", "info", "check", "repair", "gc"])
def test_a_store_of_a_newer_version_is_refused_and_left_as_it_is(tmp_path: Path, verb: str) -> None:
    """Whatever it keeps in place of what this version knows: none of it is damage, or to be moved away."""
    run(tmp_path, "init")
    (tmp_path / "store" / "version.json").write_bytes(b'{"format":"ptmtorrent/store","requires":[],"version":4}')
    (tmp_path / "store" / "index.sqlite").write_bytes(b"an index of another kind")
    before = {path: path.read_bytes() for path in (tmp_path / "store").iterdir() if path.name != "lock"}
    run(tmp_path, verb, code=23)
    assert {path: path.read_bytes() for path in (tmp_path / "store").iterdir() if path.name != "lock"} == before


def test_info_prints_measures_codecs_and_packages(made: Made) -> None:
    lines = run(made.home.root, "info", "--top", 2)
    measures = {line["what"]: line["value"] for line in of_type(lines, "store")}
    assert measures["packages"] == len(made.packages)
    assert measures["raw_bytes"] == sum(len(data) for files in made.packages.values() for data in files.values())
    assert measures["ratio_dedupe"] > 1
    assert measures["ratio_delta"] is None
    assert sum(line["objects"] for line in of_type(lines, "codec")) == measures["objects"]
    assert len(of_type(lines, "top")) == 2


def test_info_names_a_codec_that_it_does_not_know(made: Made) -> None:
    with closing(sqlite3.connect(made.home.store / "index.sqlite", isolation_level=None)) as index:
        index.execute("INSERT INTO objects SELECT NULL, zeroblob(32), min(row), 60, 1, 1, 12, 0, NULL FROM packs")
    (unknown,) = [line for line in of_type(run(made.home.root, "info"), "codec") if line["codec"] == 12]
    assert unknown["name"] == "of a newer version"
    assert unknown["objects"] == 1


def test_a_check_of_a_whole_store_says_what_it_did_not_read(made: Made) -> None:
    lines = run(made.home.root, "check")
    assert of_type(lines, "summary")[0]["bytes_unread"] > 0
    assert of_type(lines, "summary")[0]["unit"] == "pack"
    assert any("--data" in line["message"] for line in of_type(lines, "note"))
    assert of_type(run(made.home.root, "check", "--data"), "summary")[0]["bytes_unread"] == 0


def test_damage_is_a_row_each_and_ends_with_50(made: Made) -> None:
    identifier, pack, stored = flip_an_object(made)
    lines = run(made.home.root, "check", "--data", code=50)
    (row,) = of_type(lines, "damage")
    assert (row["pack"], row["what"], row["object"], row["bytes"]) == (pack, "object", identifier, stored)
    assert row["packages"] == ["hf:solo"]
    assert "store repair" in lines[-1]["hint"]


def test_two_levels_at_once_are_2(made: Made) -> None:
    assert "exclude" in run(made.home.root, "check", "--quick", "--data", code=2)[-1]["message"]


def test_a_repair_from_a_channel_moves_the_object_and_ends_with_0(made: Made, tmp_path: Path) -> None:
    shutil.copytree(made.folder, tmp_path / "mirror")
    made.trusted_by(made.home, str(tmp_path / "mirror"))
    _, pack, stored = flip_an_object(made)
    planned = run(made.home.root, "repair", "--from", tmp_path / "mirror", "--dry-run")
    assert of_type(planned, "plan")[0]["bytes_to_move"] == stored
    lines = run(made.home.root, "repair", "--from", tmp_path / "mirror")
    (result,) = of_type(lines, "result")
    assert (result["id"], result["status"], result["bytes"]) == (pack, "ok", stored)
    assert of_type(lines, "summary")[0]["bytes_moved"] == stored
    run(made.home.root, "check", "--data")


def test_a_repair_that_loses_a_package_names_it_and_ends_with_50(made: Made) -> None:
    flip_an_object(made)
    lines = run(made.home.root, "repair", code=50)
    reasons = {line["id"]: line["reason"] for line in of_type(lines, "result")}
    assert "ptmtorrent clone huggingface --id solo" in reasons["hf:solo"]
    assert of_type(lines, "summary")[0]["failed"] == 2


def test_an_untrusted_channel_repairs_nothing(made: Made, tmp_path: Path) -> None:
    other = make_channel(tmp_path / "other")
    flip_an_object(made)
    assert "trust add" in run(made.home.root, "repair", "--from", other.folder, code=60)[-1]["hint"]


def test_gc_prints_what_it_marked_and_freed(made: Made) -> None:
    measures = {line["what"]: line["value"] for line in of_type(run(made.home.root, "gc", "--dry-run"), "gc")}
    assert measures["packs_freed"] == measures["packs_marked"] == 0
    assert measures.keys() >= {"bytes_freed", "bytes_marked", "bytes_dead_in_live_packs"}


def test_gc_refuses_while_a_release_cannot_be_read(made: Made) -> None:
    (made.folder / "releases" / "2026.11" / "release.json").unlink()
    assert "2026.11" in run(made.home.root, "gc", "--grace", 0, code=20)[-1]["message"]


@pytest.mark.parametrize("verb", ["info", "check", "repair", "gc"])
def test_a_home_without_a_store_is_12(tmp_path: Path, verb: str) -> None:
    assert "store init" in run(tmp_path / "home", verb, code=12)[-1]["hint"]


@pytest.mark.parametrize("verb", ["repair", "gc"])
def test_a_store_that_is_written_is_21(made: Made, verb: str) -> None:
    with Store.open(made.home.store, write=True):
        run(made.home.root, verb, code=21)


@pytest.mark.parametrize("verb", ["info", "gc"])
def test_every_measure_of_bytes_is_explained_to_scripts(made: Made, verb: str) -> None:
    page = (Path(__file__).parent.parent.parent / "docs" / "guides" / "json.md").read_text()
    rows = [line["what"] for line in run(made.home.root, verb) if "what" in line]
    measures = [what for what in rows if "bytes" in what or "ratio" in what or "_" in what]
    assert measures
    assert [what for what in measures if f"`{what}`" not in page] == []
