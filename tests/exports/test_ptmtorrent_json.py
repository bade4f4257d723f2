import csv
import gzip
import json
import re
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from ptmtorrent.exports.ptmtorrent_json import hub_json, stable_id, uniform_json
from ptmtorrent.hubs.huggingface.records import read_listed
from ptmtorrent.hubs.modelhub.adapter import read_registry
from ptmtorrent.hubs.modelzoo import read_catalogue
from ptmtorrent.hubs.port import Listed
from ptmtorrent.hubs.pytorch.adapter import list_card
from ptmtorrent.hubs.record import read_answer
from ptmtorrent.hubs.tfhub.adapter import list_document
from ptmtorrent.hubs.tfhub.documents import read_document
from tests.exports.rows import export_row

REAL = Path(__file__).parents[2].parent / "shared/data"
pytestmark = pytest.mark.skipif(not REAL.is_dir(), reason="the schemas of PTMTorrent are not here")


def _schema(name: str) -> Any:
    schema = json.loads((REAL / f"ptmtorrent/{name}.json").read_bytes())
    return jsonschema.validators.validator_for(schema)(schema)


def _export(prefix: str, packages: Iterable[Listed], schema: str | None) -> tuple[list[Any], list[Any]]:
    """Return both lists of an export; every record was accepted by PTMTorrent's own schema."""
    uniforms: list[Any] = []
    owns: list[Any] = []
    for listed in packages:
        row = export_row(prefix, listed)
        uniforms.append(uniform_json(row, len(owns)))
        owns += hub_json(row, read_answer(listed.raw))
    check = _schema("ptmtorrent")
    for made in uniforms:
        check.validate(made)
    if schema is not None:
        _schema(schema).validate(owns)
    return uniforms, owns


def test_every_real_record_of_hugging_face_validates() -> None:
    with gzip.open(REAL / "huggingface/hf-models-2022-02.sample.jsonl.gz") as lines:
        uniforms, owns = _export("hf", (read_listed(line) for line in lines), "huggingfaceMetadata")
    assert (len(uniforms), len(owns)) == (7358, 7358)
    assert uniforms[1]["ModelHub"]["MetadataObjectID"] == 1
    assert owns[1]["modelId"] == uniforms[1]["ModelName"] == "0x7194633/keyt5-base"
    assert all(each.get("Datasets", True) for each in uniforms)


def test_every_file_of_the_onnx_zoo_validates() -> None:
    manifest: dict[str, list[Any]] = {}
    for row in json.loads((REAL / "onnx/ONNX_HUB_MANIFEST.json").read_bytes()):
        manifest.setdefault(row["model_path"], []).append(row)
    with (REAL / "onnx/lfs-pointers.tsv").open() as lines:
        paths = [row["path"] for row in csv.DictReader(lines, delimiter="\t")]
    answers = (
        (path, {"remote": "https://github.com/onnx/models", "folder": path, "manifest": manifest.get(path, [])})
        for path in paths
    )
    packages = [Listed(name=path, raw=json.dumps(answer)) for path, answer in answers]
    uniforms, owns = _export("onnx", packages, "onnxmodelhubModelMetadata")
    assert len(uniforms) == 2564
    assert sum("OpsetVersion" in own for own in owns) == 184


def test_every_real_card_of_pytorch_hub_validates() -> None:
    cards = [card for card in sorted((REAL / "pytorch").glob("*.md")) if card.name not in {"template.md", "README.md"}]
    packages = (list_card(card.name, card.read_bytes()) for card in cards)
    _, owns = _export("pytorch", packages, "pytorchhubModelMetadata")
    assert len(owns) == 52
    assert all("GitHubURL" in own and "ModelDescription" in own for own in owns)
    assert sum("DemoURL" in own for own in owns) > 40


def test_every_real_entry_of_modelhub_validates() -> None:
    _, owns = _export("modelhub", read_registry((REAL / "modelhub/models.json").read_bytes()), "modelhubMetadata")
    assert len(owns) == 33
    assert all("github" in own and "backend" in own for own in owns)


def test_every_real_module_of_tensorflow_hub_validates() -> None:
    with tarfile.open(REAL / "tfhub/tfhub.dev-docs.tar.gz") as archive:
        documents = [
            (member.name, stream.read())
            for member in archive
            if re.fullmatch(r"assets/docs/.+\.md", member.name) and (stream := archive.extractfile(member)) is not None
        ]
    listed = [list_document(read_document(path, data), data) for path, data in documents]
    modules = [package for package in listed if package is not None and '"kind":"Module"' in package.raw]
    # PTMTorrent had no format for this hub, so its records are the raw answers, unchanged.
    uniforms, owns = _export("tfhub", modules, None)
    assert (len(uniforms), len(owns)) == (1815, 1815)
    assert all(each["ModelOwner"] and each["ModelURL"].startswith("https://tfhub.dev/") for each in uniforms)
    assert sum("Datasets" in each for each in uniforms) > 500
    assert all("text" in own for own in owns)


def test_records_that_the_schema_does_not_allow_lose_just_what_it_does_not_allow() -> None:
    category = {"id": 1, "slug": "graph", "title": "Graph", "short_title": "Other", "more": 1}
    row = {"slug": "s", "title": "S", "link": None, "framework": "new", "stars": True, "categories": [category]}
    body = json.dumps({"models": [row]}).encode()
    _, owns = _export("modelzoo", read_catalogue(body, "x"), "modelZooModelMetadata")
    assert owns == [
        {
            "id": stable_id("modelzoo:s"),
            "title": "S",
            "link": None,
            "categories": [{"id": 1, "slug": "graph", "title": "Graph"}],
        }
    ]


def test_other_branches_of_modelhub_are_left_out() -> None:
    packages = [Listed(name="m", raw='{"name":"m","github":"https://forge/o/m","github_branch":"main"}')]
    _, owns = _export("modelhub", packages, "modelhubMetadata")
    assert owns == [{"name": "m", "github": "https://forge/o/m"}]


def test_addresses_that_are_none_are_left_out() -> None:
    packages = [Listed(name="m", raw='{"name":"m","github":"git@forge:o/m"}')]
    _, owns = _export("modelhub", packages, "modelhubMetadata")
    assert owns == [{"name": "m"}]
