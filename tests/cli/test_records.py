"""What verbs print with `--format json` follows docs/formats/records.schema.json."""

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from tests.channels import Made, make_channel
from tests.in_process import ptmtorrent

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "formats" / "records.schema.json").read_text("utf-8"))
RECORDS = {"dropped", "opened", "plan", "progress", "result", "note", "retry", "summary", "error"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_channel(tmp_path_factory.mktemp("made"))


def records(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [line for line in lines if line["type"] in RECORDS]


def test_the_schema_is_valid_and_knows_every_record() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    kinds = {kind for each in SCHEMA["$defs"].values() for kind in each["properties"]["type"]["enum"]}
    assert kinds == RECORDS


@pytest.mark.parametrize(
    "record",
    [
        {"type": "result", "package": "hf:org/name", "status": "ok"},
        {"type": "result", "kind": "thing", "id": "hf:org/name", "status": "ok"},
        {"type": "error", "code": "2", "message": "m", "hint": None},
        {"type": "unknown"},
    ],
)
def test_the_schema_refuses_other_records(record: dict[str, object]) -> None:
    assert not Draft202012Validator(SCHEMA).is_valid(record)


def test_records_of_verbs_follow_the_schema(made: Made, tmp_path: Path) -> None:
    made.trusted_by(made.home, str(made.folder))
    home = made.home.root
    channel = ("--channel", made.folder)
    lines = [
        *ptmtorrent(home, "fetch", "hf:solo", *channel, "--to", tmp_path / "out"),
        *ptmtorrent(home, "fetch", "hf:solo", *channel, "--to", tmp_path / "out"),
        *ptmtorrent(home, "fetch", "hf:sole", *channel, code=12),
        *ptmtorrent(home, "verify"),
        *ptmtorrent(home, "store", "check"),
        *ptmtorrent(home, "store", "repair", "--index"),
        *ptmtorrent(home, "store", "gc", "--dry-run"),
        *ptmtorrent(home, "publish", "2026.11", "--to", tmp_path / "published"),
        *ptmtorrent(home, "fetch", code=2),
    ]
    for line in records(lines):
        Draft202012Validator(SCHEMA).validate(line)
    assert {line["type"] for line in records(lines)} >= {"plan", "result", "summary", "error"}
    assert {line["kind"] for line in lines if line["type"] == "result"} >= {"package", "pack", "release"}
